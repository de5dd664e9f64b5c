import shutil
from typing import Literal

import numpy as np
import pytest
from tiny_clip import TinyClip, tiny_config, tiny_pixels, tiny_tokens

from clipworks.errors import ConfigError
from clipworks.model.formats import native_shapes

torch = pytest.importorskip("torch", reason="PyTorch comes with clipworks[train]")
network = pytest.importorskip("clipworks.model.network", exc_type=ImportError)


def test_parameter_names_and_shapes_are_the_native_ones() -> None:
    config = tiny_config("gelu")
    state = network.Clip(config).state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == native_shapes(config)


def test_initial_weights_depend_on_the_seed_alone() -> None:
    models = [network.Clip(tiny_config("gelu")) for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        network.initialise(model, seed)
    one, same, other = (model.state_dict()["vision.blocks.0.qkv.weight"] for model in models)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_training_forward_gives_unit_rows_and_gradients_for_every_parameter() -> None:
    model = network.Clip(tiny_config("quick_gelu"))
    network.initialise(model, 0)
    images, texts = model(torch.randn(3, 3, 32, 32), torch.from_numpy(tiny_tokens()))
    torch.testing.assert_close(images.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(texts.norm(dim=1), torch.ones(3))
    ((images @ texts.T) * model.logit_scale.exp()).sum().backward()
    assert [name for name, value in model.named_parameters() if value.grad is None] == []


def test_a_device_that_is_not_there_is_an_error_of_ours(tiny_clip: TinyClip) -> None:
    for device in ("cuda:99", "nonsense"):
        with pytest.raises(ConfigError, match="cannot be used"):
            network.NetworkExecutor(tiny_clip.config, tiny_clip.weights, device=device, precision="f32")


def test_bf16_is_close_to_f32(tiny_clip: TinyClip) -> None:
    exact, rough = (
        network.NetworkExecutor(tiny_clip.config, tiny_clip.weights, device="cpu", precision=precision)
        for precision in ("f32", "bf16")
    )
    for one, other in (
        (exact.encode_images(tiny_pixels()), rough.encode_images(tiny_pixels())),
        (exact.encode_texts(tiny_tokens()), rough.encode_texts(tiny_tokens())),
    ):
        lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        assert ((one * other).sum(axis=1) / lengths).min() > 0.999
        assert np.abs(one - other).max() > 1e-4


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what torch.compile imports
@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_compiled_towers_give_the_same_features(
    tiny_clip: TinyClip, precision: Literal["f32", "bf16"]
) -> None:
    plain, compiled = (
        network.NetworkExecutor(
            tiny_clip.config, tiny_clip.weights, device="cpu", precision=precision, is_compiled=is_compiled
        )
        for is_compiled in (False, True)
    )
    tolerance = 1e-5 if precision == "f32" else 0.02
    for rows in (1, 3):
        pixels, tokens = tiny_pixels(rows), tiny_tokens()[:rows, :16]
        np.testing.assert_allclose(
            compiled.encode_images(pixels), plain.encode_images(pixels), atol=tolerance, rtol=tolerance
        )
        np.testing.assert_allclose(
            compiled.encode_texts(tokens), plain.encode_texts(tokens), atol=tolerance, rtol=tolerance
        )
