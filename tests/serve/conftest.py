"""Fixtures of the server's tests: the engine of colours, a gallery of four pictures, a client."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from clipworks.search.embedded import EmbeddedStore, IndexHeader, open_index, stamp_of, write_index
from clipworks.search.store import Item, Relevance
from clipworks.serve.app import create_app
from clipworks.serve.database import Database, open_database
from clipworks.serve.settings import ServeSettings
from tests.serve.cluster import new_database, reason_against, running_cluster
from tests.serve.colours import ADDRESS, COLOURS, ColourEngine, picture


@pytest.fixture
def engine() -> ColourEngine:
    return ColourEngine()


@pytest.fixture
def gallery(tmp_path: Path, engine: ColourEngine) -> EmbeddedStore:
    """Four one-coloured pictures; the caption of one tries to be markup."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    (tmp_path / "secret.txt").write_text("not for you")
    entries = []
    for name in COLOURS:
        path = folder / f"{name} one.png"
        path.write_bytes(picture(name))
        caption = "<script>alert(1)</script>" if name == "black" else f"a {name} square"
        source = "javascript:alert(1)" if name == "black" else "https://example.org/?a=1&b=2"
        item = Item(
            id=path.name, path=str(path), caption=caption, licence="CC0-1.0", author="A & B", source=source
        )
        entries.append((item, stamp_of(path)))
    pixels = np.stack([engine.prepare_image(Path(item.path)) for item, _ in entries])
    header = IndexHeader(
        model=engine.name,
        fingerprint=engine.fingerprint,
        precision="f32",
        preprocess="standard",
        dim=engine.dim,
        root="../pictures",
        relevance=Relevance(text_threshold=0.5, image_threshold=0.5),
    )
    write_index(tmp_path / "index", header, entries, engine.embed_pixels(pixels))
    engine.calls.clear()
    return open_index(tmp_path / "index")


@pytest.fixture
def settings() -> ServeSettings:
    return ServeSettings(max_body_bytes=1 << 20, max_image_bytes=200_000, max_images=8, max_texts=100)


@pytest.fixture
def client(settings: ServeSettings, engine: ColourEngine, gallery: EmbeddedStore) -> Iterator[TestClient]:
    app = create_app(settings, {"colours": engine, "team/other": ColourEngine("other")}, gallery)  # type: ignore[dict-item]
    with TestClient(app, base_url=ADDRESS) as client:
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


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/accounts.db"
    place: str = request.getfixturevalue("postgres")
    return new_database(place)


@pytest.fixture
def database(address: str) -> Iterator[Database]:
    """The same, open and with its tables."""
    opened = open_database(address)
    yield opened
    opened.close()
