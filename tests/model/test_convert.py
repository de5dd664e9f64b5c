"""Every form is written so that its own library loads it, whole or not at all, and always alike."""

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from other_libraries import open_clip_of, transformers_of
from tiny_clip import FAMILIES, TinyClip, tiny_config, tiny_tokens, tiny_weights

from clipworks.errors import CheckpointError, ConfigError
from clipworks.files import sha256_file
from clipworks.model import convert as conversion
from clipworks.model.config import PreprocessConfig, VisionConfig
from clipworks.model.convert import WRITTEN, convert
from clipworks.model.formats import Family
from clipworks.model.tokenizer import tokenize
from clipworks.model.weights import Checkpoint, fingerprint, read_checkpoint, write_checkpoint

pytestmark = pytest.mark.slow

FILES: dict[Family, set[str]] = {
    "native": {"README.md", "config.json", "manifest.json", "model.safetensors"},
    "openai": {"README.md", "model.pt"},
    "open_clip": {"README.md", "open_clip_config.json", "open_clip_model.safetensors"},
    "hf": {
        "README.md",
        "config.json",
        "merges.txt",
        "model.safetensors",
        "preprocessor_config.json",
        "tokenizer_config.json",
        "vocab.json",
    },
}


@pytest.fixture
def checkpoint(tiny_clip_quick: TinyClip) -> Checkpoint:
    return read_checkpoint(tiny_clip_quick.folders["native"])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_form_is_the_same_model(checkpoint: Checkpoint, tmp_path: Path, family: Family) -> None:
    done = convert(checkpoint, tmp_path / "out", to=family, source="someone/tiny")
    assert done.fingerprint == done.source_fingerprint == checkpoint.fingerprint
    assert done.max_difference == 0
    assert {file.name for file in (tmp_path / "out").iterdir()} == FILES[family] == done.files.keys()
    assert done.files["README.md"] == sha256_file(tmp_path / "out" / "README.md")
    given = checkpoint.config.activation if family == "openai" else None
    assert read_checkpoint(tmp_path / "out", activation=given).fingerprint == checkpoint.fingerprint


@pytest.mark.parametrize("family", FAMILIES)
def test_equal_input_gives_equal_bytes(checkpoint: Checkpoint, tmp_path: Path, family: Family) -> None:
    one, other = (convert(checkpoint, tmp_path / name, to=family, source="tiny") for name in ("a", "b"))
    assert one.files == other.files
    again = read_checkpoint(
        one.folder, activation=checkpoint.config.activation if family == "openai" else None
    )
    assert convert(again, tmp_path / "c", to=family, source="tiny").files == one.files


