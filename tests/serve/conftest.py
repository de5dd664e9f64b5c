"""Fixtures of the server's tests: the engine of colours, a gallery of four pictures, a client."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from clipworks.search.library import Library
from clipworks.serve.app import create_app
from clipworks.serve.database import Database, open_database
from clipworks.serve.settings import ServeSettings
from tests.serve.cluster import new_database, new_sqlite, reason_against, running_cluster, with_tables
from tests.serve.colours import ADDRESS, ColourEngine, write_gallery


@pytest.fixture
def engine() -> ColourEngine:
    return ColourEngine()


@pytest.fixture(scope="session")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """Four one-coloured pictures; the caption of one tries to be markup. For all tests: leave it as it is."""
    folder = tmp_path_factory.mktemp("gallery")
    (folder / "secret.txt").write_text("not for you")
    return write_gallery(folder, ColourEngine())


@pytest.fixture(scope="session")
def settings() -> ServeSettings:
    return ServeSettings(max_body_bytes=1 << 20, max_image_bytes=200_000, max_images=8, max_texts=100)


@pytest.fixture
def client(settings: ServeSettings, engine: ColourEngine, gallery: Library) -> Iterator[TestClient]:
    app = create_app(settings, {"colours": engine, "team/other": ColourEngine("other")}, gallery)  # type: ignore[dict-item]
    with TestClient(app, base_url=ADDRESS) as client:
        yield client


@pytest.fixture(scope="module")
def shared_client(settings: ServeSettings, gallery: Library) -> Iterator[TestClient]:
    """As `client`, for all tests of a module whose answers depend on nothing that came before."""
    engines: Any = {"colours": ColourEngine(), "team/other": ColourEngine("other")}
    with TestClient(create_app(settings, engines, gallery), base_url=ADDRESS) as client:
        yield client


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL that runs while the tests do."""
    reason = reason_against()
    if reason and os.environ.get("CI") == "true":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    with running_cluster() as address:
        yield address


@pytest.fixture(scope="session")
def postgres_tables(postgres: str) -> str:
    return with_tables(postgres)


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new database of each kind in turn, with its tables and nothing in them."""
    if request.param == "sqlite":
        return new_sqlite(tmp_path)
    place: str = request.getfixturevalue("postgres")
    return new_database(place, like=request.getfixturevalue("postgres_tables"))


@pytest.fixture
def database(address: str) -> Iterator[Database]:
    """The same, open and with its tables."""
    opened = open_database(address)
    yield opened
    opened.close()
