"""Make tests/golden/crops.json: parts of pictures as torchvision's RandomResizedCrop cuts and resizes them.

For each case the numbers that were drawn, the part, and a hash of the pixels, so that the tests need neither
torch's generator nor torchvision. Needs torchvision (open_clip's own training transform is this class):

    python scripts/golden_crops.py
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image
from torchvision.transforms import InterpolationMode, RandomResizedCrop

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden" / "crops.json"
SIDE = 48
CASES = (
    *((640, 480, 0.9, seed) for seed in range(6)),
    *((333, 500, 0.9, seed) for seed in range(6)),
    *((64, 64, 0.9, seed) for seed in range(4)),
    *((300, 200, 0.08, seed) for seed in range(4)),
    (1000, 20, 0.9, 0),
    (20, 1000, 0.9, 0),
    (1, 1, 0.9, 0),
)


def main() -> None:
    cases = [case(*one) for one in CASES]
    versions = f"torchvision {torchvision.__version__}, torch {torch.__version__}"
    values = {"made_by": f"scripts/golden_crops.py, {versions}", "side": SIDE, "cases": cases}
    GOLDEN.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def case(width: int, height: int, least: float, seed: int) -> dict[str, Any]:
    picture = Image.fromarray(waves(width, height))
    crop = RandomResizedCrop(SIDE, scale=(least, 1.0), interpolation=InterpolationMode.BICUBIC)
    torch.manual_seed(seed)
    pixels = np.array(crop(picture))
    torch.manual_seed(seed)
    top, left, part_height, part_width = crop.get_params(picture, [least, 1.0], [3 / 4, 4 / 3])
    return {
        "size": [width, height],
        "least": least,
        "drawn": drawn(seed),
        "box": [left, top, left + part_width, top + part_height],
        "sha256": hashlib.sha256(pixels.tobytes()).hexdigest(),
    }


def drawn(seed: int) -> list[float]:
    """The numbers in 0..1 behind the first ten attempts; the place is drawn after the last of them."""
    torch.manual_seed(seed)
    return [float(torch.rand(1)) for _ in range(20)]


def waves(width: int, height: int) -> np.ndarray:
    """A picture by formula, uint8 [height, width, 3]; the test makes the same."""
    y, x = np.mgrid[:height, :width]
    channels = [(x * 7 + y * 3) % 256, (x * x // 5 + y) % 256, (x * y // 11 + 40) % 256]
    return np.stack(channels, axis=-1).astype(np.uint8)


if __name__ == "__main__":
    main()
