"""What every command shares: help, exit codes, one sentence per error, variables, a quick start."""

import resource
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from clipworks import __version__
from clipworks.cli import COMMANDS, main
from tests.cli.conftest import Run
from tests.conftest import TinyClip


def command_of(name: str) -> click.Command:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    return command


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_an_example_in_its_help(name: str, run: Run) -> None:
    assert f"Example:\n    clipworks {name}" in run(name, "--help").stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_has_more_than_twelve_options(name: str) -> None:
    assert len(command_of(name).params) <= 12


def test_the_version_is_printed(run: Run) -> None:
    assert run("--version").stdout == f"clipworks, version {__version__}\n"


def test_an_unknown_command_and_a_missing_argument_are_wrong_usage(run: Run) -> None:
    assert "No such command" in run("clasify", status=2).stderr
    assert "Missing argument" in run("classify", status=2).stderr


def test_our_errors_are_one_sentence_on_stderr_and_status_1(run: Run) -> None:
    result = run("search", "/nowhere", "a dog", status=1)
    assert result.stdout == ""
    assert result.stderr == "Error: /nowhere does not exist. Check the path.\n"


def test_an_unknown_model_lists_the_nearest(run: Run, folder: Path) -> None:
    result = run("classify", folder / "a.png", "--labels", "a,b", "--model", "pictogramm", status=1)
    assert "pictogramm" in result.stderr and "pictogram," in result.stderr + ","
    assert result.stderr.count("\n") == 1


def test_an_interruption_is_status_130(
    monkeypatch: pytest.MonkeyPatch, folder: Path, tiny_clip: TinyClip
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("clipworks.model.loading.load", interrupt)
    result = CliRunner().invoke(main, ["classify", str(folder), "--labels", "a"])
    assert (result.exit_code, result.stderr) == (130, "Interrupted.\n")


def test_sigterm_that_a_run_has_saved_after_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise SystemExit(143)

    monkeypatch.setattr("clipworks.train.recipes.find", stop)
    result = CliRunner().invoke(main, ["train", "--recipe", "tiny", "--data", "d", "--out", "o"])
    assert (result.exit_code, result.stderr) == (143, "Stopped by SIGTERM.\n")


def test_options_can_be_given_as_variables(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPWORKS_LABELS", "a,b")
    monkeypatch.setenv("CLIPWORKS_TEMPLATE", "a drawing of {}\na photo of a {}")
    monkeypatch.setenv("CLIPWORKS_JSON", "1")
    assert run("classify", folder / "a.png").stdout.startswith('{"path"')


def start(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "clipworks", *arguments], capture_output=True, text=True)


def test_the_module_is_the_command(tmp_path: Path) -> None:
    done = start("classify", str(tmp_path / "none.png"), "--labels", "a")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Skipped: {tmp_path / 'none.png'} does not exist. Check the path.\n"


@pytest.mark.slow
def test_results_go_to_stdout_and_notes_to_stderr_in_a_real_process(
    folder: Path, tiny_clip: TinyClip
) -> None:
    done = start("classify", str(folder), "--labels", "a,b", "--json", "--model", tiny_clip.native)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 3


def test_help_takes_at_most_400_ms_of_processor_time() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert start("--help").returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime <= 0.4
