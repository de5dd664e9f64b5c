import datetime
from pathlib import Path

import pytest

from clipworks.errors import ConfigError
from clipworks.serve.roster import ModelSpec, check_names, read_models

GOOD = """
[models.pictogram]
aliases = ["default", "small"]

[models."team/large"]
source = "/models/large"
preload = false
memory_bytes = 1000

[models.old]
status = "deprecated"
shutdown_date = 2030-01-31

[models.next]
status = "coming_soon"
"""


def test_a_file_of_models_is_read(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(GOOD)
    first, large, old, coming = read_models(tmp_path / "models.toml")
    assert (first.id, first.aliases, first.preload) == ("pictogram", ("default", "small"), True)
    assert (large.source, large.preload, large.memory_bytes) == ("/models/large", False, 1000)
    assert old.shutdown_date == datetime.date(2030, 1, 31) and coming.status == "coming_soon"
    assert not old.is_over(datetime.date(2030, 1, 30)) and old.is_over(datetime.date(2030, 1, 31))
    check_names([first, large, old, coming])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must hold tables"),
        ("models = 3", "must hold tables"),
        ("[models]\n[other]", "must hold tables"),
        ("[models.a", "cannot be read"),
        ("[models]\na = 3", "models.a is no table"),
        ("[models.a]\nsauce = 'x'", "Nearest: source"),
        ("[models.a]\nstatus = 'dead'", "live, coming_soon, deprecated"),
        ("[models.a]\npreload = 'yes'", "preload is 'yes'; it must be of the type bool"),
        ("[models.a]\nmemory_bytes = true", "memory_bytes is True"),
        ("[models.a]\nmemory_bytes = -1", "must not be below 0"),
        ("[models.a]\nshutdown_date = 2030-01-01", "not deprecated"),
        ("[models.a]\nstatus = 'deprecated'\nshutdown_date = 2030-01-01T00:00:00", "of the type date"),
        ("[models.a]\naliases = [3]", "list of names"),
        ("[models.'']\n", "no id"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_the_place(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "models.toml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_models(tmp_path / "models.toml")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_models(tmp_path / "none.toml")


def test_a_name_stands_for_one_model_only() -> None:
    with pytest.raises(ConfigError, match="'x' is served already"):
        check_names([ModelSpec(id="x"), ModelSpec(id="y", aliases=("x",))])
