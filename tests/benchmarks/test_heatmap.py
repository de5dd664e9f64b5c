"""Heat maps of the built-in model point at the half of a picture that a caption is about."""

import json

import pytest

import clipworks
from benchmarks.heatmap import GALLERY, choose_pairs, measure


@pytest.mark.slow
def test_maps_of_unseen_emoji_point_at_the_right_half_more_often_than_chance() -> None:
    lines = (GALLERY / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    emoji = [row for row in map(json.loads, lines) if row["kind"] == "emoji"]
    found = measure(clipworks.load("pictogram", precision="f32"), choose_pairs(emoji, 60))
    assert found["n"] == 120
    low, high = found["patch_values"]["interval"]
    assert 0.5 < low < found["patch_values"]["share"] < high
    assert found["patch_values"]["share"] > found["last_layer"]["share"]
    assert found["pictures_apart"]["share"] > 0.95
