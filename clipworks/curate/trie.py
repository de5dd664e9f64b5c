"""Which entries stand in a text as whole tokens: a trie over tokens in two hash tables.

An entry with a space on both sides occurs in a spaced text exactly where the entry's tokens (what stands
between single spaces, empty ones included) are a run of the text's tokens. So a text is cut once, each
token is looked up once, by its bytes, and runs are followed from node to node by exact keys: nothing rests
on a hash being unique. curate/match.py says how a text is spaced, curate/tokens.py how tables are laid out.
"""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from clipworks.compiled import compiled, keep_machine_code
from clipworks.curate.tokens import (
    ENTRY_AT,
    HALF,
    LENGTH_AT,
    LOW4,
    LOW6,
    LOW28,
    MASKS,
    NO_ENTRY,
    NODE_AT,
    NONE,
    ODD,
    ONE,
    SIX,
    Bytes,
    Ids,
    Offsets,
    Words,
    add_runs,
    add_tokens,
    mark_runs,
    resized,
    shift_of,
    slot_of_token,
)
from clipworks.files import cache_folder

ORDINARY, SPACE, MARK = 0, 1, 2
"""What a byte does: belongs to a token, ends one, or ends one and is one itself."""

_SLOTS_PER_KEY = 1.6
_FULL = 1.1
"""The same while a table is made, sized as if no key came twice."""
_BITS_PER_RUN = 16
_FEW = 48
_LEAST_BYTES = 16
"""Eights of fewer would look contiguous."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trie:
    """Entries ready to be found."""

    tokens: Words
    """uint64 [slots, 2]: tokens by their bytes."""
    runs: Words
    """uint64 [slots, 2]: nodes by the node before them and the token."""
    marked: Words
    """uint64: a bit per hash of a key in `runs`."""
    spellings: Bytes
    """uint8: the tokens, one after the other, and some bytes more."""
    starts: Offsets
    """int64 [tokens + 2]: where the token of a node begins; nodes count from 1."""
    depth: int
    """Tokens of the longest entry."""

    @property
    def num_bytes(self) -> int:
        """Memory of the tables."""
        return sum(part.nbytes for part in (self.tokens, self.runs, self.marked, self.spellings, self.starts))


def build_trie(data: Bytes, offsets: Offsets, ids: Ids) -> Trie:
    """Make the trie of entries, which are cut at single spaces.

    Args:
        data: uint8, the entries' UTF-8 one after the other.
        offsets: int64 [entries + 1], where they begin and end in `data`.
        ids: uint32 [entries], what a match of each is called; below MAX_ENTRIES. Of equal entries the
            first one counts.
    """
    num_tokens = int(np.count_nonzero(data[offsets[0] : offsets[-1]] == 32)) + len(offsets) - 1
    _keep_compiled()
    data, offsets = _read_only(data), _read_only(offsets)
    eights = _eights(data)
    tokens = np.zeros((_size_for(num_tokens, _FULL), 2), np.uint64)
    spellings = np.empty(int(offsets[-1] - offsets[0]) + _LEAST_BYTES, np.uint8)
    starts = np.zeros(num_tokens + 2, np.int64)
    count = add_tokens(tokens, spellings, _eights(spellings), starts, data, eights, offsets)
    tokens, starts = resized(tokens, _size_for(count)), starts[: count + 2].copy()
    spellings = spellings[: starts[-1] + _LEAST_BYTES].copy()
    runs = np.zeros((_size_for(num_tokens - len(offsets) + 1, _FULL), 2), np.uint64)
    num_runs, depth = add_runs(tokens, runs, _eights(spellings), starts, data, eights, offsets, ids)
    runs = resized(runs, _size_for(num_runs))
    marked = np.zeros(1 << int(num_runs * _BITS_PER_RUN // 64).bit_length(), np.uint64)
    mark_runs(runs, marked)
    return Trie(tokens=tokens, runs=runs, marked=marked, spellings=spellings, starts=starts, depth=depth)


def find_entries(trie: Trie, kinds: Bytes, data: Bytes, offsets: Offsets) -> tuple[Offsets, Ids]:
    """Find the entries in each of many texts.

    Args:
        kinds: uint8 [256], for each byte ORDINARY, SPACE or MARK.
        data: uint8, the texts' UTF-8; it is read in place.
        offsets: int64 [texts + 1].

    Returns:
        int64 [texts + 1] and uint32: the ids in text i, ascending and each once, are
        `ids[offsets[i]:offsets[i + 1]]`.
    """
    _keep_compiled()
    data = _read_only(data)
    texts = (_read_only(kinds), data, _eights(data), _read_only(offsets))
    tables_of = (trie.tokens, trie.runs, trie.marked, _eights(trie.spellings), trie.starts)
    num_texts = len(offsets) - 1
    ends = np.zeros(num_texts + 1, np.int64)
    found = np.empty(1024 + int(offsets[-1] - offsets[0]) // 4, np.uint32)
    done = 0
    while True:
        done = _find(texts, tables_of, max(trie.depth, 1), found, ends, done)
        if done == num_texts:
            return ends, found[: ends[-1]]
        found = np.concatenate([found[: ends[done]], np.empty(2 * len(found), np.uint32)])


def _keep_compiled() -> None:
    keep_machine_code(cache_folder, add_tokens, add_runs, resized, mark_runs, _find)


def _read_only(array: npt.NDArray[Any]) -> Any:
    """The same numbers in an array of one kind, whatever is given: numba compiles for each kind of array."""
    if array.dtype == np.uint8 and len(array) < _LEAST_BYTES:
        array = np.concatenate([array, np.zeros(_LEAST_BYTES, np.uint8)])
    view = array.view()
    view.flags.writeable = False
    return view


def _eights(data: Bytes) -> Words:
    """Eight bytes from each position on as one number, without a copy."""
    return cast(Words, np.ndarray((len(data) - 7,), "<u8", data, strides=(1,)))


def _size_for(num_keys: int, slots_per_key: float = _SLOTS_PER_KEY) -> int:
    return 1 << max(4, int(num_keys * slots_per_key).bit_length())


@compiled
def _find(
    texts: tuple[Bytes, Bytes, Words, Offsets],
    trie: tuple[Words, Words, Words, Words, Offsets],
    depth: int,
    found: Ids,
    ends: Offsets,
    text: int,
) -> int:
    """Texts from `text` on, until `found` might not hold the next one's; how many texts are done."""
    kinds, data, eights, offsets = texts
    tokens, runs, marked, spelled, starts = trie
    longest = 0
    for one in range(len(offsets) - 1):
        longest = max(longest, offsets[one + 1] - offsets[one])
    places = np.empty((2 * longest + 2, 2), np.int64)
    values = np.empty(len(places), np.uint64)
    open_nodes = np.empty(depth + 1, np.uint64)
    ranked = np.empty(2 * _FEW, np.uint64)
    while text < len(offsets) - 1:
        num_tokens = _cut(kinds, data, offsets[text], offsets[text + 1], places)
        if ends[text] + num_tokens * depth > len(found):
            break
        _look_up(tokens, data, eights, places, num_tokens, spelled, starts, values)
        count = _follow(runs, marked, values, num_tokens, open_nodes, found, ends[text])
        ends[text + 1] = _ascending_once(found, ends[text], count, ranked)
        text += 1
    return text


