"""A model with several providers, which are real servers: who answers, and who answers instead."""

import numpy as np
import pytest

from tests.serve.colours import ColourEngine, data_uri, picture, vectors_of
from tests.serve.upstreams import Upstream, gateway, hangs, provider, says, upstreams, wait_until

ITEMS = ["red", "a blue thing"]


def live(*names: str):  # type: ignore[no-untyped-def]
    return lambda states: all(states[name] == "live" for name in names)


def test_texts_and_pictures_come_from_an_upstream_as_if_they_had_been_made_here() -> None:
    east = Upstream()
    with upstreams(east), gateway(provider(east, "east")) as client:
        wait_until(client, live("east"))
        body = {"input": ["red", data_uri(picture("blue")), "green"]}
        answer = client.post("/v1/embeddings", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-provider"] == "east"
        got = np.array([row["embedding"] for row in answer.json()["data"]], dtype=np.float32)
        np.testing.assert_array_equal(got, vectors_of(ColourEngine(), "red", picture("blue"), "green"))
        assert answer.headers["x-model-fingerprint"] == ColourEngine().fingerprint


def test_the_next_provider_answers_where_the_first_fails() -> None:
    east, west = Upstream(), Upstream()
    with upstreams(east, west), gateway(provider(east, "east"), provider(west, "west")) as client:
        wait_until(client, live("east", "west"))
        east.fault = says(500)
        answer = client.post("/v1/embeddings", json={"input": ITEMS})
        assert (answer.status_code, answer.headers["x-provider"]) == (200, "west")
