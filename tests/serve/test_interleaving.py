"""Property: whatever is asked for together, each request gets exactly what it gets alone."""

import asyncio
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_clip import TinyClip

from clipworks.model.engine import Engine
from clipworks.model.loading import load
from clipworks.serve.fleet import fleet_of_engines
from clipworks.serve.inputs import Picture
from clipworks.serve.settings import ServeSettings
from tests.serve.colours import ColourEngine, picture

WORDS = (
    "red",
    "a green boat",
    "the fox and the mountain " * 3,
    "blue " * 40,
    "old",
    "snow in the long valley",
)
PICTURES = tuple(
    Picture(data=picture(colour, extension), param="x")
    for colour in ("red", "green", (9, 80, 160), (250, 250, 0), (17, 17, 99))
    for extension in ("PNG", "BMP")
)

REQUEST = st.tuples(
    st.sampled_from(["texts", "images", "head"]),
    st.lists(st.integers(0, 9), min_size=1, max_size=6),
    st.integers(0, 4),
)
"""What is asked for, which of the items, and after how many turns of the event loop."""


@pytest.fixture(scope="module")
def tiny_engine(tiny_clip: TinyClip) -> Engine:
    return load(tiny_clip.native, precision="f32")


async def ask(model: Any, kind: str, places: list[int]) -> Any:
    if kind == "images":
        return await model.embed_images([PICTURES[place] for place in places])
    texts = [WORDS[place % len(WORDS)] for place in places]
    if kind == "texts":
        return await model.embed_texts(texts)
    return await model.label_head(texts, ["a {}", "{}"])


async def together(engine: Any, requests: list[tuple[str, list[int], int]]) -> None:
    limits = ServeSettings(image_batch=3, text_batch=4, decode_threads=3)
    fleet = fleet_of_engines(limits, {"model": engine})
    async with asyncio.timeout(60), fleet.running():
        await fleet.loaded()
        model = fleet.models["model"]
        alone = [await ask(model, kind, places) for kind, places, _ in requests]

        async def later(kind: str, places: list[int], turns: int) -> Any:
            for _ in range(turns):
                await asyncio.sleep(0)
            return await ask(model, kind, places)

        answers = await asyncio.gather(*(later(*request) for request in requests))
        for one, other in zip(alone, answers, strict=True):
            np.testing.assert_array_equal(one, other)


@given(st.lists(REQUEST, min_size=2, max_size=12))
@settings(max_examples=10, deadline=None, derandomize=True)
def test_any_interleaving_gives_each_request_what_it_gets_alone(
    requests: list[tuple[str, list[int], int]],
) -> None:
    asyncio.run(together(ColourEngine(), requests))


@pytest.mark.slow
@given(requests=st.lists(REQUEST, min_size=2, max_size=12))
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_interleaving_gives_each_request_what_it_gets_alone_on_a_real_model(
    tiny_engine: Engine, requests: list[tuple[str, list[int], int]]
) -> None:
    asyncio.run(together(tiny_engine, requests))
