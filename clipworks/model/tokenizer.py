"""CLIP's byte-pair tokenizer: text -> token ids, with the ids that open_clip gives.

The steps: repair the text (ftfy), undo HTML escapes twice, lower the case, cut at white space, cut
those chunks into words, spell each word in bytes and merge the bytes by rank. Plain ASCII text skips
the first two steps, which cannot change it, and the ids of chunks seen before are kept. One difference
from open_clip is meant: a special token that is spelled out in the text ("<end_of_text>") is ordinary
text here and cannot cut a caption.
"""

import gzip
import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from heapq import heapify, heappop, heappush
from importlib import resources

import ftfy
import numpy as np
import numpy.typing as npt
import regex

from clipworks.errors import ConfigError, InputError

SOT = 49406
"""Id of the start-of-text token."""
EOT = 49407
"""Id of the end-of-text token, where the text tower is read."""
VOCAB_SIZE = 49408
"""Number of ids: 512 byte symbols, 48,894 merges and two special tokens."""

MAX_TEXT_CHARS = 100_000
"""Longest text that is accepted; the time of one call is bounded by it."""

_NUM_BYTE_SYMBOLS = 512
_NUM_MERGES = 48_894
_MEMO_CHUNKS = 65_536
_MEMO_CHUNK_CHARS = 32

# Ids as they lie in a row before it becomes int64; every id fits.
_ID = np.dtype(np.uint16)
_SOT = np.array(SOT, dtype=_ID).tobytes()
_EOT = np.array(EOT, dtype=_ID).tobytes()

# Only these characters: no escape ("&"), nothing that ftfy or NFC changes, white space that `\s` knows.
_PLAIN = re.compile(r"[\t\n -%'-~]*")
_PLAIN_WORDS = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[a-z]+|[0-9]|[^\sa-z0-9]+", re.ASCII)
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def tokenize(texts: Sequence[str], *, context_length: int = 77) -> npt.NDArray[np.int64]:
    """Turn texts into the rows that the text tower reads.

    Args:
        texts: any number of strings; one that is too long is cut and still ends with EOT.
        context_length: tokens per row, start and end included; at least 2.

    Returns:
        int64 [len(texts), context_length]: SOT, the ids of the text, EOT, then zeros.

    Raises:
        InputError: `texts` is None or a single string, or one of its items is not a string or is longer than
            MAX_TEXT_CHARS.
        ConfigError: context_length is below 2.
    """
    if texts is None or isinstance(texts, str):
        what = "None" if texts is None else f"the single string {texts[:40]!r}"
        raise InputError(f"texts is {what}.", "Give a list: [text].")
    if context_length < 2:
        raise ConfigError(f"context_length is {context_length}; it must be at least 2.")
    row_bytes = context_length * _ID.itemsize
    longest = context_length - 2
    rows = []
    for i, text in enumerate(texts):
        _check_text(text, i)
        ids = _encode(text, longest)[: longest * _ID.itemsize]
        rows.append((_SOT + ids + _EOT).ljust(row_bytes, b"\0"))
    return np.frombuffer(b"".join(rows), dtype=_ID).reshape(-1, context_length).astype(np.int64)


def num_tokens(tokens: npt.NDArray[np.int64]) -> int:
    """Tokens of rows of `tokenize` as the model reads them: without start and end marks and what is cut off.

    Args:
        tokens: int64 [N, T], N of at least 1.
    """
    return int((tokens.argmax(axis=1) - 1).sum())  # the end mark is the largest id


def encode(text: str) -> list[int]:
    """The ids of a text, uncut and without SOT and EOT.

    Raises:
        InputError: `text` is not a string or is longer than MAX_TEXT_CHARS.
    """
    _check_text(text, None)
    ids: list[int] = np.frombuffer(_encode(text), dtype=_ID).tolist()
    return ids


def decode(ids: Sequence[int]) -> str:
    """The text that ids spell: lower case, one space after each word, up to the first EOT.

    SOT is skipped; bytes that are not UTF-8 (a character that was cut) become U+FFFD.

    Raises:
        InputError: an id is not in 0..VOCAB_SIZE - 1.
    """
    spellings = _vocabulary().spellings
    parts = []
    for i in ids:
        if i == EOT:
            break
        if i == SOT:
            continue
        if not 0 <= i < len(spellings):
            raise InputError(f"{i} is not a token id; ids are in 0..{VOCAB_SIZE - 1}.")
        parts.append(spellings[i])
    return b"".join(parts).decode("utf-8", errors="replace").strip()


def _check_text(text: object, place: int | None) -> None:
    if isinstance(text, str) and len(text) <= MAX_TEXT_CHARS:
        return
    label = "The text" if place is None else f"Text {place}"
    if not isinstance(text, str):
        raise InputError(f"{label} is of type {type(text).__name__}.", "Give a string.")
    raise InputError(
        f"{label} has {len(text):,} characters; the limit is {MAX_TEXT_CHARS:,}.",
        "Shorten it; a model reads the first few dozen words.",
    )


