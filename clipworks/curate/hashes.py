"""64-bit hashes of pictures and of features, and their distances. An owner of Pillow.

A perceptual hash is the signs of a picture's 64 lowest frequencies about their median (pHash): 32 x 32 grey
pixels, a discrete cosine transform, its 8 x 8 corner. Near-duplicates differ in few bits. Of two hashes that
differ in at most d of 64 bits, at least one of d + 1 bands of bits is equal in both, since d differences
cannot touch d + 1 bands: so pairs are looked for among rows that share a band, and none is missed.
"""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipworks.errors import ConfigError
from clipworks.model.decoder import decode, decode_errors_named

BITS = 64
SIDE = 32
"""Pixels of the small grey picture."""
CORNER = 8
"""Frequencies a side that are kept."""
MAX_DISTANCE = 15
ROWS_PER_BLOCK = 1024

Hashes = NDArray[np.uint64]


def perceptual_hash(image: bytes, *, label: str = "the picture") -> int:
    """The 64-bit pHash of an encoded picture, equal to that of the package imagehash.

    What is transparent counts as white: a glyph whose shape is in its alpha alone would else be all black.

    Raises:
        InputError: it cannot be decoded, or is too large.
    """
    picture, _ = decode(image, label)
    with decode_errors_named(label):
        if picture.has_transparency_data:
            above = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", above.size, "white"), above)
        grey = picture.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    low = _cosines() @ np.asarray(grey, np.float64) @ _cosines().T
    bits = (low > np.median(low)).ravel()
    return int("".join("1" if bit else "0" for bit in bits), 2)


def distances(first: Hashes, second: Hashes) -> NDArray[np.int64]:
    """In how many of 64 bits hashes differ; the shapes broadcast."""
    x = first ^ second
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    counts: NDArray[np.int64] = ((x * np.uint64(0x0101010101010101)) >> np.uint64(56)).astype(np.int64)
    return counts


def bands_of(hashes: Hashes, distance: int) -> Hashes:
    """uint64 [N, distance + 1]: each band's bits and, above them, its number.

    Two hashes that differ in at most `distance` bits have an equal column.

    Raises:
        ConfigError: the distance is not in 0..15.
    """
    if not 0 <= distance <= MAX_DISTANCE:
        raise ConfigError(f"The distance {distance} is out of range: 0 to {MAX_DISTANCE} bits.")
    edges = [number * BITS // (distance + 1) for number in range(distance + 2)]
    if distance == 0:
        return hashes[:, None].copy()
    bands = np.empty((len(hashes), distance + 1), np.uint64)
    for number, (low, high) in enumerate(zip(edges, edges[1:], strict=False)):
        bits = (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
        bands[:, number] = bits | np.uint64(number << (BITS - 4))
    return bands


def is_near_earlier(hashes: Hashes, distance: int) -> NDArray[np.bool_]:
    """Which hashes differ in at most `distance` bits from one that stands before them, bool [N]."""
    near = np.zeros(len(hashes), np.bool_)
    for start in range(0, len(hashes), ROWS_PER_BLOCK):
        block = hashes[start : start + ROWS_PER_BLOCK]
        for other in range(0, start + len(block), ROWS_PER_BLOCK):
            earlier = hashes[other : min(other + ROWS_PER_BLOCK, start + len(block))]
            close = distances(block[:, None], earlier[None, :]) <= distance
            if other + len(earlier) > start:  # the block itself: only what stands before
                close &= (
                    np.arange(other, other + len(earlier)) < np.arange(start, start + len(block))[:, None]
                )
            near[start : start + len(block)] |= close.any(axis=1)
    return near


def near_listed(hashes: Hashes, listed: Hashes, distance: int) -> NDArray[np.bool_]:
    """Which hashes differ in at most `distance` bits from one of a list, bool [N].

    Looks only at those of the list that share a band; memory does not hang on how many these are.
    """
    found = np.zeros(len(hashes), np.bool_)
    mine, theirs = bands_of(hashes, distance), bands_of(listed, distance)
    for band in range(mine.shape[1]):
        order = np.argsort(theirs[:, band], kind="stable")
        values = theirs[order, band]
        first = np.searchsorted(values, mine[:, band], side="left")
        last = np.searchsorted(values, mine[:, band], side="right")
        active = np.flatnonzero((first < last) & ~found)
        while len(active):
            candidates = listed[order[first[active]]]
            found[active] |= distances(hashes[active], candidates) <= distance
            first[active] += 1
            active = active[(first[active] < last[active]) & ~found[active]]
    return found


def _cosines() -> NDArray[np.float64]:
    """float64 [CORNER, SIDE]: the lowest rows of the discrete cosine transform (type II)."""
    places = (2 * np.arange(SIDE) + 1) * math.pi / (2 * SIDE)
    return 2 * np.cos(np.arange(CORNER)[:, None] * places[None, :])
