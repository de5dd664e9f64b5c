"""From which score on a search counts as found, for collections of many kinds, of one kind, and of few."""

from typing import cast

import numpy as np
import pytest

from clipworks.model.engine import Engine
from clipworks.search.relevance import BACKGROUND_TEXTS, MIN_PICTURES, measure
from clipworks.search.store import Relevance, Vectors
from tests.search.libraries import clustered

DIM = 32


class Background:
    """An engine whose background texts are vectors in no particular direction."""

    precision, dim = "f32", DIM

    def __init__(self, name: str) -> None:
        self.fingerprint = name

    def embed_texts(self, texts: tuple[str, ...]) -> Vectors:
        return scattered(np.zeros(DIM, dtype=np.float32), len(texts), seed=7)


@pytest.fixture
def engine() -> Engine:
    return cast(Engine, Background("background of the tests"))


def scattered(centre: Vectors, count: int, seed: int = 0) -> Vectors:
    """float32 [count, DIM], unit rows around a centre."""
    rows = centre + np.random.default_rng(seed).standard_normal((count, DIM)) / np.sqrt(DIM)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def is_found(relevance: Relevance, text: Vectors, pictures: Vectors) -> bool:
    level = relevance.level("text", text)
    assert level is not None
    return bool((pictures @ text).max() >= level)


def test_few_background_texts_are_called_found(engine: Engine) -> None:
    background = engine.embed_texts(BACKGROUND_TEXTS)
    for pictures in (clustered(500, DIM), clustered(MIN_PICTURES - 1, DIM)):
        relevance = measure(engine, pictures)
        share = np.mean([is_found(relevance, text, pictures) for text in background])
        assert 0 < share <= 0.08  # 5 % by the margin, 3 % beside it


def test_a_text_that_is_near_to_every_picture_has_to_come_nearer(engine: Engine) -> None:
    pictures = scattered(np.eye(DIM, dtype=np.float32)[0] * 0.3, 500)
    relevance, mean = measure(engine, pictures), pictures.mean(axis=0)
    toward = mean / np.linalg.norm(mean)
    near, far = (relevance.level("text", vector) for vector in (toward, -toward))
    assert near is not None and far is not None and relevance.text_margin is not None
    assert near == relevance.text_threshold and far == pytest.approx(
        relevance.text_margin - np.linalg.norm(mean), abs=1e-4
    )
    assert relevance.level("image", toward) == relevance.image_threshold


@pytest.mark.parametrize("count", [1, 2, MIN_PICTURES, 500])
def test_the_name_of_all_pictures_of_a_collection_of_one_kind_is_found(engine: Engine, count: int) -> None:
    name = np.eye(DIM, dtype=np.float32)[0]
    pictures = scattered(name * 2, count)
    assert is_found(measure(engine, pictures), name, pictures)
    assert not is_found(measure(engine, pictures), -name, pictures)


def test_few_pictures_have_neither_a_margin_nor_a_threshold_for_pictures(engine: Engine) -> None:
    few = measure(engine, clustered(MIN_PICTURES - 1, DIM))
    assert few.image_threshold is few.text_margin is None and few.mean == ()
    many = measure(engine, clustered(MIN_PICTURES, DIM))
    assert many.image_threshold is not None and many.text_margin is not None and len(many.mean) == DIM


def test_an_index_without_a_margin_has_one_threshold_for_all_texts() -> None:
    old = Relevance(text_threshold=0.3)
    vector = np.ones(2, dtype=np.float32) / np.float32(np.sqrt(2))
    assert old.level("text", vector) == 0.3 and old.level("image", vector) is None
    assert Relevance().level("text", vector) is None


def test_the_background_texts_are_many_and_different() -> None:
    assert len(set(BACKGROUND_TEXTS)) == len(BACKGROUND_TEXTS) >= 100
