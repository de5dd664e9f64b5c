"""Fixtures of the command line's tests: a runner with the tiny CLIP, and a folder of pictures."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pictures import encoded, picture

from clipworks.cli import main
from clipworks.model.loading import load
from tests.conftest import TinyClip

Run = Callable[..., Result]


load_once = cache(load)


@pytest.fixture
def run(tiny_clip: TinyClip, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `clipworks ...` in this process; the model is the tiny CLIP unless --model says otherwise.

    Models are loaded once for all tests, to save time.
    """
    monkeypatch.setenv("CLIPWORKS_MODEL", tiny_clip.native)
    monkeypatch.setattr("clipworks.model.loading.load", load_once)

    def run(*arguments: str | Path, status: int = 0) -> Result:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exit_code == status, result.output
        assert "Traceback" not in result.output
        return result

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three different pictures, one of them in a folder below, with captions."""
    place = tmp_path / "pictures"
    (place / "deep").mkdir(parents=True)
    (place / "a.png").write_bytes(encoded(picture("RGB", 40, 30), "PNG"))
    (place / "b.jpg").write_bytes(encoded(picture("RGB", 64, 64).rotate(90), "JPEG"))
    (place / "deep" / "c.webp").write_bytes(encoded(picture("RGBA", 33, 50), "WEBP"))
    (place / "captions.jsonl").write_text(
        '{"file": "a.png", "caption": "stripes"}\n{"file": "b.jpg", "caption": "dots"}\n'
    )
    return place
