import pickle
from pathlib import Path

import numpy as np
import pytest
from tiny_clip import TinyClip, tiny_config, tiny_pixels, tiny_tokens

from clipworks.errors import CheckpointError, ConfigError
from clipworks.model.formats import from_native, native_shapes
from clipworks.model.weights import read_checkpoint

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


@pytest.mark.parametrize("name", ["open_clip_pytorch_model.bin", "model.pt"])
@pytest.mark.parametrize("is_training_checkpoint", [False, True])
def test_pickled_state_dicts_are_read(
    tiny_clip: TinyClip, tmp_path: Path, name: str, is_training_checkpoint: bool
) -> None:
    foreign = from_native(tiny_clip.weights, tiny_clip.config, "open_clip")
    prefix = "module." if is_training_checkpoint else ""
    state = {prefix + key: torch.from_numpy(array) for key, array in foreign.items()}
    state[prefix + "visual.proj"] = state[prefix + "visual.proj"].bfloat16()
    torch.save({"epoch": 3, "state_dict": state} if is_training_checkpoint else state, tmp_path / name)
    path = tmp_path / name if name.endswith(".pt") else tmp_path
    checkpoint = read_checkpoint(path, activation="gelu", read_pickle=network.read_pickle)
    assert checkpoint.config == tiny_clip.config
    assert np.array_equal(
        checkpoint.tensors["text.projection.weight"], tiny_clip.weights["text.projection.weight"]
    )


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.target,))


def test_code_in_a_pickled_file_is_not_run(tmp_path: Path) -> None:
    file, touched = tmp_path / "pytorch_model.bin", tmp_path / "touched"
    torch.save({"a": torch.zeros(1), "b": Malicious(touched)}, file)
    with pytest.raises(CheckpointError, match="cannot be read without running code from it"):
        network.read_pickle(file)
    file.write_bytes(pickle.dumps(Malicious(touched), protocol=2))
    with pytest.raises(CheckpointError):
        network.read_pickle(file)
    assert not touched.exists()


@pytest.mark.parametrize("content", [b"", b"not a pickle", b"PK\x03\x04 damaged"])
def test_a_damaged_pickled_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin"):
        network.read_pickle(tmp_path / "pytorch_model.bin")


def test_a_pickled_file_without_tensors_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="holds no tensors by name"):
        network.read_pickle(tmp_path / "x.pt")
