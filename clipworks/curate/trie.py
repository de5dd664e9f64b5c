"""Which entries stand in a text as whole tokens: a trie over tokens, kept in two hash tables. The owner of numba.

An entry with a space on both sides occurs in a spaced text exactly where the entry's tokens (what stands
between single spaces, empty ones included) are a run of the text's tokens. So a text is cut once; each
token is looked up once, by its bytes, which are compared in full; and runs are followed from node to node
by exact keys. Nothing rests on a hash being unique. curate/match.py says how a text is spaced.

Slots are uint64 pairs (key, value). A value packs, from the high end: 28 bits node (0: the slot is
empty), 28 bits entry (all ones: none), 4 bits length of the token in bytes (15: more than 8), 4 bits of
which the lowest says whether runs go on from the node.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
from numba import njit

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]
Offsets = npt.NDArray[np.int64]
Ids = npt.NDArray[np.uint32]

MAX_ENTRIES = (1 << 28) - 1

ORDINARY, SPACE, MARK = 0, 1, 2
"""What a byte does: belongs to a token, ends one, or ends one and is one itself."""

_LONG = 15
_NO_ENTRY = MAX_ENTRIES
_MASKS = np.array([(1 << 8 * length) - 1 for length in range(9)], np.uint64)
"""The lowest bytes of eight."""
_ODD = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xD6E8FEB86659FD93)
_HALF, _SIX, _LOW4, _LOW6 = np.uint64(32), np.uint64(6), np.uint64(15), np.uint64(63)
_NODE_AT, _ENTRY_AT, _LENGTH_AT = np.uint64(36), np.uint64(8), np.uint64(4)
_LOW_BYTE = np.uint64(255)
_MASK28 = np.uint64((1 << 28) - 1)
_NONE, _ONE = np.uint64(0), np.uint64(1)
_SLOTS_PER_KEY = 1.6
_BITS_PER_RUN = 16
_FEW = 48

Function = TypeVar("Function", bound=Callable[..., Any])


def _compiled(function: Function) -> Function:
    """Machine code for a function, made when it is first called; it runs without the interpreter's lock."""
    return cast(Function, njit(nogil=True)(function))


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
    """uint8: the tokens, one after the other, and eight bytes more."""
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
    eights = _eights(data)
    tokens = np.zeros((_size_for(num_tokens), 2), np.uint64)
    spellings = np.empty(int(offsets[-1] - offsets[0]) + 8, np.uint8)
    starts = np.zeros(num_tokens + 2, np.int64)
    count = _add_tokens(tokens, spellings, _eights(spellings), starts, data, eights, offsets)
    tokens, starts = _packed(tokens, _size_for(count)), starts[: count + 2].copy()
    spellings = spellings[: starts[-1] + 8].copy()
    runs = np.zeros((_size_for(num_tokens), 2), np.uint64)
    num_runs, depth = _add_runs(tokens, runs, _eights(spellings), starts, data, eights, offsets, ids)
    runs = _packed(runs, _size_for(num_runs))
    marked = np.zeros(1 << int(num_runs * _BITS_PER_RUN // 64).bit_length(), np.uint64)
    _mark(runs, marked)
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
    eights = _eights(data)
    num_texts = len(offsets) - 1
    ends = np.zeros(num_texts + 1, np.int64)
    found = np.empty(1024 + int(offsets[-1] - offsets[0]) // 4, np.uint32)
    done = 0
    while True:
        done = _find(
            *(kinds, data, eights, offsets, trie.tokens, trie.runs, trie.marked),
            *(_eights(trie.spellings), trie.starts),
            *(max(trie.depth, 1), found, ends, done),
        )
        if done == num_texts:
            return ends, found[: ends[-1]]
        found = np.concatenate([found[: ends[done]], np.empty(2 * len(found), np.uint32)])


def _eights(data: Bytes) -> Words:
    """Eight bytes from each position on as one number, without a copy."""
    if len(data) < 8:
        return np.zeros(0, np.uint64)[::1]
    return cast(Words, np.ndarray((len(data) - 7,), "<u8", data, strides=(1,)))


def _size_for(num_keys: int) -> int:
    return 1 << max(4, int(num_keys * _SLOTS_PER_KEY).bit_length())


@_compiled
def _key_of(data: Bytes, eights: Words, begin: int, end: int) -> np.uint64:
    """The bytes of a token of eight or fewer as a number, a hash of a longer one's."""
    length = end - begin
    if length <= 8:
        if begin < len(eights):
            return eights[begin] & _MASKS[length]
        key = _NONE
        for at in range(length):
            key |= np.uint64(data[begin + at]) << np.uint64(8 * at)
        return key
    key = np.uint64(length)
    for at in range(begin, end - 8, 8):
        key = (key ^ eights[at]) * _MIX
        key ^= key >> _HALF
    return (key ^ eights[end - 8]) * _MIX


@_compiled
def _slot_of(key: np.uint64, shift: np.uint64) -> np.uint64:
    return ((key ^ (key >> _HALF)) * _ODD) >> shift


@_compiled
def _shift_of(table: Words) -> np.uint64:
    """What leaves of 64 bits those that number the slots."""
    bits = 0
    while (1 << bits) < len(table):
        bits += 1
    return np.uint64(64 - bits)


@_compiled
def _value(node: int, entry: int, length: int, more: int) -> np.uint64:
    packed = (np.uint64(node) << _NODE_AT) | (np.uint64(entry) << _ENTRY_AT)
    return packed | (np.uint64(length) << _LENGTH_AT) | np.uint64(more)


@_compiled
def _slot_of_token(
    table: Words,
    shift: np.uint64,
    data: Bytes,
    eights: Words,
    begin: int,
    end: int,
    spellings: Words,
    starts: Offsets,
) -> np.uint64:
    """The slot of a token, or the empty one where it would stand."""
    short = np.uint64(min(end - begin, _LONG) if end - begin <= 8 else _LONG)
    key = _key_of(data, eights, begin, end)
    last = np.uint64(len(table) - 1)
    slot = _slot_of(key, shift)
    while table[slot, 1] != _NONE:
        value = table[slot, 1]
        if table[slot, 0] == key and (value >> _LENGTH_AT) & _LOW4 == short:
            if short != _LONG or _is_spelled(value >> _NODE_AT, eights, begin, end, spellings, starts):
                return slot
        slot = (slot + _ONE) & last
    return slot


@_compiled
def _is_spelled(
    node: np.uint64, eights: Words, begin: int, end: int, spellings: Words, starts: Offsets
) -> bool:
    """Whether a node's token, of more than eight bytes, has these bytes."""
    first, length = starts[node], end - begin
    if starts[node + _ONE] - first != length:
        return False
    for at in range(0, length - 8, 8):
        if spellings[first + at] != eights[begin + at]:
            return False
    return spellings[first + length - 8] == eights[end - 8]


@_compiled
def _slot_of_run(table: Words, node: np.uint64, token: np.uint64) -> np.uint64:
    """The slot of what follows a node by a token, or the empty one where it would stand."""
    key = (node << _HALF) | token
    last = np.uint64(len(table) - 1)
    slot = _slot_of(key, _shift_of(table))
    while table[slot, 1] != _NONE and table[slot, 0] != key:
        slot = (slot + _ONE) & last
    return slot


@_compiled
def _packed(table: Words, size: int) -> Words:
    """The same slots in a table of another size."""
    packed = np.zeros((size, 2), np.uint64)
    shift, last = _shift_of(packed), np.uint64(size - 1)
    for at in range(len(table)):
        if table[at, 1] != _NONE:
            slot = _slot_of(table[at, 0], shift)
            while packed[slot, 1] != _NONE:
                slot = (slot + _ONE) & last
            packed[slot, 0] = table[at, 0]
            packed[slot, 1] = table[at, 1]
    return packed


@_compiled
def _mark(runs: Words, marked: Words) -> None:
    """Set a bit for each key: most runs that a text would begin are told absent by a small table."""
    shift = _shift_of(marked) - _SIX
    for at in range(len(runs)):
        if runs[at, 1] != _NONE:
            bit = ((runs[at, 0] ^ (runs[at, 0] >> _HALF)) * _ODD) >> shift
            marked[bit >> _SIX] |= _ONE << (bit & _LOW6)


@_compiled
def _add_tokens(
    tokens: Words,
    spellings: Bytes,
    spelled: Words,
    starts: Offsets,
    data: Bytes,
    eights: Words,
    offsets: Offsets,
) -> int:
    """Give each different token of the entries a node, 1 and up; how many there are."""
    shift = _shift_of(tokens)
    count, used = 0, 0
    for entry in range(len(offsets) - 1):
        begin = offsets[entry]
        for at in range(offsets[entry], offsets[entry + 1] + 1):
            if at < offsets[entry + 1] and data[at] != 32:
                continue
            slot = _slot_of_token(tokens, shift, data, eights, begin, at, spelled, starts)
            if tokens[slot, 1] == _NONE:
                count += 1
                tokens[slot, 0] = _key_of(data, eights, begin, at)
                tokens[slot, 1] = _value(count, _NO_ENTRY, at - begin if at - begin <= 8 else _LONG, 0)
                for byte in range(begin, at):
                    spellings[used] = data[byte]
                    used += 1
                starts[count + 1] = used
            begin = at + 1
    return count


@_compiled
def _add_runs(
    tokens: Words,
    runs: Words,
    spelled: Words,
    starts: Offsets,
    data: Bytes,
    eights: Words,
    offsets: Offsets,
    ids: Ids,
) -> tuple[int, int]:
    """Add the entries, whose tokens have nodes; how many runs there are, and tokens of the longest entry."""
    shift = _shift_of(tokens)
    count, deepest = 0, 0
    for entry in range(len(offsets) - 1):
        begin, depth = offsets[entry], 0
        node, last = _NONE, _NONE
        for at in range(offsets[entry], offsets[entry + 1] + 1):
            if at < offsets[entry + 1] and data[at] != 32:
                continue
            slot = _slot_of_token(tokens, shift, data, eights, begin, at, spelled, starts)
            token = tokens[slot, 1] >> _NODE_AT
            if depth > 0:
                table = tokens if depth == 1 else runs
                table[last, 1] |= _ONE
                slot = _slot_of_run(runs, node, token)
                if runs[slot, 1] == _NONE:
                    count += 1
                    runs[slot, 0] = (node << _HALF) | token
                    runs[slot, 1] = _value(len(starts) - 2 + count, _NO_ENTRY, 0, 0)
                token = runs[slot, 1] >> _NODE_AT
            node, last = token, slot
            depth += 1
            begin = at + 1
        table = tokens if depth == 1 else runs
        value = table[last, 1]
        if (value >> _ENTRY_AT) & _MASK28 == _NO_ENTRY:
            table[last, 1] = _value(node, ids[entry], 0, 0) | (value & _LOW_BYTE)
        deepest = max(deepest, depth)
    return count, deepest


@_compiled
def _find(
    kinds: Bytes,
    data: Bytes,
    eights: Words,
    offsets: Offsets,
    tokens: Words,
    runs: Words,
    marked: Words,
    spelled: Words,
    starts: Offsets,
    depth: int,
    found: Ids,
    ends: Offsets,
    text: int,
) -> int:
    """Texts from `text` on, until `found` might not hold the next one's; how many texts are done."""
    longest = 0
    for one in range(len(offsets) - 1):
        longest = max(longest, offsets[one + 1] - offsets[one])
    places = np.empty((2 * longest + 2, 2), np.int64)
    values = np.empty(len(places), np.uint64)
    open_nodes = np.empty(depth + 1, np.uint64)
    ranked = np.empty(_FEW, np.uint32)
    while text < len(offsets) - 1:
        num_tokens = _cut(kinds, data, offsets[text], offsets[text + 1], places)
        if ends[text] + num_tokens * depth > len(found):
            break
        _look_up(tokens, data, eights, places, num_tokens, spelled, starts, values)
        count = _follow(runs, marked, values, num_tokens, open_nodes, found, ends[text])
        ends[text + 1] = _ascending_once(found, ends[text], count, ranked)
        text += 1
    return text


@_compiled
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


@_compiled
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
    shift, last = _shift_of(tokens), np.uint64(len(tokens) - 1)
    for one in range(num_tokens):
        begin, end = places[one, 0], places[one, 1]
        length = end - begin
        if length > 8 or begin >= len(eights):
            slot = _slot_of_token(tokens, shift, data, eights, begin, end, spelled, starts)
            values[one] = tokens[slot, 1]
            continue
        key = eights[begin] & _MASKS[length]
        slot = ((key ^ (key >> _HALF)) * _ODD) >> shift
        value = tokens[slot, 1]
        while value != _NONE and (
            tokens[slot, 0] != key or (value >> _LENGTH_AT) & _LOW4 != np.uint64(length)
        ):
            slot = (slot + _ONE) & last
            value = tokens[slot, 1]
        values[one] = value


@_compiled
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
    shift, last = _shift_of(runs), np.uint64(len(runs) - 1)
    bit_shift = _shift_of(marked) - _SIX
    num_open = 0
    for one in range(num_tokens):
        value = values[one]
        token = value >> _NODE_AT
        still_open = 0
        if value != _NONE:
            for before in range(num_open):
                key = (open_nodes[before] << _HALF) | token
                mixed = (key ^ (key >> _HALF)) * _ODD
                bit = mixed >> bit_shift
                if not (marked[bit >> _SIX] >> (bit & _LOW6)) & _ONE:
                    continue
                slot = mixed >> shift
                while runs[slot, 1] != _NONE and runs[slot, 0] != key:
                    slot = (slot + _ONE) & last
                run = runs[slot, 1]
                if run != _NONE:
                    found[count] = (run >> _ENTRY_AT) & _MASK28
                    count += found[count] != _NO_ENTRY
                    if run & _ONE:
                        open_nodes[still_open] = run >> _NODE_AT
                        still_open += 1
            found[count] = (value >> _ENTRY_AT) & _MASK28
            count += found[count] != _NO_ENTRY
            if value & _ONE:
                open_nodes[still_open] = token
                still_open += 1
        num_open = still_open
    return count


@_compiled
def _ascending_once(found: Ids, first: int, count: int, ranked: Ids) -> int:
    """Sort `found[first:count]` and drop what repeats; the new count."""
    if count - first <= len(ranked):
        for one in range(first, count):  # by rank: no branch depends on the numbers
            rank = 0
            for other in range(first, one):
                rank += found[other] <= found[one]
            for other in range(one + 1, count):
                rank += found[other] < found[one]
            ranked[rank] = found[one]
        for one in range(count - first):
            found[first + one] = ranked[one]
    else:
        _sort(found, first, count)
    kept = min(first + 1, count)
    for at in range(first + 1, count):
        found[kept] = found[at]
        kept += found[at] != found[kept - 1]
    return kept


@_compiled
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
