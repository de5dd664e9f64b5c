"""What commands say of their progress where no bar can be drawn, and of a folder that is finished."""

from pathlib import Path

import pytest

from clipworks.cli.output import Pace, progress_bar, stage_progress
from clipworks.files import write_manifest


def test_a_line_now_and_then_tells_how_far_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with progress_bar("Reading", "parts") as show:
        show(1, 2000)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(Pace, "FIRST_SECONDS", 0)
    monkeypatch.setattr(Pace, "SECONDS", 0)
    with progress_bar("Reading", "parts") as show:
        show(1, 2000)
        show(2, 2000, "hashes (step 3 of 9)")
    lines = ["Reading: 1 of 2,000 parts", "Reading: 2 of 2,000 hashes (step 3 of 9)"]
    assert capsys.readouterr().err.splitlines() == lines


def test_a_finished_folder_is_told_if_nothing_was_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with stage_progress("Reading", "parts", tmp_path):
        write_manifest(tmp_path, {})
    assert capsys.readouterr().err == ""
    with stage_progress("Reading", "parts", tmp_path):
        pass
    assert capsys.readouterr().err == f"{tmp_path} was finished before; nothing was left to do.\n"
