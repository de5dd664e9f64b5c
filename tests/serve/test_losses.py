"""Items that cannot be used are left out of a request that goes on, with few calls of the engine."""

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from clipworks.model.heads import Vectors
from clipworks.serve.losses import Losses, embed_usable
from clipworks.serve.problems import RequestError
from tests.serve.colours import ColourEngine, data_uri, picture, vectors_of

RED = picture("red")


def test_a_request_that_goes_on_is_one_call_of_each_tower(client: TestClient, engine: ColourEngine) -> None:
    torn = data_uri(RED[:40])
    items = [data_uri(RED), torn, "red", "blue", data_uri(picture("blue")), torn, "green", "gold"]
    body = {"model": "colours", "input": items, "on_error": "null"}
    rows = client.post("/v1/embeddings", json=body).json()["data"]
    assert engine.calls == [("images", 2), ("texts", 4)]
    assert [row["embedding"] is None for row in rows] == [
        False,
        True,
        False,
        False,
        False,
        True,
        False,
        False,
    ]
    assert [rows[i]["error"]["param"] for i in (1, 5)] == ["input[1]", "input[5]"]
    given = [row["embedding"] for row in rows if row["embedding"]]
    wanted = vectors_of(engine, RED, "red", "blue", picture("blue"), "green", "gold")
    np.testing.assert_array_equal(np.asarray(given, np.float32), wanted)


def test_a_request_of_nothing_but_torn_pictures_does_not_reach_the_engine(
    client: TestClient, engine: ColourEngine
) -> None:
    body = {"model": "colours", "input": [data_uri(RED[:40])] * 3, "on_error": "null"}
    assert client.post("/v1/embeddings", json=body).status_code == 200
    assert engine.calls == []


class Server:
    """Refuses what holds a bad number; it says which one, or not."""

    def __init__(self, *, names: bool) -> None:
        self.names = names
        self.calls: list[list[int]] = []

    async def __call__(self, items: Sequence[int], losses: Losses) -> Vectors:
        self.calls.append(list(items))
        bad = [item for item in items if item < 0]
        if bad:
            raise RequestError("bad", param=str(bad[0]) if self.names else None)
        return np.asarray([[item] for item in items], dtype=np.float32)


def ask(server: Any, items: list[int], losses: Losses) -> Vectors:
    return asyncio.run(embed_usable(server, items, str, 1, losses))


@given(numbers=st.sets(st.integers(-50, 50), min_size=1).map(list), names=st.booleans())
def test_exactly_what_is_refused_is_lost(numbers: list[int], names: bool) -> None:
    server, losses = Server(names=names), Losses()
    rows = ask(server, numbers, losses)
    assert sorted(losses) == [i for i, number in enumerate(numbers) if number < 0]
    assert rows[:, 0].tolist() == [max(number, 0) for number in numbers]
    most = 1 + len(losses) if names else 2 * len(numbers)
    assert len(server.calls) <= most


def test_what_is_lost_already_is_not_asked_for() -> None:
    server, losses = Server(names=True), Losses({1: RequestError("gone before")})
    assert ask(server, [1, -2, 3], losses)[:, 0].tolist() == [1, 0, 3]
    assert server.calls == [[1, 3]]


def test_what_the_server_itself_leaves_out_keeps_its_place() -> None:
    async def partial(items: Sequence[int], losses: Losses) -> Vectors:
        losses[1] = RequestError("the second of these")
        return np.ones((len(items), 1), dtype=np.float32)

    losses = Losses({0: RequestError("gone before")})
    ask(partial, [7, 8, 9], losses)
    assert sorted(losses) == [0, 2]


def test_an_error_that_is_nobodys_fault_is_raised() -> None:
    async def broken(items: Sequence[int], losses: Losses) -> Vectors:
        raise RuntimeError("down")

    with pytest.raises(RuntimeError):
        ask(broken, [1], {})
