"""A model for pictures of another size computes what open_clip computes after its own resize."""

from typing import Any

import numpy as np
import pytest
import torch
from other_libraries import open_clip_of
from tiny_clip import TinyClip, tiny_tokens

from clipworks.errors import ConfigError
from clipworks.model.config import ClipConfig
from clipworks.model.formats import from_native
from clipworks.model.loading import load
from clipworks.model.network import NetworkExecutor
from clipworks.model.published import to_open_clip_config
from clipworks.model.resize import interpolated, resized

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("old", "new"), [(4, 6), (7, 8), (4, 3), (16, 7), (14, 24), (5, 1), (1, 3), (8, 8)])
def test_the_grid_is_interpolated_as_torch_does_it(old: int, new: int) -> None:
    table = np.random.default_rng(old).standard_normal((old * old, 5)).astype(np.float32)
    grid = torch.from_numpy(table).reshape(1, old, old, 5).permute(0, 3, 1, 2)
    theirs = torch.nn.functional.interpolate(
        grid, size=(new, new), mode="bicubic", antialias=True, align_corners=False
    )
    expected = theirs.permute(0, 2, 3, 1).reshape(new * new, 5).numpy()
    # torch computes places and weights in float32, which costs up to 5e-6 here; ours are float64.
    np.testing.assert_allclose(interpolated(table, new), expected, atol=1e-5)


def test_only_the_places_of_patches_change(tiny_clip: TinyClip) -> None:
    config, tensors = resized(tiny_clip.config, tiny_clip.weights, 48)
    assert (config.vision.image_size, config.vision.tokens) == (48, 37)
    changed = [name for name in tensors if tensors[name] is not tiny_clip.weights[name]]
    assert changed == ["vision.position_embedding"]
    assert tensors[changed[0]].shape == (37, 128) and tensors[changed[0]].dtype == np.float32
    assert np.array_equal(tensors[changed[0]][0], tiny_clip.weights[changed[0]][0])


def test_the_models_own_size_changes_nothing(tiny_clip: TinyClip) -> None:
    config, tensors = resized(tiny_clip.config, tiny_clip.weights, 32)
    assert config == tiny_clip.config and tensors is tiny_clip.weights


@pytest.mark.parametrize("image_size", [0, -8, 30, 100_000, "48", 48.0])
def test_a_size_that_is_no_multiple_of_the_patch_is_refused(tiny_clip: TinyClip, image_size: Any) -> None:
    with pytest.raises(ConfigError, match=f"image_size is {image_size!r}; .* must be a multiple of 8"):
        resized(tiny_clip.config, tiny_clip.weights, image_size)


def test_an_engine_of_another_size_takes_such_pictures(tiny_clip: TinyClip) -> None:
    engine = load(tiny_clip.native, precision="f32", image_size=48)
    own = load(tiny_clip.native, precision="f32")
    assert engine.image_size == 48 and engine.fingerprint != own.fingerprint
    picture = np.random.default_rng(0).integers(0, 255, (60, 48, 3)).astype(np.uint8)
    assert np.isfinite(engine.embed_images([picture])).all()
    assert np.array_equal(engine.embed_texts(["a cat"]), own.embed_texts(["a cat"]))


def test_features_after_a_resize_are_those_of_torchs_interpolation(any_tiny_clip: TinyClip) -> None:
    """The same towers, with the table that torch's own interpolation makes."""
    config, tensors = resized(any_tiny_clip.config, any_tiny_clip.weights, 48)
    table = torch.from_numpy(any_tiny_clip.weights["vision.position_embedding"])
    grid = table[1:].reshape(1, 4, 4, -1).permute(0, 3, 1, 2)
    grid = torch.nn.functional.interpolate(grid, size=(6, 6), mode="bicubic", antialias=True)
    theirs = torch.cat([table[:1], grid.permute(0, 2, 3, 1).reshape(36, -1)]).numpy()
    pixels = np.random.default_rng(1).integers(0, 255, (4, 48, 48, 3)).astype(np.uint8)
    one, other = (
        NetworkExecutor(config, weights, device="cpu", precision="f32").encode_images(pixels)
        for weights in (tensors, {**tensors, "vision.position_embedding": theirs})
    )
    assert np.abs(unit(one) - unit(other)).max() < 1e-5


def test_logits_after_a_resize_are_those_of_open_clip(any_tiny_clip: TinyClip) -> None:
    open_clip = open_clip_of("resizing is compared with")
    config, tensors = resized(any_tiny_clip.config, any_tiny_clip.weights, 48)
    model = open_clip.CLIP(**to_open_clip_config(config)["model_cfg"]).eval()
    own = from_native(any_tiny_clip.weights, any_tiny_clip.config, "open_clip")
    state = {name: torch.from_numpy(array) for name, array in own.items()}
    open_clip.model.resize_pos_embed(state, model)
    model.load_state_dict(state)
    pixels = np.random.default_rng(1).integers(0, 255, (4, 48, 48, 3)).astype(np.uint8)
    with torch.inference_mode():
        image = unit(model.encode_image(normalised(config, pixels)).numpy())
        text = unit(model.encode_text(torch.from_numpy(tiny_tokens())).numpy())
    ours = NetworkExecutor(config, tensors, device="cpu", precision="f32")
    logits = unit(ours.encode_images(pixels)) @ unit(ours.encode_texts(tiny_tokens())).T
    scale = float(np.exp(any_tiny_clip.weights["logit_scale"]))
    assert np.abs(scale * (logits - image @ text.T)).max() < 1e-3


def unit(features: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return features / np.linalg.norm(features, axis=-1, keepdims=True)


def normalised(config: ClipConfig, pixels: np.ndarray) -> torch.Tensor:  # type: ignore[type-arg]
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (config.preprocess.mean, config.preprocess.std))
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std
