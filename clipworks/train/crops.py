"""RandomResizedCrop as torchvision draws it; `model/preprocess.py` cuts and resizes."""

import math

import numpy as np

ATTEMPTS = 10
SMALLEST_RATIO, LARGEST_RATIO = 3 / 4, 4 / 3

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels."""


def draw_crop(width: int, height: int, rng: np.random.Generator, *, least: float) -> Box:
    """A part of `least` to all of a picture's area, its ratio of sides 3/4 to 4/3, anywhere.

    Step by step that of `torchvision.transforms.RandomResizedCrop.get_params`, in its arithmetic: the same
    numbers drawn give the same part. open_clip trains with `least` 0.9.

    Args:
        width: of the picture, pixels.
        height: of the picture, pixels.
        rng: gives two float32 numbers per attempt, and two whole numbers for the place.
        least: smallest share of the area, above 0 and up to 1.
    """
    low, high = np.log(np.array([SMALLEST_RATIO, LARGEST_RATIO], np.float32))
    for _ in range(ATTEMPTS):
        share = rng.random(dtype=np.float32) * np.float32(1 - least) + np.float32(least)
        ratio = np.exp(rng.random(dtype=np.float32) * (high - low) + low)
        area = width * height * float(share)
        part_width = round(math.sqrt(area * float(ratio)))
        part_height = round(math.sqrt(area / float(ratio)))
        if 0 < part_width <= width and 0 < part_height <= height:
            top = int(rng.integers(0, height - part_height + 1))
            left = int(rng.integers(0, width - part_width + 1))
            return left, top, left + part_width, top + part_height
    return _middle(width, height)


def _middle(width: int, height: int) -> Box:
    """The largest part in the middle with an allowed ratio, where no drawn one fitted."""
    part_width, part_height = width, height
    if width / height < SMALLEST_RATIO:
        part_height = round(width / SMALLEST_RATIO)
    elif width / height > LARGEST_RATIO:
        part_width = round(height * LARGEST_RATIO)
    left, top = (width - part_width) // 2, (height - part_height) // 2
    return left, top, left + part_width, top + part_height
