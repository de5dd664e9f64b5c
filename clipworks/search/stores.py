"""Which store finds candidates in a library: chosen by a name or an address, filled from the library.

A store can be thrown away and made anew at any time; the library's vectors are never touched by it.
"""

import uuid
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from clipworks.errors import ConfigError, DataError, MissingExtraError
from clipworks.search import schema
from clipworks.search.library import Library
from clipworks.search.opening import find_index, open_index
from clipworks.search.signs import SignStore
from clipworks.search.store import VectorStore
from clipworks.search.writer import open_writer

EXACT = "exact"
SIGNS = "signs"
IVF = "ivf"
_POSTGRES = ("postgresql://", "postgres://")
_QDRANT = "qdrant:"


def move(folder: Path, chosen: str) -> int:
    """Let a library be searched with another store from now on: fill it, then say so in the library.

    Args:
        folder: the index, or a folder of pictures whose index lies in it.
        chosen: `exact`, `signs`, `ivf`, `postgresql://...`, or `qdrant:` before an address or a folder.

    Returns:
        Pictures in the store.

    Raises:
        ConfigError: there is no such store.
        DataError: there is no index, it is one of plain files, or the store cannot be written.
        MissingExtraError: what the store needs is not installed.
    """
    place = find_index(folder)
    if not (place / schema.NAME).is_file():
        raise DataError(
            f"The index {place} is one of plain files.", "Make a library of it: `clipworks index`."
        )
    with open_writer(place) as writer:
        if "name" not in writer.settings():
            writer.put({"name": uuid.uuid4().hex[:12]})
        library = open_index(place)
        store = _opened(library, chosen)
        count = library.count()
        if store is not None:
            follow(library, store)
            count = store.count()
            store.close()
        writer.put({"store": chosen})
    return count


def use_chosen_store(library: Library) -> None:
    """Let a library find candidates with the store that was chosen for it.

    Raises:
        ConfigError: there is no such store.
        DataError: the store cannot be reached.
        MissingExtraError: what it needs is not installed.
    """
    chosen = library.settings().get("store", EXACT)
    store = _opened(library, chosen)
    if store is not None:
        if chosen == SIGNS:  # lives in memory only
            follow(library, store)
        library.use(store)


def update_chosen_store(folder: Path) -> None:
    """Tell the chosen store what has changed.

    Raises:
        ConfigError: there is no such store.
        DataError: the store cannot be reached.
        MissingExtraError: what it needs is not installed.
    """
    library = open_index(folder)
    chosen = library.settings().get("store", EXACT)
    if chosen not in (EXACT, SIGNS):
        store = _opened(library, chosen)
        assert store is not None
        follow(library, store)
        store.close()
    library.close()


def follow(library: Library, store: VectorStore) -> None:
    """Bring a store to the state of a library."""
    revision = store.revision()
    if revision != library.revision():
        store.apply(library.change_since(revision if revision < library.revision() else 0))


def _opened(library: Library, chosen: str) -> VectorStore | None:
    """The store of a name; None where the library searches by itself."""
    store: VectorStore | None = None
    if chosen == SIGNS:
        store = SignStore(library.dim, library.matrix)
    elif chosen == IVF:
        store = _module("ivf", "faiss", "ann").IvfStore(library.folder, library.dim, library.matrix)
    elif chosen.startswith(_POSTGRES):
        store = _module("pgvectors", "psycopg", "postgres").PostgresStore(chosen, _name(library), library.dim)
    elif chosen.startswith(_QDRANT):
        address = chosen.removeprefix(_QDRANT)
        store = _module("qdrant", "qdrant_client", "qdrant").QdrantStore(address, _name(library), library.dim)
    elif chosen != EXACT:
        raise ConfigError(
            f"There is no store {chosen!r}.",
            f"Choose {EXACT}, {SIGNS}, {IVF}, postgresql://... or {_QDRANT}ADDRESS.",
        )
    return store


def _module(name: str, package: str, extra: str) -> Any:
    if find_spec(package) is None:
        raise MissingExtraError(package, extra)
    return import_module(f"clipworks.search.{name}")


def _name(library: Library) -> str:
    return str(library.settings()["name"])
