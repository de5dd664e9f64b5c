import json
from pathlib import Path

import pytest
from tiny_clip import TinyClip

from clipworks.errors import CheckpointError, ConfigError
from clipworks.model import specs
from clipworks.model.catalogue import rows
from clipworks.model.specs import describe, describe_row

PAGE = {
    *("id", "short_names", "title", "source", "task", "architecture", "tag", "parameters", "gflops"),
    *("image_size", "patch_size", "image_tokens", "context_length", "vocab_size", "dim", "image_tower"),
    *("text_tower", "mean", "std", "activation", "training_data", "training", "licence", "licence_note"),
    *("commercial_use", "use", "limits", "traps", "files", "original", "folder", "fingerprint"),
    *("imagenet", "average_of_38", "scores"),
}


def test_every_model_has_the_same_fields_and_they_are_plain_json() -> None:
    for row in rows():
        found = describe_row(row)
        assert found.keys() == PAGE
        assert json.loads(json.dumps(found))["id"] == row.id


def test_a_published_model_says_what_its_page_says() -> None:
    found = describe("laion2b-b32")
    assert found["parameters"] == {"image": 87_849_216, "text": 63_428_096, "total": 151_277_313}
    assert found["gflops"] == {"image": 8.82, "text": 5.96, "pair": 14.78}
    assert (found["image_size"], found["context_length"], found["dim"]) == (224, 77, 512)
    assert (found["activation"], found["licence"], found["commercial_use"]) == ("gelu", "MIT", "allowed")
    assert found["training"]["num_seen"] == 34_000_000_000
    assert (found["imagenet"], found["average_of_38"]) == (0.6656, 0.5694)
    assert len(found["scores"]) == 63


def test_the_built_in_model_is_read_off_its_folder() -> None:
    found = describe("pictogram")
    settings = json.loads((Path(found["folder"]) / "train.json").read_text())["config"]
    assert found["training"]["batch_size"] == settings["batch_size"]
    assert found["training"]["num_seen"] == 12_500 * 256  # in four runs; train.json is of the second
    assert found["dim"] == settings["model"]["embed_dim"]
    manifest = json.loads((Path(found["folder"]) / "manifest.json").read_text())
    assert found["fingerprint"] == manifest["fingerprint"]


def test_a_path_is_described_by_its_files(tiny_clip: TinyClip) -> None:
    found = describe(str(tiny_clip.folders["hf"]))
    assert (found["source"], found["family"], found["activation"]) == ("local", "hf", "gelu")
    assert (found["image_size"], found["dim"], found["weights_file"]) == (32, 32, "model.safetensors")
    assert found["parameters"]["total"] == sum(array.size for array in tiny_clip.weights.values())
    assert json.loads(json.dumps(found)) == found


def test_an_activation_that_no_file_states_is_none(tiny_clip: TinyClip) -> None:
    assert describe(str(tiny_clip.folders["openai"]))["activation"] is None


def test_a_pickled_file_without_a_config_has_no_shape(tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    file.write_bytes(b"never opened")
    found = describe(str(file))
    assert "parameters" not in found and found["weights_bytes"] == 12


def test_a_folder_named_like_a_published_model_is_the_folder(
    tiny_clip: TinyClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "openai-b16").symlink_to(tiny_clip.folders["hf"])
    (tmp_path / "pictogram").symlink_to(tiny_clip.folders["hf"])
    assert describe("openai-b16")["source"] == "local"
    assert describe("pictogram")["source"] == "builtin"


def test_an_unknown_name_and_a_folder_without_a_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no model named 'pictogramm'. Nearest: pictogram"):
        describe("pictogramm")
    with pytest.raises(CheckpointError, match="holds no weights"):
        describe(str(tmp_path))


def test_what_is_in_the_cache_of_the_hub_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert specs.cached_folder("nobody/nothing") is None
    monkeypatch.setattr(specs, "cached_folder", lambda repository: tmp_path)
    assert describe("openai-b16")["folder"] == str(tmp_path)
