"""`clipworks convert` and `clipworks pull`: clean results, clean errors."""

import json
import shutil
from pathlib import Path

import pytest
from tiny_clip import FAMILIES, TinyClip

from clipworks.model.formats import Family
from clipworks.model.weights import fingerprint
from tests.cli.conftest import Run

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_is_written_in_every_form(
    run: Run, tiny_clip: TinyClip, tmp_path: Path, family: Family
) -> None:
    result = run("convert", tiny_clip.native, tmp_path / "out", "--to", family, "--json")
    values = json.loads(result.stdout)
    expected = fingerprint(tiny_clip.config, tiny_clip.weights)
    assert values["fingerprint"] == values["source_fingerprint"] == expected
    assert (values["to"], values["dtype"], values["max_difference"]) == (family, "f32", 0)
    assert values["files"].keys() == {file.name for file in (tmp_path / "out").iterdir()}


def test_words_say_what_was_done(run: Run, tiny_clip: TinyClip, tmp_path: Path) -> None:
    out = tmp_path / "out"
    same = run("convert", tiny_clip.native, out, "--to", "open_clip").stdout
    assert same.startswith(f"{out}: 3 files, the same model, bit for bit.\nfingerprint ")
    half = run("convert", tiny_clip.native, out, "--to", "hf", "--dtype", "f16", "--force").stdout
    assert half.startswith(f"{out}: 7 files, weights differ by at most ")
    assert "`native`" in (out / "README.md").read_text()


def test_the_card_of_a_model_of_the_catalogue_has_its_licence(run: Run, tmp_path: Path) -> None:
    run("convert", "pictogram", tmp_path / "out", "--to", "native", "--image-size", "32")
    assert "license: apache-2.0" in (tmp_path / "out" / "README.md").read_text()


def test_an_activation_that_nobody_states_is_asked_for(
    run: Run, tiny_clip_quick: TinyClip, tmp_path: Path
) -> None:
    source = tiny_clip_quick.folders["openai"]
    error = run("convert", source, tmp_path / "out", "--to", "hf", status=1).stderr
    assert error.count("\n") == 1 and "--activation" in error
    run("convert", source, tmp_path / "out", "--to", "hf", "--activation", "quick_gelu")
    assert (
        json.loads((tmp_path / "out" / "config.json").read_text())["vision_config"]["hidden_act"]
        == "quick_gelu"
    )


def test_what_is_there_is_not_written_over(run: Run, tiny_clip: TinyClip, tmp_path: Path) -> None:
    run("convert", tiny_clip.native, tmp_path / "out", "--to", "hf")
    error = run("convert", tiny_clip.native, tmp_path / "out", "--to", "hf", status=1).stderr
    assert error.count("\n") == 1 and "is not empty. Write elsewhere, or pass --force" in error


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["nowhere", "out", "--to", "hf"], 1, "There is no model named 'nowhere'"),
        (["pictogram", "out", "--to", "onnx"], 2, "'onnx' is not one of"),
        (["pictogram", "out"], 2, "Missing option '--to'"),
        (["pictogram", "out", "--to", "hf", "--image-size", "33"], 1, "must be a multiple of 8"),
        (["pictogram", "/dev/null/out", "--to", "hf"], 1, "/dev/null/out cannot be written: "),
    ],
)
def test_a_wrong_call_is_one_sentence(run: Run, arguments: list[str], status: int, said: str) -> None:
    result = run("convert", *arguments, status=status)
    assert said in result.stderr and result.stdout == ""


def test_a_damaged_source_leaves_nothing(run: Run, tiny_clip: TinyClip, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_clip.folders["hf"], tmp_path / "source")
    (folder / "model.safetensors").write_bytes(b"words")
    error = run("convert", folder, tmp_path / "out", "--to", "hf", status=1).stderr
    assert error.count("\n") == 1 and "model.safetensors is neither" in error
    assert not (tmp_path / "out").exists()


def test_pull_says_where_a_model_is(run: Run, tiny_clip_quick: TinyClip) -> None:
    values = json.loads(run("pull", tiny_clip_quick.folders["hf"], "--json").stdout)
    assert values["path"] == str(tiny_clip_quick.folders["hf"] / "model.safetensors")
    assert (values["form"], values["activation"], values["image_size"], values["dim"]) == (
        "hf",
        "quick_gelu",
        32,
        32,
    )
    shown = run("pull", tiny_clip_quick.native).stdout
    assert f"fingerprint  {values['fingerprint']}" in shown


def test_pull_of_an_unknown_name_is_one_sentence(run: Run) -> None:
    assert run("pull", "pictogramm", status=1).stderr.startswith(
        "Error: There is no model named 'pictogramm'"
    )
