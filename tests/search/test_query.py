"""Search by words and by picture, and honesty about answers that do not fit."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from clipworks.errors import ConfigError, DataError, InputError
from clipworks.model.engine import Engine
from clipworks.search.answer import search_vector
from clipworks.search.build import build_index
from clipworks.search.library import Library
from clipworks.search.opening import open_index
from clipworks.search.query import search
from tests.serve.colours import ColourEngine, picture


@pytest.fixture
def store(pictures: Path, engine: Engine, tmp_path: Path) -> Library:
    for shade in range(150, 250):
        (pictures / f"shade {shade}.png").write_bytes(picture((shade, 10, 10)))
    build_index(pictures, tmp_path / "index", engine)
    return open_index(tmp_path / "index")


def test_words_find_the_picture_they_name(store: Library, engine: Engine) -> None:
    result = search(store, engine, text="a blue square", limit=3)
    assert result.hits[0].id == "deep/blue.png"
    assert len(result.hits) == 3
    assert result.is_relevant


def test_words_for_nothing_in_the_index_are_said_to_have_no_good_match(
    store: Library, engine: Engine
) -> None:
    result = search(store, engine, text="a treatise on contract law")
    assert not result.is_relevant
    assert result.hits
    assert result.threshold is not None and result.hits[0].score < result.threshold


def test_a_picture_finds_itself(store: Library, engine: Engine, pictures: Path) -> None:
    for image in (pictures / "green.png", (pictures / "green.png").read_bytes()):
        result = search(store, engine, image=image, limit=1)
        assert result.hits[0].id == "green.png"
        assert result.hits[0].score == pytest.approx(1.0, abs=1e-3)
        assert result.is_relevant


def test_a_picture_unlike_all_others_is_said_to_have_no_good_match(store: Library, engine: Engine) -> None:
    assert not search(store, engine, image=picture((255, 255, 0))).is_relevant


def test_good_hits_are_those_that_reach_the_threshold_of_their_kind(store: Library, engine: Engine) -> None:
    vector = engine.embed_texts(["a blue square"])[0]
    for kind in ("text", "image"):
        threshold = store.relevance.level(cast(Any, kind), vector)
        result = search_vector(store, vector, cast(Any, kind), 3)
        assert threshold is not None and result.threshold == threshold
        assert result.good == tuple(hit for hit in result.hits if hit.score >= threshold)
        assert result.good[0].id == "deep/blue.png" and len(result.good) < len(result.hits)
    found = search(store, engine, text="a blue square", limit=3)
    again = search_vector(store, vector, "text", 3)
    assert [(hit.id, hit.score) for hit in found.hits] == [(hit.id, hit.score) for hit in again.hits]


def test_json_has_paths_scores_and_captions(store: Library, engine: Engine) -> None:
    values = search(store, engine, text="red").to_json()
    assert {"is_relevant", "threshold", "hits"} == values.keys()
    assert {"path", "score", "caption", "licence", "author", "source", "id"} <= values["hits"][0].keys()


def test_another_checkpoint_is_refused(store: Library) -> None:
    with pytest.raises(DataError, match="was made by the checkpoint"):
        search(store, cast(Engine, ColourEngine("other")), text="red")


def test_one_of_text_and_image_is_needed(store: Library, engine: Engine) -> None:
    for arguments in ({}, {"text": "red", "image": b"x"}):
        with pytest.raises(ConfigError, match="either a text or a picture"):
            search(store, engine, **cast(Any, arguments))


def test_wrong_queries_are_named(store: Library, engine: Engine) -> None:
    with pytest.raises(InputError, match="empty"):
        search(store, engine, text="  ")
    with pytest.raises(InputError):
        search(store, engine, image=b"no picture")
    with pytest.raises(ConfigError, match=r"shape \(5,\); the index needs \(8,\)"):
        search_vector(store, np.ones(5, dtype=np.float32), "text", 10)
    for limit in (0, 10_001):
        with pytest.raises(ConfigError, match=f"limit is {limit}"):
            search(store, engine, text="red", limit=limit)


def test_a_query_picture_is_named_by_its_file(store: Library, engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "words.jpg").write_text("no picture")
    with pytest.raises(InputError, match=r"words\.jpg"):
        search(store, engine, image=tmp_path / "words.jpg")