@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_says_how_far_it_is(checkpoint: Checkpoint, tmp_path: Path, family: Family) -> None:
    done = convert(checkpoint, tmp_path / "out", to=family, dtype="f16", source="tiny")
    assert done.fingerprint != done.source_fingerprint
    largest = max(float(np.abs(array).max()) for array in checkpoint.tensors.values())
    assert 0 < done.max_difference <= largest * 2**-11
    weights = max((tmp_path / "out").iterdir(), key=lambda file: file.stat().st_size)
    assert weights.stat().st_size < 0.6 * 4 * sum(array.size for array in checkpoint.tensors.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_card_says_what_the_model_is(checkpoint: Checkpoint, tmp_path: Path, family: Family) -> None:
    convert(checkpoint, tmp_path / "out", to=family, source="someone/tiny", licence="MIT")
    card = (tmp_path / "out" / "README.md").read_text()
    for words in (
        "2 layers, width 128",
        "`quick_gelu`",
        "`someone/tiny`",
        checkpoint.fingerprint,
        "license: mit",
    ):
        assert words in card
    convert(checkpoint, tmp_path / "other", to=family, source="tiny", licence="none stated")
    assert "license:" not in (tmp_path / "other" / "README.md").read_text()


def test_a_folder_with_other_files_is_never_replaced(checkpoint: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "diary.txt").write_text("dear diary")
    with pytest.raises(ConfigError, match="is not empty") as caught:
        convert(checkpoint, tmp_path, to="hf", source="tiny")
    assert "--force" in caught.value.remedy
    with pytest.raises(ConfigError, match=r"holds diary\.txt, which `clipworks convert` did not write"):
        convert(checkpoint, tmp_path, to="hf", source="tiny", replace=True)
    with pytest.raises(ConfigError, match=r"diary\.txt is a file"):
        convert(checkpoint, tmp_path / "diary.txt", to="hf", source="tiny", replace=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["diary.txt"]


@pytest.mark.parametrize("family", FAMILIES)
def test_what_was_put_beside_a_conversion_is_never_removed(
    checkpoint: Checkpoint, tmp_path: Path, family: Family
) -> None:
    out = tmp_path / "out"
    convert(checkpoint, out, to=family, source="tiny")
    assert {file.name for file in out.iterdir()} <= WRITTEN
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match=r"holds thesis\.txt, which `clipworks convert` did not write"):
        convert(checkpoint, out, to="hf", source="tiny", replace=True)
    assert (out / "thesis.txt").read_text() == "years of work"


def test_an_earlier_conversion_is_replaced_when_asked(checkpoint: Checkpoint, tmp_path: Path) -> None:
    out = tmp_path / "out"
    convert(checkpoint, out, to="hf", source="tiny")
    convert(checkpoint, out, to="open_clip", source="tiny", replace=True)
    assert {file.name for file in out.iterdir()} == FILES["open_clip"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_an_empty_folder_is_filled(checkpoint: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    convert(checkpoint, tmp_path / "out", to="openai", source="tiny")
    assert {file.name for file in (tmp_path / "out").iterdir()} == FILES["openai"]


def test_a_full_disk_leaves_nothing_and_keeps_what_was_there(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    before = convert(checkpoint, out, to="hf", source="tiny")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for place in (out, tmp_path / "new"):
        with pytest.raises(CheckpointError, match="cannot be written: No space left on device"):
            convert(checkpoint, place, to="native", source="tiny", replace=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]
    assert {file.name: sha256_file(file) for file in out.iterdir()} == before.files


def test_a_process_that_is_killed_while_it_writes_leaves_no_half_folder(
    checkpoint: Checkpoint, tiny_clip_quick: TinyClip, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    code = (
        "import pathlib, sys\nfrom clipworks.model import convert, weights\n"
        "convert.read_checkpoint = lambda *_, **options: (print('written', flush=True), sys.stdin.read())\n"
        f"source = weights.read_checkpoint(pathlib.Path({tiny_clip_quick.native!r}))\n"
        f"convert.convert(source, pathlib.Path({str(out)!r}), to='hf', source='tiny')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "written\n"
        process.kill()
    assert not out.exists()
    assert convert(checkpoint, out, to="hf", source="tiny").fingerprint == checkpoint.fingerprint


def test_a_result_that_reads_back_as_another_model_is_not_kept(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(folder: Path, config: Any, tensors: Any, **options: Any) -> str:
        return write_checkpoint(folder, config, {**tensors, "logit_scale": np.float32(1)}, **options)

    monkeypatch.setattr(conversion, "write_checkpoint", damaged)
    with pytest.raises(CheckpointError, match="reads back as another model"):
        convert(checkpoint, tmp_path / "out", to="hf", source="tiny")
    assert list(tmp_path.iterdir()) == []


def test_openais_form_is_refused_for_what_it_cannot_say(tmp_path: Path) -> None:
    config = tiny_config("gelu")
    vision = VisionConfig(image_size=32, patch_size=8, width=128, layers=2, heads=4, mlp_width=256)
    odd = replace(config, vision=vision, preprocess=PreprocessConfig(mean=(0.5, 0.5, 0.5)))
    weights = tiny_weights(odd)
    checkpoint = Checkpoint(
        config=odd, tensors=weights, fingerprint=fingerprint(odd, weights), family="hf", path=tmp_path
    )
    with pytest.raises(ConfigError) as caught:
        convert(checkpoint, tmp_path / "out", to="openai", source="tiny")
    assert "the image tower has 4 heads and an MLP of 256 at width 128" in caught.value.message
    assert "pixels of mean (0.5, 0.5, 0.5)" in caught.value.message
    for family in ("hf", "open_clip", "native"):
        assert convert(checkpoint, tmp_path / family, to=family, source="tiny").max_difference == 0  # type: ignore[arg-type]


def test_a_resized_model_is_converted(tiny_clip: TinyClip, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(tiny_clip.folders["hf"], image_size=64)
    done = convert(checkpoint, tmp_path / "out", to="open_clip", source="tiny")
    assert read_checkpoint(done.folder).config.vision.image_size == 64


def expected_features(tiny: TinyClip, library: str) -> dict[str, list[list[float]]]:
    golden = Path(__file__).parent.parent / "golden" / f"clip_{library}.json"
    values: dict[str, list[list[float]]] = json.loads(golden.read_text())[tiny.config.activation]
    return values


def leading(features: torch.Tensor) -> list[list[float]]:
    return torch.nn.functional.normalize(features, dim=-1)[:, :8].tolist()


@pytest.mark.filterwarnings("ignore")
def test_transformers_loads_what_is_written_for_it(any_tiny_clip: TinyClip, tmp_path: Path) -> None:
    transformers = transformers_of("the form hf is loaded with")
    source = read_checkpoint(any_tiny_clip.folders["open_clip"])
    folder = str(convert(source, tmp_path / "out", to="hf", source="tiny").folder)
    model, report = transformers.CLIPModel.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    with torch.inference_mode():
        features = model.eval().get_text_features(input_ids=torch.from_numpy(tiny_tokens())).pooler_output
    np.testing.assert_allclose(
        leading(features), expected_features(any_tiny_clip, "transformers")["texts"], atol=1e-5
    )
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder)
    texts = ["a photo of a cat", "It's 3 o'clock, café!", "two  dogs"]
    theirs = tokenizer(texts, padding="max_length", max_length=77)["input_ids"]
    for row, ids in zip(tokenize(texts), theirs, strict=True):
        end = row.tolist().index(49407) + 1
        assert ids[:end] == row[:end].tolist()


@pytest.mark.filterwarnings("ignore")
def test_open_clip_loads_what_is_written_for_it(any_tiny_clip: TinyClip, tmp_path: Path) -> None:
    open_clip = open_clip_of("the form open_clip is loaded with")
    source = read_checkpoint(any_tiny_clip.folders["hf"])
    folder = convert(source, tmp_path / "out", to="open_clip", source="tiny").folder
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    with torch.inference_mode():
        features = model.eval().encode_text(torch.from_numpy(tiny_tokens()))
    np.testing.assert_allclose(
        leading(features), expected_features(any_tiny_clip, "open_clip")["texts"], atol=1e-5
    )
    assert np.array_equal(tokenizer(["a photo of a cat"]).numpy(), tokenize(["a photo of a cat"]))


@pytest.mark.filterwarnings("ignore")
def test_open_clip_loads_openais_form(tiny_clip_quick: TinyClip, tmp_path: Path) -> None:
    open_clip = open_clip_of("OpenAI's form is loaded with")
    source = read_checkpoint(tiny_clip_quick.folders["hf"])
    folder = convert(source, tmp_path / "out", to="openai", source="tiny").folder
    state = torch.load(folder / "model.pt", weights_only=True)
    model = open_clip.model.build_model_from_openai_state_dict(state, cast_dtype=torch.float32).eval()
    with torch.inference_mode():
        features = model.float().encode_text(torch.from_numpy(tiny_tokens()))
    np.testing.assert_allclose(
        leading(features), expected_features(tiny_clip_quick, "open_clip")["texts"], atol=1e-2
    )
