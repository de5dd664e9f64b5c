"""`clipworks models`: the catalogue for people and programs."""

import json
from pathlib import Path

import pytest
from tiny_clip import TinyClip

from clipworks.model import catalogue
from tests.cli.conftest import Run

NAMES = [row.short_names[0] for row in catalogue.rows()]


def test_the_table_names_every_model(run: Run) -> None:
    output = run("models").stdout
    assert all(row.id in output for row in catalogue.rows())
    assert all(row.short_names[0] in output for row in catalogue.rows()[1:])
    assert "72.12%" in output and "not allowed" in output


def test_json_gives_one_object_a_line(run: Run) -> None:
    rows = [json.loads(line) for line in run("models", "--json").stdout.splitlines()]
    assert [row["id"] for row in rows] == [row.id for row in catalogue.rows()]
    assert rows[1]["dim"] == 512 and rows[1]["activation"] == "quick_gelu"


@pytest.mark.parametrize("name", NAMES)
def test_a_page_fits_in_80_columns_and_says_what_one_looks_for(run: Run, name: str) -> None:
    page = run("models", "show", name).stdout
    assert max(len(line) for line in page.splitlines()) <= 80
    assert catalogue.find(name).id in page
    for heading in ("Architecture", "Training", "Licence", "Scores", "Use", "Limits", "Traps", "Files"):
        assert heading in page
    for label in ("parameters", "GFLOP / image", "resolution", "embedding", "activation", "commercial use"):
        assert label in page


def test_a_page_shows_every_task_and_where_the_numbers_are_from(run: Run) -> None:
    page = run("models", "show", "datacomp-b32").stdout
    assert "FMoW                   worst    0.00" in page
    assert "FMoW 0.0000 is real" in page
    assert "ImageNet 1k                    69.17" in page
    assert "Flickr                       text retrieval          79.00  93.90  96.20" in page
    assert "open_clip/docs/openclip_results.csv" in page
    assert "sha256         of the files is not known" in page


def test_json_of_one_model_is_one_object(run: Run) -> None:
    found = json.loads(run("models", "show", "openai-b16", "--json").stdout)
    assert found["gflops"]["image"] == 35.13
    assert found["original"]["sha256"].startswith("5806e77c")
    assert {"task": "FMoW", "metric": "worst region", "value": 0.1888}.items() <= {
        score["task"]: score for score in found["scores"]
    }["FMoW"].items()


def test_a_local_checkpoint_has_a_page(run: Run, tiny_clip: TinyClip) -> None:
    page = run("models", "show", tiny_clip.native).stdout
    assert "Local checkpoint" in page and "form           native" in page
    assert "activation     gelu" in page
    page = run("models", "show", tiny_clip.folders["openai"]).stdout
    assert "activation     not stated: load(..., activation=...)" in page
    assert "fingerprint    known once the weights are read" in page


def test_a_file_of_which_nothing_is_known_has_a_short_page(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    file.write_bytes(b"never opened")
    page = run("models", "show", file).stdout
    assert "weights        model.pt, 0.0 MB" in page and "form           known once" in page


def test_a_config_alone_has_a_page(run: Run, tmp_path: Path, tiny_clip: TinyClip) -> None:
    (tmp_path / "config.json").write_bytes((tiny_clip.folders["hf"] / "config.json").read_bytes())
    assert "weights        none here" in run("models", "show", tmp_path).stdout


def test_two_models_side_by_side(run: Run) -> None:
    output = run("models", "compare", "openai-b16", "metaclip-b16").stdout
    assert max(len(line) for line in output.splitlines()) <= 80
    assert "ImageNet 1k                                  68.34        *72.12   +3.78" in output
    assert "SVHN                                        *51.90         39.09  -12.81" in output
    assert "38                       mean                56.26        *60.41   +4.15" in output
    assert "Ahead in the 38 tasks: openai-b16 8, metaclip-b16 30." in output
    assert output.index("Stanford Cars") < output.index("ImageNet 1k") < output.index("SVHN")
    shared = output[output.index("The same in all") :]
    assert "149.62 M" in shared and "not allowed" not in shared


@pytest.mark.parametrize("count", [3, 5])
def test_more_models_fit_side_by_side(run: Run, count: int) -> None:
    output = run("models", "compare", *NAMES[-count:]).stdout
    assert max(len(line) for line in output.splitlines()) <= 80
    assert "spread" in output and "+" not in output.split("spread")[1].split("\n")[1]


def test_a_comparison_as_json(run: Run) -> None:
    found = json.loads(run("models", "compare", "openai-b16", "metaclip-b16", "--json").stdout)
    assert [model["id"] for model in found["models"]] == [
        "openai/clip-vit-base-patch16",
        "facebook/metaclip-b16-fullcc2.5b",
    ]
    assert found["wins"] == [8, 30]
    (imagenet,) = (line for line in found["scores"] if line["task"] == "ImageNet 1k")
    assert (imagenet["values"], imagenet["difference"]) == ([0.6834, 0.7212], 0.0378)
    assert imagenet["best"] == ["facebook/metaclip-b16-fullcc2.5b"]


def test_models_without_a_common_score_are_still_compared(run: Run, tiny_clip: TinyClip) -> None:
    output = run("models", "compare", "pictogram", "openai-b16", tiny_clip.native).stdout
    assert "These models have no published score in common." in output
    heading, *_ = output.splitlines()
    assert heading.split() == ["pictogram", "openai-b16", "native"]
    assert "20.76 M             149.62 M            3.70 M" in output


def test_one_model_is_not_a_comparison(run: Run) -> None:
    assert "Give two or more." in run("models", "compare", "pictogram", status=1).stderr
    assert "Missing argument" in run("models", "compare", status=2).stderr


@pytest.mark.parametrize("arguments", [["show", "pictogramm"], ["compare", "pictogram", "openai-b61"]])
def test_an_unknown_model_lists_the_nearest(run: Run, arguments: list[str]) -> None:
    error = run("models", *arguments, status=1).stderr
    assert arguments[-1] in error and "Nearest: " in error and error.count("\n") == 1


@pytest.mark.parametrize("command", ["show", "compare"])
def test_each_command_has_an_example_in_its_help(run: Run, command: str) -> None:
    assert f"Example:\n    clipworks models {command}" in run("models", command, "--help").stdout
