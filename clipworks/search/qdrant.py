"""A store in Qdrant: a server, a cluster, or the client's own local mode. The owner of its client.

A point is a slot with its vector and facts, so the server filters by itself. The revision stands in a
second collection and is written last.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException

from clipworks.errors import DataError
from clipworks.search.store import FACTS, NOWHERE, Change, Condition, Selection, Slots, Vectors

PREFIX = "qdrant:"

_AT_ONCE = 256
_FEW = 20_000
"""Selected pictures up to which every one of them is compared."""


class QdrantStore:
    """A `VectorStore` in a collection."""

    def __init__(self, address: str, name: str, dim: int) -> None:
        """Connect, and make the collections where there are none.

        Args:
            address: `http://HOST:6333`, a folder for the local mode, or `:memory:`.
            name: of the library, letters and digits; part of the collection's name.
            dim: length of a vector.

        Raises:
            DataError: the server cannot be reached, or vectors of another length are there.
        """
        self._name, self._state = f"clipworks_{name}", f"clipworks_{name}_state"
        self._is_served = address.startswith(("http://", "https://"))  # the local mode is always exact
        self._address = address
        with _errors_named(address):
            if self._is_served:
                self._client = QdrantClient(url=address, check_compatibility=False)
            elif address == ":memory:":
                self._client = QdrantClient(location=address)
            else:
                self._client = QdrantClient(path=address)
            self._make(self._name, dim, models.Distance.COSINE)
            self._make(self._state, 1, models.Distance.DOT)
            found: Any = self._client.get_collection(self._name).config.params.vectors
        if found.size != dim:
            raise DataError(f"The collection {self._name} has vectors of {found.size} numbers, not {dim}.")

    def revision(self) -> int:
        """As `VectorStore.revision`."""
        with _errors_named(self._address):
            found = self._client.retrieve(self._state, [0])
        return int((found[0].payload or {}).get("revision", 0)) if found else 0

    def apply(self, change: Change) -> None:
        """As `VectorStore.apply`; what is done twice is the same as once, and the revision comes last."""
        with _errors_named(self._address):
            if len(change.gone):
                self._client.delete(self._name, models.PointIdsList(points=change.gone.tolist()), wait=True)
            for start in range(0, len(change.slots), _AT_ONCE):
                end = min(start + _AT_ONCE, len(change.slots))
                points = models.Batch(
                    ids=change.slots[start:end].tolist(),
                    vectors=change.vectors[start:end].astype(np.float32).tolist(),
                    payloads=[_payload(facts) for facts in change.facts[start:end]],
                )
                self._client.upsert(self._name, points, wait=True)
            state = models.PointStruct(id=0, vector=[1.0], payload={"revision": change.revision})
            self._client.upsert(self._state, [state], wait=True)

    def nearest(self, queries: Vectors, limit: int, within: Selection | None = None) -> tuple[Slots, Vectors]:
        """As `VectorStore.nearest`."""
        is_few = within is not None and int(within.mask.sum()) <= _FEW
        slots = np.full((len(queries), limit), NOWHERE, dtype=np.int64)
        scores = np.full((len(queries), limit), -2.0, dtype=np.float32)
        for number, query in enumerate(queries):
            with _errors_named(self._address):
                found = self._client.query_points(
                    self._name,
                    query=query.tolist(),
                    limit=limit,
                    query_filter=None if within is None else _filter(within.conditions),
                    search_params=models.SearchParams(exact=True) if is_few and self._is_served else None,
                    with_payload=False,
                ).points
            slots[number, : len(found)] = [point.id for point in found]
            scores[number, : len(found)] = [point.score for point in found]
        return slots, scores

    def count(self) -> int:
        """As `VectorStore.count`."""
        with _errors_named(self._address):
            return int(self._client.count(self._name, exact=True).count)

    def close(self) -> None:
        """As `VectorStore.close`."""
        self._client.close()

    def _make(self, name: str, dim: int, distance: models.Distance) -> None:
        if not self._client.collection_exists(name):
            vectors = models.VectorParams(size=dim, distance=distance, datatype=models.Datatype.FLOAT16)
            self._client.create_collection(name, vectors_config=vectors)


@contextmanager
def _errors_named(address: str) -> Iterator[None]:
    try:
        yield
    except (ApiException, OSError, RuntimeError, ValueError) as error:
        said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"Qdrant ({address}): {said}.", "Look at the server and the address.") from error


def _payload(facts: tuple[Any, ...]) -> dict[str, Any]:
    values = dict(zip(FACTS, facts, strict=True))
    parts = values["folder"].split("/")
    values["folder"] = [*("/".join(parts[: end + 1]) for end in range(len(parts))), ""]
    values["tags"] = [tag.casefold() for tag in values["tags"]]
    return {name: value for name, value in values.items() if value is not None}


def _filter(conditions: tuple[Condition, ...]) -> models.Filter:
    must: list[Any] = []
    must_not: list[Any] = []
    for one in conditions:
        (must_not if one.is_negated else must).append(_condition(one))
    return models.Filter(must=must, must_not=must_not)


def _condition(one: Condition) -> Any:
    if one.slots is not None:
        return models.HasIdCondition(has_id=one.slots.tolist())
    if one.values is None:
        return models.FieldCondition(key=one.column, range=models.Range(gte=one.low, lt=one.high))
    values = [value.casefold() for value in one.values] if one.column == "tags" else list(one.values)
    return models.FieldCondition(key=one.column, match=models.MatchAny(any=values))