@compiled
def _cut(kinds: Bytes, data: Bytes, begin: int, end: int, places: Offsets) -> int:
    """Begin and end of each token into `places`; how many there are."""
    count = 0
    for at in range(begin, end):
        kind = kinds[data[at]]
        if kind != ORDINARY:
            places[count, 0], places[count, 1] = begin, at
            count += 1
            begin = at + 1
            if kind == MARK:
                places[count, 0], places[count, 1] = at, begin
                count += 1
    places[count, 0], places[count, 1] = begin, end
    return count + 1


@compiled
def _look_up(
    tokens: Words,
    data: Bytes,
    eights: Words,
    places: Offsets,
    num_tokens: int,
    spelled: Words,
    starts: Offsets,
    values: Words,
) -> None:
    """The values of tokens, 0 for those that no entry has."""
    shift, last = shift_of(tokens), np.uint64(len(tokens) - 1)
    for one in range(num_tokens):
        begin, end = places[one, 0], places[one, 1]
        length = end - begin
        if length > 8 or begin >= len(eights):
            slot = slot_of_token(tokens, shift, data, eights, begin, end, spelled, starts)
            values[one] = tokens[slot, 1]
            continue
        key = eights[begin] & MASKS[length]
        slot = ((key ^ (key >> HALF)) * ODD) >> shift
        value = tokens[slot, 1]
        while value != NONE and (tokens[slot, 0] != key or (value >> LENGTH_AT) & LOW4 != np.uint64(length)):
            slot = (slot + ONE) & last
            value = tokens[slot, 1]
        values[one] = value


