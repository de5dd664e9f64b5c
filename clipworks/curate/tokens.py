"""Tokens and runs of tokens in hash tables: what curate/trie.py is built of, compiled by numba.

Slots are uint64 pairs (key, value). A token's key is its bytes, or a hash of them where there are more than
eight; such tokens are compared in full. A run's key is the node before it and the token: exact. A value
packs, from the high end: 28 bits node (0: the slot is empty), 28 bits entry (all ones: none), 4 bits length
of the token in bytes (15: more than eight), 4 bits of which the lowest says whether runs go on from the node.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from clipworks.compiled import compiled

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]
Offsets = npt.NDArray[np.int64]
Ids = npt.NDArray[np.uint32]
Number = int | np.unsignedinteger[Any]

MAX_ENTRIES = (1 << 28) - 1

NO_ENTRY = MAX_ENTRIES
LONG = 15
NONE, ONE = np.uint64(0), np.uint64(1)
HALF, SIX, LOW4, LOW6 = np.uint64(32), np.uint64(6), np.uint64(15), np.uint64(63)
LOW8, LOW28 = np.uint64(255), np.uint64((1 << 28) - 1)
NODE_AT, ENTRY_AT, LENGTH_AT = np.uint64(36), np.uint64(8), np.uint64(4)
ODD, MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
MASKS = np.array([(1 << 8 * length) - 1 for length in range(9)], np.uint64)
"""The lowest bytes of eight."""


@compiled
def key_of(data: Bytes, eights: Words, begin: int, end: int) -> np.uint64:
    """The bytes of a token of eight or fewer as a number, a hash of a longer one's."""
    length = end - begin
    if length <= 8:
        if begin < len(eights):
            return np.uint64(eights[begin] & MASKS[length])
        key = NONE
        for at in range(length):
            key |= np.uint64(data[begin + at]) << np.uint64(8 * at)
        return key
    key = np.uint64(length)
    for at in range(begin, end - 8, 8):
        key = (key ^ eights[at]) * MIX
        key ^= key >> HALF
    return np.uint64((key ^ eights[end - 8]) * MIX)


@compiled
def slot_of(key: np.uint64, shift: np.uint64) -> np.uint64:
    """Where the search for a key begins."""
    return ((key ^ (key >> HALF)) * ODD) >> shift


@compiled
def shift_of(table: Words) -> np.uint64:
    """What leaves of 64 bits those that number the slots."""
    bits = 0
    while (1 << bits) < len(table):
        bits += 1
    return np.uint64(64 - bits)


@compiled
def packed_value(node: Number, entry: Number, length: int, more: int) -> np.uint64:
    """A slot's value."""
    packed = (np.uint64(node) << NODE_AT) | (np.uint64(entry) << ENTRY_AT)
    return packed | (np.uint64(length) << LENGTH_AT) | np.uint64(more)


@compiled
def slot_of_token(
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
    short = np.uint64(min(end - begin, LONG) if end - begin <= 8 else LONG)
    key = key_of(data, eights, begin, end)
    last = np.uint64(len(table) - 1)
    slot = slot_of(key, shift)
    while table[slot, 1] != NONE:
        value = table[slot, 1]
        if table[slot, 0] == key and (value >> LENGTH_AT) & LOW4 == short:
            if short != LONG or is_spelled(value >> NODE_AT, eights, begin, end, spellings, starts):
                return slot
        slot = (slot + ONE) & last
    return slot


@compiled
def is_spelled(
    node: np.uint64, eights: Words, begin: int, end: int, spellings: Words, starts: Offsets
) -> bool:
    """Whether a node's token, of more than eight bytes, has these bytes."""
    first, length = starts[node], end - begin
    if starts[node + ONE] - first != length:
        return False
    for at in range(0, length - 8, 8):
        if spellings[first + at] != eights[begin + at]:
            return False
    return bool(spellings[first + length - 8] == eights[end - 8])


@compiled
def slot_of_run(table: Words, node: np.uint64, token: np.uint64) -> np.uint64:
    """The slot of what follows a node by a token, or the empty one where it would stand."""
    key = (node << HALF) | token
    last = np.uint64(len(table) - 1)
    slot = slot_of(key, shift_of(table))
    while table[slot, 1] != NONE and table[slot, 0] != key:
        slot = (slot + ONE) & last
    return slot


@compiled
def resized(table: Words, size: int) -> Words:
    """The same slots in a table of another size."""
    packed = np.zeros((size, 2), np.uint64)
    shift, last = shift_of(packed), np.uint64(size - 1)
    for at in range(len(table)):
        if table[at, 1] != NONE:
            slot = slot_of(table[at, 0], shift)
            while packed[slot, 1] != NONE:
                slot = (slot + ONE) & last
            packed[slot, 0] = table[at, 0]
            packed[slot, 1] = table[at, 1]
    return packed


@compiled
def mark_runs(runs: Words, marked: Words) -> None:
    """Set a bit for each key: most runs that a text would begin are told absent by a small table."""
    shift = shift_of(marked) - SIX
    for at in range(len(runs)):
        if runs[at, 1] != NONE:
            bit = ((runs[at, 0] ^ (runs[at, 0] >> HALF)) * ODD) >> shift
            marked[bit >> SIX] |= ONE << (bit & LOW6)


@compiled
def add_tokens(
    tokens: Words,
    spellings: Bytes,
    spelled: Words,
    starts: Offsets,
    data: Bytes,
    eights: Words,
    offsets: Offsets,
) -> int:
    """Give each different token of the entries a node, 1 and up; how many there are."""
    shift = shift_of(tokens)
    count, used = 0, 0
    for entry in range(len(offsets) - 1):
        begin = offsets[entry]
        for at in range(offsets[entry], offsets[entry + 1] + 1):
            if at < offsets[entry + 1] and data[at] != 32:
                continue
            slot = slot_of_token(tokens, shift, data, eights, begin, at, spelled, starts)
            if tokens[slot, 1] == NONE:
                count += 1
                tokens[slot, 0] = key_of(data, eights, begin, at)
                tokens[slot, 1] = packed_value(count, NO_ENTRY, at - begin if at - begin <= 8 else LONG, 0)
                for byte in range(begin, at):
                    spellings[used] = data[byte]
                    used += 1
                starts[count + 1] = used
            begin = at + 1
    return count


@compiled
def add_runs(
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
    shift = shift_of(tokens)
    count, deepest = 0, 0
    for entry in range(len(offsets) - 1):
        begin, depth = offsets[entry], 0
        node, last = NONE, NONE
        for at in range(offsets[entry], offsets[entry + 1] + 1):
            if at < offsets[entry + 1] and data[at] != 32:
                continue
            slot = slot_of_token(tokens, shift, data, eights, begin, at, spelled, starts)
            token = tokens[slot, 1] >> NODE_AT
            if depth > 0:
                table = tokens if depth == 1 else runs
                table[last, 1] |= ONE
                slot = slot_of_run(runs, node, token)
                if runs[slot, 1] == NONE:
                    count += 1
                    runs[slot, 0] = (node << HALF) | token
                    runs[slot, 1] = packed_value(len(starts) - 2 + count, NO_ENTRY, 0, 0)
                token = runs[slot, 1] >> NODE_AT
            node, last = token, slot
            depth += 1
            begin = at + 1
        table = tokens if depth == 1 else runs
        value = table[last, 1]
        if (value >> ENTRY_AT) & LOW28 == NO_ENTRY:
            table[last, 1] = packed_value(node, ids[entry], 0, 0) | (value & LOW8)
        deepest = max(deepest, depth)
    return count, deepest
