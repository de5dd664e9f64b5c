import json
import shutil
from pathlib import Path

import pytest
from tiny_clip import FAMILIES, TinyClip

from clipworks.errors import CheckpointError
from clipworks.model.formats import Family
from clipworks.model.outline import outline
from clipworks.model.tensorfiles import read_shapes
from clipworks.model.weights import read_checkpoint


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "openai"])
def test_shape_and_family_are_told_without_the_weights(any_tiny_clip: TinyClip, family: Family) -> None:
    folder = any_tiny_clip.folders[family]
    found = outline(folder)
    assert found.family == family
    assert found.config is not None
    assert (found.config.vision, found.config.text) == (
        any_tiny_clip.config.vision,
        any_tiny_clip.config.text,
    )
    assert found.weights is not None and outline(found.weights).config == found.config
    assert found.activation == any_tiny_clip.config.activation


def test_of_pickled_weights_without_a_config_only_the_place_is_told(tiny_clip: TinyClip) -> None:
    found = outline(tiny_clip.folders["openai"])
    assert found.weights == tiny_clip.folders["openai"] / "model.pt"
    assert (found.config, found.activation, found.family) == (None, None, None)


def test_the_fingerprint_of_a_native_folder_is_that_of_its_weights(tiny_clip: TinyClip) -> None:
    folder = tiny_clip.folders["native"]
    assert outline(folder).fingerprint == read_checkpoint(folder).fingerprint
    assert outline(tiny_clip.folders["hf"]).fingerprint is None


def test_weights_are_not_read(tiny_clip: TinyClip, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(tiny_clip.folders["hf"], folder)
    file = folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1000:] = bytes(1000)
    file.write_bytes(content)
    assert outline(folder).config == tiny_clip.config


def test_a_config_alone_is_enough(tiny_clip: TinyClip, tmp_path: Path) -> None:
    shutil.copy(tiny_clip.folders["open_clip"] / "open_clip_config.json", tmp_path)
    found = outline(tmp_path)
    assert (found.config, found.weights, found.family) == (tiny_clip.config, None, None)


def test_of_pickled_weights_only_the_config_is_known(tiny_clip: TinyClip, tmp_path: Path) -> None:
    shutil.copy(tiny_clip.folders["open_clip"] / "open_clip_config.json", tmp_path)
    (tmp_path / "open_clip_pytorch_model.bin").write_bytes(b"never opened")
    found = outline(tmp_path)
    assert (found.config, found.family) == (tiny_clip.config, None)
    (tmp_path / "open_clip_config.json").unlink()
    assert outline(tmp_path).config is None


def test_an_empty_folder_and_a_path_that_is_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no weights"):
        outline(tmp_path)
    with pytest.raises(CheckpointError, match="There is no model at"):
        outline(tmp_path / "nothing")


def test_an_unfinished_native_folder_is_refused(tiny_clip: TinyClip, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(tiny_clip.folders["native"], folder)
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps({"kind": "checkpoint"}))
    with pytest.raises(CheckpointError, match="is damaged"):
        outline(folder)
    manifest.unlink()
    with pytest.raises(CheckpointError, match="so it is unfinished"):
        outline(folder)


@pytest.mark.parametrize("content", [b"", b"12345678", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0[]"])
def test_a_damaged_head_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged or no safetensors file"):
        read_shapes(file)
    with pytest.raises(CheckpointError, match="is damaged"):
        outline(tmp_path)
