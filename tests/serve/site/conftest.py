"""A server with accounts, and somebody who has just signed up there."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from clipworks.serve.database import Database
from tests.serve.cluster import new_sqlite
from tests.serve.paying import paid_server
from tests.serve.people import Person

Served = tuple[TestClient, Database]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with paid_server(new_sqlite(tmp_path)) as server:
        yield server


@pytest.fixture
def person(served: Served) -> Person:
    person = Person(served[0])
    assert person.sign_up().status_code == 303
    return person
