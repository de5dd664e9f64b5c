"""The wheel holds everything that the package reads at run time."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_every_file_of_the_package_is_in_the_wheel(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "clipworks").rglob("*") if path.is_file()}
    wanted = {name for name in files if "__pycache__" not in name and not Path(name).name.startswith(".")}
    assert wanted - packed == set()
    for data in (
        "model/vocabulary/",
        "model/prompt_sets/",
        "model/builtin/pictogram/",
        "gallery/index/",
        "serve/migrations/versions/",
        "serve/templates/",
        "serve/static/",
        "docs/",
    ):
        assert any(name.startswith(f"clipworks/{data}") for name in packed), data
