"""Pillow's bicubic resize of RGB pictures in compiled code: the same pixels in a quarter of the time.

Pillow's filter (Keys' cubic, a = -0.5, stretched where a picture shrinks) has weights of 22 fractional
bits, applies them along the rows, rounds to bytes, then along the columns. Here only what a crop keeps
is computed, and 32 rows are turned on their side at a time, so that one instruction works on many of
them. Compiled by numba where it is installed (extra `fast`); without it Pillow does the work.
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.int32]

MAX_PIXELS = 16_000_000
"""Of a picture; larger ones would be held twice, which Pillow's own resize avoids."""

WORTH_COMPILING = 512
"""Pictures from which on the time to compile is won back, about."""

_FRACTION_BITS = 22
_HALF = 1 << (_FRACTION_BITS - 1)
_ROWS = 32


class Crop(NamedTuple):
    """The part of a resized picture that is wanted; pixels."""

    new_size: tuple[int, int]
    """Width and height of the whole."""
    corner: tuple[int, int]
    """Left and top of the part in the whole."""
    side: int


Resample = Callable[[Pixels, Crop], Pixels]
"""uint8 [H, W, 3] and a crop -> uint8 [side, side, 3]."""


def takes(width: int, height: int) -> bool:
    """Whether pictures of this size come out as Pillow has them.

    Pillow 13 works along the columns first where a picture is more than twice as high as wide.
    """
    return height <= 2 * width and width * height <= MAX_PIXELS


@cache
def compiled_resample(place: Callable[[], Path]) -> Resample | None:
    """The compiled resize, or None where numba is not installed. The first call takes seconds.

    Args:
        place: where compiled code is kept: `clipworks.files.cache_folder`.
    """
    if find_spec("numba") is None:
        return None
    numba = import_module("clipworks.compiled")  # imports numba, which takes half a second
    weights, across, down = (numba.compiled(function) for function in (_weights, _across, _down))
    numba.keep_machine_code(place, weights, across, down)

    def resample(pixels: Pixels, crop: Crop) -> Pixels:
        height, width, _ = pixels.shape
        columns, rows = (
            weights(old, new, first, crop.side)
            for old, new, first in zip((width, height), crop.new_size, crop.corner, strict=True)
        )
        result: Pixels = down(across(pixels, *columns, *rows[:2]), *rows)
        return result

    sample = np.zeros((8, 8, 3), np.uint8)
    sample.flags.writeable = False  # as Pillow gives its pixels; numba compiles for each kind of array
    resample(sample, Crop((4, 4), (0, 0), 4))
    return resample


def _weights(old: int, new: int, first: int, count: int) -> tuple[Numbers, Numbers, Numbers]:
    """For new places first to first + count: the first old place, how many, and their weights."""
    scale = old / new
    stretch = max(scale, 1.0)
    reach = 2.0 * stretch
    starts, lengths = np.empty(count, np.int32), np.empty(count, np.int32)
    weights = np.zeros((count, 2 * int(np.ceil(reach)) + 1), np.int32)
    row = np.empty(weights.shape[1], np.float64)
    for place in range(count):
        centre = (first + place + 0.5) * scale
        begin = max(int(centre - reach + 0.5), 0)
        end = min(int(centre + reach + 0.5), old)
        total = 0.0
        for k in range(end - begin):
            x = abs((k + begin - centre + 0.5) * (1.0 / stretch))
            if x < 1.0:
                row[k] = (1.5 * x - 2.5) * x * x + 1
            elif x < 2.0:
                row[k] = (((x - 5) * x + 8) * x - 4) * -0.5
            else:
                row[k] = 0.0
            total += row[k]
        for k in range(end - begin):
            fixed = row[k] / total * (1 << _FRACTION_BITS)
            weights[place, k] = int(fixed - 0.5) if fixed < 0 else int(fixed + 0.5)
        starts[place], lengths[place] = begin, end - begin
    return starts, lengths, weights


def _across(
    pixels: Pixels,
    starts: Numbers,
    lengths: Numbers,
    weights: Numbers,
    row_starts: Numbers,
    row_lengths: Numbers,
) -> Pixels:
    """Along the rows that the crop needs: uint8 [H, W, 3] -> [rows, 3 * count], from row_starts[0] on."""
    count, top, left = len(starts), row_starts[0], starts[0]
    num_rows = row_starts[-1] + row_lengths[-1] - top
    width = starts[-1] + lengths[-1] - left
    result = np.empty((num_rows, 3 * count), np.uint8)
    turned = np.zeros((width, 3 * _ROWS), np.uint8)
    sums = np.empty(3 * _ROWS, np.int32)
    for first in range(0, num_rows, _ROWS):
        block = min(_ROWS, num_rows - first)
        for row in range(block):
            for x in range(width):
                for channel in range(3):
                    turned[x, 3 * row + channel] = pixels[top + first + row, left + x, channel]
        for place in range(count):
            sums[:] = _HALF
            for k in range(lengths[place]):
                weight, line = weights[place, k], turned[starts[place] - left + k]
                for lane in range(3 * _ROWS):
                    sums[lane] += weight * np.int32(line[lane])
            for row in range(block):
                for channel in range(3):
                    value = sums[3 * row + channel] >> _FRACTION_BITS
                    result[first + row, 3 * place + channel] = min(max(value, 0), 255)
    return result


def _down(lines: Pixels, starts: Numbers, lengths: Numbers, weights: Numbers) -> Any:
    """Along the columns: uint8 [rows, 3 * side], which begin at row starts[0] -> [count, side, 3]."""
    num_lanes = lines.shape[1]
    result = np.empty((len(starts), num_lanes), np.uint8)
    sums = np.empty(num_lanes, np.int32)
    for place in range(len(starts)):
        sums[:] = _HALF
        for k in range(lengths[place]):
            weight, line = weights[place, k], lines[starts[place] - starts[0] + k]
            for lane in range(num_lanes):
                sums[lane] += weight * np.int32(line[lane])
        for lane in range(num_lanes):
            result[place, lane] = min(max(sums[lane] >> _FRACTION_BITS, 0), 255)
    return result.reshape(len(starts), num_lanes // 3, 3)
