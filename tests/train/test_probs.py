"""Captions are drawn as often as a sample's `probs` say, from memory and in a stream."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from clipworks.errors import DataError
from clipworks.train.captions import Captions
from clipworks.train.loader import _draw_texts
from clipworks.train.probs import probs_of
from clipworks.train.sources import Source

PROBS = [{"text": "fox", "prob": 0.6}, {"text": "animal", "prob": 0.3}, {"text": "gone", "prob": 0.1}]


def test_a_text_that_curation_took_away_leaves_its_share_to_the_others() -> None:
    assert probs_of(["fox", "animal"], {"probs": PROBS}, "s") == [0.6, 0.3]
    assert probs_of(["animal", "new"], {"probs": PROBS}, "s") == [0.3, 0.0]


def test_where_nothing_is_said_of_any_text_the_setting_decides() -> None:
    assert probs_of(["fox"], {}, "s") is None
    assert probs_of(["new"], {"probs": PROBS}, "s") is None


@pytest.mark.parametrize("probs", [3, ["fox"], [{"text": "fox"}], [{"text": "fox", "prob": "much"}]])
def test_another_form_is_one_sentence(probs: object) -> None:
    with pytest.raises(DataError, match="Sample s has probs in a form that is not known"):
        probs_of(["fox"], {"probs": probs}, "s")


@pytest.mark.parametrize("prob", [-0.1, float("inf"), float("nan")])
def test_numbers_that_are_no_probability_are_refused(prob: float) -> None:
    with pytest.raises(DataError, match="below 0 or not finite"):
        probs_of(["fox"], {"probs": [{"text": "fox", "prob": prob}]}, "s")


def test_in_memory_captions_come_as_often_as_they_should() -> None:
    rng = np.random.default_rng(0)
    drawn = Counter(_draw_texts([(7, 8, 9)] * 6000, [(3.0, 0.0, 1.0)] * 6000, 1.0, rng))
    assert drawn[8] == 0 and abs(drawn[7] / 6000 - 0.75) < 0.02


def test_in_a_stream_captions_come_as_often_as_they_should() -> None:
    captions = Captions(Source(folder=Path(), shards=()), first_text_prob=0.0)
    details = json.dumps({"texts": ["fox", "animal"], "probs": PROBS}).encode()
    rng = np.random.default_rng(0)
    drawn = Counter(captions.choose(b"fox", details, rng) for _ in range(3000))
    assert abs(drawn["fox"] / 3000 - 2 / 3) < 0.03 and drawn["fox"] + drawn["animal"] == 3000
