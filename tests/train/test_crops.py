"""Parts of pictures: those that torchvision draws, cut and resized as it does."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipworks.model.preprocess import prepare_part
from clipworks.train.crops import draw_crop

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "crops.json").read_text())


class Recorded:
    """Gives the numbers that torchvision drew, and then the place that it chose."""

    def __init__(self, drawn: list[float], left: int, top: int) -> None:
        self._drawn = iter(drawn)
        self._places = iter([top, left])

    def random(self, dtype: Any) -> Any:
        return dtype(next(self._drawn))

    def integers(self, low: int, high: int) -> int:
        place = next(self._places)
        assert low <= place < high
        return place


def waves(width: int, height: int) -> np.ndarray:
    """As in scripts/golden_crops.py."""
    y, x = np.mgrid[:height, :width]
    channels = [(x * 7 + y * 3) % 256, (x * x // 5 + y) % 256, (x * y // 11 + 40) % 256]
    return np.stack(channels, axis=-1).astype(np.uint8)


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: f"{case['size']} {case['least']}")
def test_the_part_and_its_pixels_are_those_of_torchvision(case: dict[str, Any]) -> None:
    left, top, right, bottom = case["box"]
    recorded: Any = Recorded(case["drawn"], left, top)
    width, height = case["size"]
    assert draw_crop(width, height, recorded, least=case["least"]) == (left, top, right, bottom)
    pixels = prepare_part(waves(width, height), GOLDEN["side"], lambda *_: (left, top, right, bottom))
    assert hashlib.sha256(pixels.tobytes()).hexdigest() == case["sha256"]


def test_a_part_has_the_share_and_the_ratio_that_were_asked_for() -> None:
    rng = np.random.default_rng(0)
    boxes = np.array([draw_crop(400, 300, rng, least=0.5) for _ in range(500)])
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    share = width * height / (400 * 300)
    assert 0.49 < share.min() < 0.53 and 0.95 < share.max() <= 1
    assert 0.74 < (width / height).min() and (width / height).max() < 1.34
    assert (boxes[:, :2] >= 0).all() and boxes[:, 2].max() <= 400 and boxes[:, 3].max() <= 300


def test_a_transparent_picture_is_cut_on_white() -> None:
    from PIL import Image

    pixels = prepare_part(Image.new("RGBA", (8, 8), (0, 0, 0, 0)), 4, lambda width, height: (0, 0, 8, 8))
    assert (pixels == 255).all()
