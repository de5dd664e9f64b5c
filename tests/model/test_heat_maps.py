"""Patch vectors and heat maps equal CLIP written out in numpy, on both executors."""

from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image
from plain_clip import plain_patch_values, plain_texts, unit
from tiny_clip import TinyClip, tiny_pixels

from clipworks.errors import ConfigError, InputError
from clipworks.model.engine import Engine
from clipworks.model.loading import load
from clipworks.model.tokenizer import tokenize

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch comes with clipworks[train]")

LABELS = ["a cat", "dog", "a photo"]


@pytest.fixture(scope="module", params=["cpu", pytest.param("torch-cpu", marks=needs_torch)])
def engine(request: pytest.FixtureRequest, tiny_clip: TinyClip) -> Engine:
    """The tiny CLIP in f32, on each of the two executors."""
    return load(tiny_clip.native, precision="f32", device=request.param)


def test_patches_are_the_values_of_the_last_block_each_by_itself(engine: Engine, tiny_clip: TinyClip) -> None:
    wanted = plain_patch_values(tiny_clip.config, tiny_clip.weights, tiny_pixels())
    found = engine.embed_patches(tiny_pixels())
    assert found.dtype == np.float32 and found.shape == (4, 4, 4, 32)
    np.testing.assert_allclose(found.reshape(4, 16, 32), wanted, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1, atol=1e-6)


def test_a_heat_map_is_the_cosine_of_each_patch_with_each_label(engine: Engine, tiny_clip: TinyClip) -> None:
    pictures = [Image.fromarray(pixels) for pixels in tiny_pixels()]
    patches = plain_patch_values(tiny_clip.config, tiny_clip.weights, tiny_pixels())
    texts = unit(plain_texts(tiny_clip.config, tiny_clip.weights, tokenize(LABELS)))
    wanted = (patches @ texts.T).transpose(0, 2, 1).reshape(4, 3, 4, 4)
    np.testing.assert_allclose(engine.heat_maps(pictures, LABELS), wanted, atol=1e-4)
    np.testing.assert_allclose(engine.heat_maps(pictures, LABELS, batch_size=3), wanted, atol=1e-4)
    averaged = engine.heat_maps(pictures[:1], LABELS, ["a {}.", "the {}"])
    head = engine.label_head(LABELS, ["a {}.", "the {}"])
    np.testing.assert_allclose(averaged[0, 2], (patches[0] @ head[2]).reshape(4, 4), atol=1e-4)


def test_a_patch_that_changes_moves_the_map_most_where_it_is(engine: Engine) -> None:
    pixels = tiny_pixels()[:1]
    changed = pixels.copy()
    changed[0, 16:24, 8:16] = 255
    moved = np.linalg.norm(engine.embed_patches(changed) - engine.embed_patches(pixels), axis=-1)[0]
    assert np.unravel_index(moved.argmax(), moved.shape) == (2, 1)


def test_nothing_in_gives_nothing_out(engine: Engine) -> None:
    assert engine.heat_maps([], ["a"]).shape == (0, 1, 4, 4)
    assert engine.embed_patches(np.empty((0, 32, 32, 3), dtype=np.uint8)).shape == (0, 4, 4, 32)


def test_what_cannot_be_used_is_named(engine: Engine) -> None:
    with pytest.raises(InputError, match=r"images\[1\]"):
        engine.heat_maps([Image.fromarray(tiny_pixels()[0]), b"no picture"], ["a"])
    with pytest.raises(InputError, match="images is a single picture"):
        engine.heat_maps("a.png", ["a"])
    with pytest.raises(InputError, match=r"uint8 \[N, 32, 32, 3\]"):
        engine.embed_patches(np.zeros((1, 8, 8, 3), dtype=np.uint8))
    with pytest.raises(ConfigError, match="batch_size is 0"):
        engine.heat_maps([], ["a"], batch_size=0)
