"""Models of the family beyond the five: head widths, MLP widths and grids of H/14, g/14, bigG/14, L/14@336.

The towers are narrow copies: the head width, the ratio of the MLP and the number of tokens are the real ones.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_clip import tiny_config, tiny_tokens, tiny_weights

from clipworks.model.config import VisionConfig
from clipworks.model.executor import GraphExecutor
from clipworks.model.weights import fingerprint, read_checkpoint, write_checkpoint

pytestmark = pytest.mark.slow

network = pytest.importorskip("clipworks.model.network", reason="PyTorch comes with clipworks[train]")

# Head width, MLP width of the image tower, side of the picture; patches of 14 pixels.
SHAPES = {
    "H-14": (80, 640, 224),
    "g-14": (88, 768, 224),
    "bigG-14": (104, 1024, 224),
    "L-14-336": (64, 512, 336),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_tower_of_the_family_is_written_read_and_computed_alike_by_both_executors(
    tmp_path: Path, name: str
) -> None:
    head_width, mlp_width, image_size = SHAPES[name]
    vision = VisionConfig(
        image_size=image_size, patch_size=14, width=2 * head_width, layers=2, heads=2, mlp_width=mlp_width
    )
    config = replace(tiny_config("gelu"), vision=vision)
    weights = tiny_weights(config)
    for family in ("open_clip", "hf"):
        write_checkpoint(tmp_path / family, config, weights, family=family)  # type: ignore[arg-type]
        found = read_checkpoint(tmp_path / family)
        assert found.config == config and found.fingerprint == fingerprint(config, weights)
    pixels = np.random.default_rng(7).integers(0, 255, (2, image_size, image_size, 3)).astype(np.uint8)
    graph = GraphExecutor(config, weights, precision="f32")
    torch = network.NetworkExecutor(config, weights, device="cpu", precision="f32")
    for ours, theirs in (
        (graph.encode_images(pixels), torch.encode_images(pixels)),
        (graph.encode_texts(tiny_tokens()), torch.encode_texts(tiny_tokens())),
    ):
        one, other = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (ours, theirs))
        assert np.abs(one - other).max() < 2e-5
