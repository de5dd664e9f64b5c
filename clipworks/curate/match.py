"""Which entries of a metadata list stand in a text: three ways to read texts, one fast matcher for them.

`metaclip` is the published way: a text has a space at both ends and around each of , . ; : ? ! `, tabs and
line breaks are spaces, and an entry with a space on both sides must be a part of that. `metaclip2` differs
for entries that begin or end with a character of a script without spaces or with punctuation: no space is
asked for there. `folded` ignores case, Unicode's compatibility forms, punctuation and runs of spaces.
Entries with a space on both sides are found by curate/trie.py, the others by an automaton.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa
from daachorse import CharwiseDoubleArrayAhoCorasick

from clipworks.curate.folding import fold, joins
from clipworks.curate.metadata import PUNCTUATION_MARKS
from clipworks.curate.tokens import MAX_ENTRIES, Bytes, Ids, Offsets
from clipworks.curate.trie import MARK, SPACE, Trie, build_trie, find_entries
from clipworks.errors import ConfigError

MODES = ("metaclip", "metaclip2", "folded")


@dataclass(frozen=True, kw_only=True, slots=True)
class Matcher:
    """Entries ready to be found in texts; several threads may use one."""

    mode: str
    """One of MODES."""
    trie: Trie
    """The entries with a space on both sides."""
    automaton: CharwiseDoubleArrayAhoCorasick | None
    """The others; None where there are none."""
    automaton_ids: Ids
    """uint32: what a match of each of them is called."""


def build_matcher(entries: Sequence[str], *, mode: str = "metaclip", first_id: int = 0) -> Matcher:
    """Make the matcher of a list of entries.

    Args:
        entries: an entry's id is `first_id` and its place. Where several are the same when folded, the
            first one stands for all.
        mode: one of MODES.

    Raises:
        ConfigError: the mode is unknown, or there are more ids than 268,435,454.
    """
    if mode not in MODES:
        raise ConfigError(f"Mode {mode!r} is unknown.", f"Choose one of {', '.join(MODES)}.")
    if first_id + len(entries) >= MAX_ENTRIES:
        raise ConfigError(f"{first_id + len(entries):,} entries are more than {MAX_ENTRIES - 1:,}.")
    others: dict[str, int] = {}
    padded_ids: Sequence[int]
    if mode == "metaclip":  # without a copy of the strings
        padded, padded_ids = entries, range(first_id, first_id + len(entries))
    else:
        padded, padded_ids, others = _sorted_out(entries, mode, first_id)
    data, offsets = _buffers(pa.array(padded, pa.large_string()))
    trie = build_trie(data, offsets, np.fromiter(padded_ids, np.uint32, len(padded_ids)))
    automaton = CharwiseDoubleArrayAhoCorasick(list(others)) if others else None
    ids = np.fromiter(others.values(), np.uint32, len(others))
    return Matcher(mode=mode, trie=trie, automaton=automaton, automaton_ids=ids)


def match_texts(matcher: Matcher, texts: pa.Array, *, threads: int = 1) -> tuple[Offsets, Ids]:
    """Find the entries in each text.

    Args:
        texts: pyarrow strings, large or not; null is as "". The `metaclip` modes read them in place.
        threads: threads, which do not wait for each other; the result does not depend on them.

    Returns:
        int64 [texts + 1] and uint32: the ids in text i, ascending and each once, are
        `ids[ends[i]:ends[i + 1]]`.
    """
    texts = texts.cast(pa.large_string())
    if matcher.mode == "folded":
        texts = pa.array([fold(one or "") for one in texts.to_pylist()], pa.large_string())
    data, offsets = _buffers(texts)
    cuts = [len(texts) * n // threads for n in range(threads + 1)]
    kinds = _kinds(matcher.mode)

    def find(begin: int, end: int) -> tuple[Offsets, Ids]:
        return find_entries(matcher.trie, kinds, data, offsets[begin : end + 1])

    if threads == 1:
        ends, ids = find(0, len(texts))
    else:
        with ThreadPoolExecutor(threads) as pool:
            parts = list(pool.map(find, cuts[:-1], cuts[1:]))
        lengths = np.concatenate([np.diff(part[0]) for part in parts])
        ends, ids = np.concatenate([[0], np.cumsum(lengths)]), np.concatenate([part[1] for part in parts])
    if matcher.automaton is None:
        return ends, ids
    return _with_others(matcher, texts, ends, ids)


def space_text(text: str) -> str:
    """A text as the published code compares it."""
    text = f" {text} "
    for mark in PUNCTUATION_MARKS:
        text = text.replace(mark, f" {mark} ")
    return text.replace("\t", " ").replace("\n", " ").replace("\r", " ")


def read_text(text: str, mode: str) -> str:
    """What an entry's pattern must be a part of."""
    return f" {fold(text)} " if mode == "folded" else space_text(text)


def pad_entry(entry: str, mode: str) -> str:
    """What must be a part of a text as `read_text` gives it; "" where nothing of an entry is left."""
    if mode == "metaclip":
        return f" {entry} "
    if mode == "folded":
        entry = fold(entry)
    if not entry:
        return "  " if mode == "metaclip2" else ""
    before = "" if joins(entry[0]) else " "
    after = "" if joins(entry[-1]) else " "
    return before + entry + after


def _sorted_out(
    entries: Sequence[str], mode: str, first_id: int
) -> tuple[Sequence[str], Sequence[int], dict[str, int]]:
    """Entries with a space on both sides, their ids, and the patterns of the others with theirs."""
    padded: list[str] = []
    ids: list[int] = []
    others: dict[str, int] = {}
    for number, entry in enumerate(entries, first_id):
        pattern = pad_entry(entry, mode)
        if len(pattern) > 1 and pattern[0] == pattern[-1] == " ":
            padded.append(pattern[1:-1])
            ids.append(number)
        elif pattern:
            others.setdefault(pattern, number)
    return padded, ids, others


@cache
def _kinds(mode: str) -> Bytes:
    kinds = np.zeros(256, np.uint8)
    kinds[32] = SPACE
    if mode != "folded":
        kinds[[9, 10, 13]] = SPACE
        kinds[[ord(mark) for mark in PUNCTUATION_MARKS]] = MARK
    return kinds


def _buffers(texts: pa.Array) -> tuple[Bytes, Offsets]:
    """The bytes and offsets of large strings, where they are."""
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int64) if offsets is not None and offsets.size else np.zeros(1, np.int64)
    ends = ends[texts.offset : texts.offset + len(texts) + 1]
    return np.frombuffer(data if data is not None else b"", np.uint8), ends


def _with_others(matcher: Matcher, texts: pa.Array, ends: Offsets, ids: Ids) -> tuple[Offsets, Ids]:
    """The matches, and those of the automaton in their places."""
    assert matcher.automaton is not None
    rows: list[int] = []
    found: list[int] = []
    for row, text in enumerate(texts.to_pylist()):
        read = f" {text or ''} " if matcher.mode == "folded" else space_text(text or "")
        hits = {hit[2] for hit in matcher.automaton.find_overlapping(read)}
        rows += [row] * len(hits)
        found += hits
    all_rows = np.concatenate([np.repeat(np.arange(len(texts)), np.diff(ends)), np.array(rows, np.int64)])
    all_ids = np.concatenate([ids, matcher.automaton_ids[np.array(found, np.int64)]])
    order = np.lexsort((all_ids, all_rows))
    counts = np.bincount(all_rows, minlength=len(texts))
    return np.concatenate([[0], np.cumsum(counts)]), all_ids[order]
