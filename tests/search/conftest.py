"""Fixtures of the search tests: the engine of colours and a folder of coloured pictures."""

from pathlib import Path
from typing import cast

import pytest

from clipworks.model.engine import Engine
from tests.serve.colours import COLOURS, ColourEngine, picture


@pytest.fixture
def engine() -> Engine:
    return cast(Engine, ColourEngine())


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """One picture per colour, one of them in a folder below."""
    folder = tmp_path / "pictures"
    (folder / "deep").mkdir(parents=True)
    for name in COLOURS:
        place = folder / "deep" if name == "blue" else folder
        (place / f"{name}.png").write_bytes(picture(name))
    return folder