def _encode(text: str, num_chunks: int = -1) -> bytes:
    """The ids of a text's first chunks, each of which has one id at least; all chunks by default."""
    if not _PLAIN.fullmatch(text):
        text = html.unescape(html.unescape(ftfy.fix_text(text)))
    chunks = text.lower().split(None, num_chunks)
    if len(chunks) > num_chunks >= 0:
        chunks.pop()  # the rest of the text, uncut
    memo = _vocabulary().memo
    try:
        return b"".join(map(memo.__getitem__, chunks))
    except KeyError:
        return b"".join([memo.get(chunk) or _learn(chunk, memo) for chunk in chunks])


def _learn(chunk: str, memo: dict[str, bytes]) -> bytes:
    """The ids of a chunk that is not in the memo, and is then, unless it is long."""
    words = _PLAIN_WORDS if chunk.isascii() else _word_pattern()
    ids = np.array([i for word in words.findall(chunk) for i in _merge(word)], dtype=_ID).tobytes()
    if len(chunk) <= _MEMO_CHUNK_CHARS:
        if len(memo) >= _MEMO_CHUNKS:
            memo.clear()  # what is common is soon back
        memo[chunk] = ids
    return ids


def _merge(word: str) -> list[int]:
    """Spell a word in bytes and merge neighbours, lowest rank first, leftmost first: O(n log n).

    A merge's rank is below the rank of every merge that uses its result, so working through one
    heap gives what repeated passes over the word give (tested against those).
    """
    vocabulary = _vocabulary()
    spelling = word.encode("utf-8")
    whole = vocabulary.whole_words.get(spelling)
    if whole is not None:
        return [whole]
    ids = [vocabulary.byte_ids[byte] for byte in spelling]
    ids[-1] += 256  # the same byte, at the end of a word
    end = len(ids)
    after = list(range(1, end + 1))
    before = list(range(-1, end - 1))
    merges = vocabulary.merges
    heap = [(merges[pair], i) for i, pair in enumerate(zip(ids, ids[1:], strict=False)) if pair in merges]
    heapify(heap)
    while heap:
        merged, left = heappop(heap)
        right = after[left]
        if right >= end or merges.get((ids[left], ids[right])) != merged:
            continue  # one of the two was merged with its other neighbour
        ids[left], ids[right] = merged, -1
        after[left] = after[right]
        if after[left] < end:
            before[after[left]] = left
        for i in (before[left], left):
            if i >= 0 and after[i] < end:
                pair = (ids[i], ids[after[i]])
                if pair in merges:
                    heappush(heap, (merges[pair], i))
    return [i for i in ids if i >= 0]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Vocabulary:
    byte_ids: list[int]
    """Id of each of the 256 byte values inside a word; 256 more at the end of one."""
    merges: dict[tuple[int, int], int]
    """(left id, right id) -> id of the two together; a lower id is an earlier merge."""
    whole_words: dict[bytes, int]
    """UTF-8 bytes of each word that is a single id -> that id."""
    spellings: list[bytes]
    """UTF-8 bytes of each id, with a space behind those that end a word."""
    memo: dict[str, bytes]
    """Chunk of text between white space -> its ids; filled and emptied as texts come."""


@cache
def _vocabulary() -> _Vocabulary:
    packed = resources.files("clipworks.model").joinpath("vocabulary/bpe_merges.txt.gz").read_bytes()
    lines = gzip.decompress(packed).decode("utf-8").splitlines()
    assert len(lines) == _NUM_MERGES
    symbols = dict(_byte_symbols())
    byte_ids = [0] * 256
    ids_by_name: dict[str, int] = {}
    spellings = [b""] * _NUM_BYTE_SYMBOLS
    for i, (byte, symbol) in enumerate(symbols.items()):
        byte_ids[byte] = i
        ids_by_name[symbol], ids_by_name[symbol + "</w>"] = i, i + 256
        spellings[i], spellings[i + 256] = bytes([byte]), bytes([byte]) + b" "
    merges: dict[tuple[int, int], int] = {}
    for i, line in enumerate(lines, start=_NUM_BYTE_SYMBOLS):
        left, right = line.split(" ")
        pair = (ids_by_name[left], ids_by_name[right])
        merges[pair] = i
        ids_by_name[left + right] = i
        spellings.append(spellings[pair[0]] + spellings[pair[1]])
    whole_words = {spellings[i][:-1]: i for name, i in ids_by_name.items() if name.endswith("</w>")}
    return _Vocabulary(
        byte_ids=byte_ids, merges=merges, whole_words=whole_words, spellings=spellings, memo={}
    )


def _byte_symbols() -> Iterator[tuple[int, str]]:
    """The printable symbol by which the merges file names each byte, in order of their ids."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    yield from ((byte, chr(byte)) for byte in printable)
    others = [byte for byte in range(256) if byte not in printable]
    yield from ((byte, chr(256 + i)) for i, byte in enumerate(others))


@cache
def _word_pattern() -> "regex.Pattern[str]":
    return regex.compile(_WORDS, regex.IGNORECASE)
