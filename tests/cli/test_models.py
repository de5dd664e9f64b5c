"""`clipworks models`: the catalogue for people and programs."""

import json

from clipworks.model import catalogue
from tests.cli.conftest import Run


def test_the_table_names_every_model(run: Run) -> None:
    output = run("models").stdout
    assert all(row.id in output for row in catalogue.rows())


def test_json_gives_one_object_a_line(run: Run) -> None:
    rows = [json.loads(line) for line in run("models", "--json").stdout.splitlines()]
    assert [row["id"] for row in rows] == [row.id for row in catalogue.rows()]
    assert rows[1]["dim"] == 512 and rows[1]["activation"] == "quick_gelu"


def test_one_model_is_shown_by_its_short_name(run: Run) -> None:
    row = catalogue.rows()[1]
    assert row.id in run("models", "show", row.short_names[0]).stdout
    assert json.loads(run("models", "show", row.short_names[0], "--json").stdout)["scores"] == dict(
        row.scores
    )


def test_an_unknown_model_lists_the_nearest(run: Run) -> None:
    assert "pictogram" in run("models", "show", "pictogramm", status=1).stderr