@compiled
def _follow(
    runs: Words,
    marked: Words,
    values: Words,
    num_tokens: int,
    open_nodes: Words,
    found: Ids,
    count: int,
) -> int:
    """Append the entries that tokens and their runs are to `found[:count]`; the new count."""
    shift, last = shift_of(runs), np.uint64(len(runs) - 1)
    bit_shift = shift_of(marked) - SIX
    num_open = 0
    for one in range(num_tokens):
        value = values[one]
        token = value >> NODE_AT
        still_open = 0
        if value != NONE:
            for before in range(num_open):
                key = (open_nodes[before] << HALF) | token
                mixed = (key ^ (key >> HALF)) * ODD
                bit = mixed >> bit_shift
                if not (marked[bit >> SIX] >> (bit & LOW6)) & ONE:
                    continue
                slot = mixed >> shift
                while runs[slot, 1] != NONE and runs[slot, 0] != key:
                    slot = (slot + ONE) & last
                run = runs[slot, 1]
                if run != NONE:
                    found[count] = (run >> ENTRY_AT) & LOW28
                    count += found[count] != NO_ENTRY
                    if run & ONE:
                        open_nodes[still_open] = run >> NODE_AT
                        still_open += 1
            found[count] = (value >> ENTRY_AT) & LOW28
            count += found[count] != NO_ENTRY
            if value & ONE:
                open_nodes[still_open] = token
                still_open += 1
        num_open = still_open
    return count


@compiled
def _ascending_once(found: Ids, first: int, count: int, ranked: Words) -> int:
    """Sort `found[first:count]` and drop what repeats; the new count."""
    length = count - first
    if length <= len(ranked) // 2:
        for one in range(length):  # by rank: no branch depends on the numbers
            ranked[one] = (np.uint64(found[first + one]) << HALF) | np.uint64(one)
        for one in range(length):
            rank = NONE
            for other in range(length):
                rank += np.uint64(ranked[other] < ranked[one])
            ranked[np.uint64(_FEW) + rank] = ranked[one]
        for one in range(length):
            found[first + one] = ranked[_FEW + one] >> HALF
    else:
        _sort(found, first, count)
    kept = min(first + 1, count)
    for at in range(first + 1, count):
        found[kept] = found[at]
        kept += found[at] != found[kept - 1]
    return kept


@compiled
def _sort(found: Ids, first: int, count: int) -> None:
    gap = 1
    while 9 * gap < count - first:
        gap = 3 * gap + 1
    while gap > 0:
        for at in range(first + gap, count):
            one = found[at]
            to = at
            while to >= first + gap and found[to - gap] > one:
                found[to] = found[to - gap]
                to -= gap
            found[to] = one
        gap //= 3
