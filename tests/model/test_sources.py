"""Weights are found and read whatever their form; what is something else is said to be so."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from tiny_clip import TinyClip, tiny_config, tiny_weights

from clipworks.errors import CheckpointError
from clipworks.model.formats import Family, from_native
from clipworks.model.sources import WEIGHT_FILES, find_weights
from clipworks.model.weights import fingerprint, read_checkpoint

pytestmark = pytest.mark.slow


def tensors_of(tiny: TinyClip, family: Family = "open_clip", prefix: str = "") -> dict[str, torch.Tensor]:
    arrays = from_native(tiny.weights, tiny.config, family)
    return {prefix + name: torch.from_numpy(array) for name, array in arrays.items()}


@pytest.mark.parametrize(
    "name", ["open_clip_pytorch_model.bin", "pytorch_model.bin", "ViT-B-16.pt", "a.pth", "a.ckpt"]
)
def test_a_pickled_file_is_read_without_a_config(tiny_clip: TinyClip, tmp_path: Path, name: str) -> None:
    torch.save(tensors_of(tiny_clip), tmp_path / name)
    for path in (tmp_path / name, tmp_path):
        checkpoint = read_checkpoint(path, activation="gelu")
        assert checkpoint.fingerprint == fingerprint(tiny_clip.config, tiny_clip.weights)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_a_training_checkpoint_is_read(tiny_clip: TinyClip, tmp_path: Path, prefix: str) -> None:
    for wrapper in ("state_dict", "model"):
        state = tensors_of(tiny_clip, prefix=prefix)
        content = {"epoch": 3, wrapper: state, "optimizer": {"state": {0: {"step": torch.ones(2)}}}}
        torch.save(content, tmp_path / "epoch_3.pt")
        found = read_checkpoint(tmp_path / "epoch_3.pt", activation="gelu")
        assert found.fingerprint == fingerprint(tiny_clip.config, tiny_clip.weights)


def script(tiny: TinyClip) -> torch.nn.Module:
    """Modules with OpenAI's names for the tiny CLIP; what they compute does not matter here."""

    def module(names: dict[str, Any]) -> torch.nn.Module:
        made = torch.nn.Module()
        made.attn_mask = torch.zeros(2, 2)  # a plain attribute, as in OpenAI's blocks
        for name, value in names.items():
            if isinstance(value, dict):
                made.add_module(name, module(value))
            elif isinstance(value, torch.Tensor) and value.is_floating_point():
                made.register_parameter(name, torch.nn.Parameter(value.half()))
            else:
                made.register_buffer(name, value)
        return made

    tree: dict[str, Any] = {
        "input_resolution": torch.tensor(32),
        "context_length": torch.tensor(77),
        "vocab_size": torch.tensor(49408),
    }
    for name, tensor in tensors_of(tiny, "openai").items():
        *places, last = name.split(".")
        place = tree
        for part in places:
            place = place.setdefault(part, {})
        place[last] = tensor
    return module(tree)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning", "ignore:`torch.jit:FutureWarning")
def test_the_archive_form_of_openais_releases_is_read(tiny_clip_quick: TinyClip, tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(script(tiny_clip_quick)), tmp_path / "ViT-B-16.pt")
    checkpoint = read_checkpoint(tmp_path / "ViT-B-16.pt", activation="quick_gelu")
    assert checkpoint.family == "openai"
    assert checkpoint.config == tiny_clip_quick.config
    for name, array in tiny_clip_quick.weights.items():
        assert np.array_equal(checkpoint.tensors[name], array.astype(np.float16)), name


def write_shards(folder: Path, tiny: TinyClip, name: str) -> None:
    """transformers' form in two files and an index."""
    tensors = from_native(tiny.weights, tiny.config, "hf")
    stem, ending = name.rsplit(".", 1)
    places = {}
    for part, names in enumerate((sorted(tensors)[:30], sorted(tensors)[30:]), start=1):
        shard = f"{stem}-0000{part}-of-00002.{ending}"
        places |= dict.fromkeys(names, shard)
        held = {key: tensors[key] for key in names}
        if ending == "safetensors":
            safetensors.numpy.save_file(held, folder / shard)
        else:
            torch.save({key: torch.from_numpy(array) for key, array in held.items()}, folder / shard)
    (folder / f"{name}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_weights_in_several_files_are_read(tiny_clip: TinyClip, tmp_path: Path, name: str) -> None:
    write_shards(tmp_path, tiny_clip, name)
    expected = fingerprint(tiny_clip.config, tiny_clip.weights)
    for path in (tmp_path, tmp_path / f"{name}.index.json"):
        assert read_checkpoint(path, activation="gelu").fingerprint == expected


def test_a_missing_part_is_named(tiny_clip: TinyClip, tmp_path: Path) -> None:
    write_shards(tmp_path, tiny_clip, "model.safetensors")
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(
        CheckpointError, match="model-00002-of-00002.safetensors is missing: it is part 2 of the 2"
    ):
        read_checkpoint(tmp_path, activation="gelu")


def test_a_part_without_what_the_index_promises_is_named(tiny_clip: TinyClip, tmp_path: Path) -> None:
    write_shards(tmp_path, tiny_clip, "model.safetensors")
    part = tmp_path / "model-00001-of-00002.safetensors"
    part.write_bytes((tmp_path / "model-00002-of-00002.safetensors").read_bytes())
    with pytest.raises(
        CheckpointError, match="model-00001-of-00002.safetensors lacks logit_scale and 29 more"
    ):
        read_checkpoint(tmp_path, activation="gelu")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "is no index of weights"),
        ("{}", "is no index of weights"),
        ('{"weight_map": {"a": "../other.bin"}}', "names the file '../other.bin', which is not beside it"),
        ('{"weight_map": {"a": "/etc/passwd"}}', "names the file '/etc/passwd', which is not beside it"),
        ('{"weight_map": {"a": 3}}', "is no index of weights"),
    ],
)
def test_a_wrong_index_is_refused(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(CheckpointError, match=said):
        read_checkpoint(tmp_path, activation="gelu")


def test_among_several_forms_the_first_of_open_clips_order_is_taken(tmp_path: Path) -> None:
    for name in reversed(WEIGHT_FILES):
        (tmp_path / name).touch()
        assert find_weights(tmp_path).name == name
    assert WEIGHT_FILES[:5] == (
        "open_clip_model.safetensors",
        "open_clip_pytorch_model.safetensors",
        "open_clip_pytorch_model.bin",
        "open_clip_pytorch_model.pth",
        "model.safetensors",
    )


def test_several_files_of_unknown_names_are_listed(tmp_path: Path) -> None:
    for name in ("epoch_1.pt", "epoch_2.pt"):
        (tmp_path / name).touch()
    with pytest.raises(CheckpointError, match=r"holds 2 weights files: epoch_1\.pt, epoch_2\.pt") as caught:
        find_weights(tmp_path)
    assert caught.value.remedy == "Give the path of one."


def test_a_file_is_known_by_its_content_and_not_its_name(tiny_clip: TinyClip, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes((tiny_clip.folders["hf"] / "model.safetensors").read_bytes())
    torch.save(tensors_of(tiny_clip), tmp_path / "b.safetensors")
    for name in ("a.bin", "b.safetensors"):
        found = read_checkpoint(tmp_path / name, activation="gelu")
        assert found.fingerprint == fingerprint(tiny_clip.config, tiny_clip.weights)


TAR = b"name".ljust(257, b"\0") + b"ustar\x0000" + bytes(300)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"only some words", "is neither a safetensors file nor one that PyTorch saved"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "is a pointer of Git LFS"),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (b"\x80\x04\x95", "is a pickle, but none of PyTorch"),
        (b"\x1f\x8b\x08", "is compressed with gzip"),
        (b"\x93NUMPY", "is an array of numpy"),
        (TAR, "is a tar file"),
        (b"PK\x03\x04 and no more", "is damaged or no PyTorch file"),
        (b"\x10\0\0\0\0\0\0\0{}", "is damaged or no safetensors file"),
    ],
)
def test_what_lies_in_the_place_of_weights_is_said(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(CheckpointError, match=said) as caught:
        read_checkpoint(tmp_path, activation="gelu")
    assert str(tmp_path / name) in caught.value.message and caught.value.remedy


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "model.safetensors").write_bytes(b"x" * 100)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read: .*Permission denied"):
        read_checkpoint(tmp_path, activation="gelu")


def test_another_models_file_is_refused(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(2), "fc.bias": torch.zeros(1)}, tmp_path / "resnet.pt")
    with pytest.raises(
        CheckpointError, match=r"resnet\.pt: These 2 tensor names are of no known CLIP family"
    ):
        read_checkpoint(tmp_path / "resnet.pt", activation="gelu")


def test_an_image_tower_of_another_size_than_the_config_is_refused(
    tiny_clip: TinyClip, tmp_path: Path
) -> None:
    config = tiny_config("gelu")
    weights = dict(tiny_weights(config))
    weights["vision.position_embedding"] = np.zeros((26, 128), dtype=np.float32)
    foreign = {name: array for name, array in from_native(tiny_clip.weights, config, "open_clip").items()}
    foreign["visual.positional_embedding"] = weights["vision.position_embedding"]
    safetensors.numpy.save_file(foreign, tmp_path / "open_clip_model.safetensors")
    text = (tiny_clip.folders["open_clip"] / "open_clip_config.json").read_text()
    (tmp_path / "open_clip_config.json").write_text(text)
    with pytest.raises(
        CheckpointError, match=r"visual\.positional_embedding is \[26, 128\] instead of \[17, 128\]"
    ):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(tiny_clip: TinyClip, tmp_path: Path, value: float) -> None:
    state = tensors_of(tiny_clip)
    state["visual.proj"] = state["visual.proj"].clone()
    state["visual.proj"][3, 4:6] = value
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(
        CheckpointError, match="vision.projection.weight holds 2 of 4096 values that are not finite"
    ):
        read_checkpoint(tmp_path / "a.pt", activation="gelu")


def test_a_release_that_is_known_by_its_hash_states_its_activation(
    tiny_clip_quick: TinyClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clipworks.files import sha256_file
    from clipworks.model import releases

    file = tmp_path / "b16_fullcc2.5b.pt"
    torch.save(tensors_of(tiny_clip_quick), file)
    with pytest.raises(CheckpointError, match="says whether this model's activation is gelu or quick_gelu"):
        read_checkpoint(file)
    monkeypatch.setattr(releases, "ACTIVATIONS", {sha256_file(file): "quick_gelu"})
    assert read_checkpoint(file).config.activation == "quick_gelu"
