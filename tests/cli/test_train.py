"""`clipworks train`: settings are checked and shown before anything runs."""

import json
from pathlib import Path

from tests.cli.conftest import Run


def test_a_dry_run_prints_the_resolved_configuration(run: Run, tmp_path: Path) -> None:
    arguments = ("train", "--recipe", "tiny", "--data", tmp_path, "--out", tmp_path / "run")
    values = json.loads(run(*arguments, "--set", "steps=7", "--set", "seed=3", "--dry-run").stdout)
    assert (values["steps"], values["seed"]) == (7, 3)
    assert not (tmp_path / "run").exists()


def test_wrong_settings_are_one_sentence(run: Run, tmp_path: Path) -> None:
    arguments = ("train", "--data", tmp_path, "--out", tmp_path / "run", "--dry-run", "--recipe")
    assert "no training recipe" in run(*arguments, "tinny", status=1).stderr
    assert "no such setting" in run(*arguments, "tiny", "--set", "step=7", status=1).stderr
    assert "whole number" in run(*arguments, "tiny", "--set", "steps=x", status=1).stderr
