"""`clipworks curate DIR --recipe NAME`: beside the single steps, its plan, its mistakes."""

import json
from dataclasses import fields
from pathlib import Path
from shutil import copytree

import pytest
from fetched import make_fetched

from clipworks.cli.curate_recipe import recipe as command
from clipworks.curate.costs import RATES
from clipworks.curate.recipes import RECIPES, CurateConfig
from clipworks.curate.run import STEPS
from tests.cli.conftest import Run

SETTINGS = ("--set", "unique=", "--set", "phash_distance=-1")
"""What small leaves out here: the steps that need Daft and look at pictures."""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_fetched(tmp_path_factory.mktemp("images"), shards=1)


def test_a_folder_is_curated_beside_the_commands_of_the_steps(run: Run, images: Path, tmp_path: Path) -> None:
    words = ("curate", images, "--recipe", "small", "--out", tmp_path / "out", *SETTINGS)
    result = run(*words)
    assert "min_side >= 32.0" in result.stdout and "seen" in result.stdout
    assert f"8 of 12 rows in {tmp_path / 'out'}" in result.stderr
    told = json.loads(run(*words, "--json").stdout)
    assert told["pictures"] == 8
    assert {"step", "rule", "unit", "seen", "kept"} == set(told["rules"][0])
    assert json.loads(run("curate", "recipe", *words[1:], "--json").stdout) == told


def test_the_help_shows_both_ways_with_an_example(run: Run) -> None:
    text = run("curate", "--help").stdout
    assert "curate DIR --recipe NAME --out DIR" in text and "curate COMMAND" in text
    assert "clipworks curate images --recipe small --out curated" in text
    assert "clipworks curate balance" in text
    assert "--ray" in run("curate", "recipe", "--help").stdout
    assert "--ray" in run("curate", "images", "--help").stdout


def test_a_dry_run_prints_the_plan_and_writes_nothing(run: Run, images: Path, tmp_path: Path) -> None:
    words = ("curate", images, "--recipe", "small", "--out", tmp_path / "out", "--dry-run")
    text = run(*words).stdout
    assert "one row of each uid" in text and "rows by the filter: min_side >= 32.0 and aspect <= 5.0" in text
    plan = json.loads(run(*words, "--json").stdout)
    kinds = [step["kind"] for step in plan["steps"]]
    assert kinds == ["uid", "filter", "scores", "same", "near", "captions", "rows", "list", "pack"]
    assert plan["rows"] == 12 and all(step["rate_of"] for step in plan["steps"])
    assert not (tmp_path / "out").exists()


def test_every_kind_of_step_has_a_measured_rate() -> None:
    assert set(RATES) >= set(STEPS)
    assert all(rate.rows_per_second > 0 and rate.source for rate in RATES.values())


def test_every_recipe_is_named_in_the_help() -> None:
    option = next(one for one in command.params if one.name == "recipe")
    assert [name for name in RECIPES if name not in option.help] == []  # type: ignore[attr-defined]


def test_every_recipe_and_setting_stands_on_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "curate.md").read_text(encoding="utf-8")
    names = [*RECIPES, *(field.name for field in fields(CurateConfig))]
    assert [name for name in names if f"`{name}" not in page] == []


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--recipe", "smal"], 1, "no curation recipe 'smal'. Nearest: small"),
        (["--recipe", "small", "--set", "kep=x"], 1, "no such setting. Nearest: keep"),
        (["--recipe", "small", "--set", "keep=min_sid > 3"], 1, "no rule 'min_sid'"),
        (["--recipe", "small", "--set", "t=0"], 1, "t is 0; it must be 1 or more"),
        (["--recipe", "small", "--set", "phash_distance=16"], 1, "it must be -1 to 15"),
        (["--recipe", "small", "--set", "texts=top(chars, 0.1)"], 1, "Put top(...) into keep"),
        (["--recipe", "small", "--set", "mode=loud"], 1, "must be one of metaclip"),
        (["--recipe", "datacomp-clip-score"], 1, "lacks l14 scores or features. Let a model compute them"),
        (["--recipe", "datacomp-1b"], 1, "needs the setting centroids"),
        (["--recipe", "metaclip"], 1, "--set metadata="),
        (["--recipe", "small", "--set", "columns=nowhere"], 1, "holds no parquet table"),
        (["--recipe", "small", "--workers", "0"], 2, "--workers"),
        ([], 2, "Missing option '--recipe'"),
    ],
)
def test_mistakes_are_sentences(
    run: Run, images: Path, tmp_path: Path, words: list[str], status: int, message: str
) -> None:
    result = run("curate", images, "--out", tmp_path / "out", *words, status=status)
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_run_that_keeps_nothing_names_the_rule_that_dropped_the_last_rows(
    run: Run, images: Path, tmp_path: Path
) -> None:
    settings = ("--set", "unique=", "--set", "phash_distance=-1", "--set", "keep=min_side > 9999")
    result = run("curate", images, "--recipe", "small", "--out", tmp_path / "out", *settings)
    assert "Nothing is left: 'min_side > 9999.0' (step 1) kept 0 of" in result.stderr


def test_rows_whose_tar_is_gone_are_told(run: Run, tmp_path: Path) -> None:
    folder = make_fetched(tmp_path / "images", shards=2)
    min(folder.glob("*.tar")).unlink()
    settings = ("--set", "unique=", "--set", "phash_distance=-1")
    result = run("curate", folder, "--recipe", "small", "--out", tmp_path / "out", *settings)
    line = next(line for line in result.stdout.splitlines() if "pictures found in the tars" in line)
    assert 0 < int(line.split()[-1]) < int(line.split()[-2])


def test_a_damaged_tar_is_told(run: Run, images: Path, tmp_path: Path) -> None:
    folder = copytree(images, tmp_path / "images")
    tar = min(folder.glob("*.tar"))
    tar.write_bytes(tar.read_bytes()[: tar.stat().st_size // 2])
    settings = ("--set", "unique=sha256", "--set", "phash_distance=-1")
    result = run("curate", folder, "--recipe", "small", "--out", tmp_path / "out", *settings, "--json")
    assert json.loads(result.stdout)["damaged_tars"] == 1
    assert "1 damaged tar, of which the rest is left out" in result.stderr


def test_a_word_that_is_neither_a_step_nor_a_folder_is_said(run: Run, tmp_path: Path) -> None:
    result = run("curate", "blance", "--recipe", "small", "--out", tmp_path / "out", status=1)
    assert "blance is not a folder of tables: it does not exist." in result.stderr
    assert "metadata, texts, hashes, match, balance" in result.stderr
