"""Faults of the disk while a library is written."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from clipworks.errors import DataError
from clipworks.search.opening import open_index
from clipworks.search.writer import open_writer
from tests.search.libraries import clustered, write_library


class Full:
    """A connection whose log cannot be brought into the database, since the disk is full."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        if "checkpoint" in sql:
            raise sqlite3.OperationalError("database or disk is full")
        return self._connection.execute(sql, *values)


def test_a_disk_that_is_full_in_the_end_is_said_and_the_index_opens(tmp_path: Path) -> None:
    header = write_library(tmp_path / "index", clustered(5, 8)).header
    with open_writer(tmp_path / "index") as writer:
        writer._connection = Full(writer._connection)  # type: ignore[assignment]
        with pytest.raises(DataError, match="cannot be written: database or disk is full"):
            writer.end(header)
    assert open_index(tmp_path / "index").count() == 5
