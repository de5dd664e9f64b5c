"""Fixtures of the evaluation's tests: the tiny CLIP as an engine in f32, loaded once."""

import pytest
from tiny_clip import TinyClip

from clipworks.model.engine import Engine
from clipworks.model.loading import load


@pytest.fixture(scope="session")
def engine(tiny_clip: TinyClip) -> Engine:
    return load(tiny_clip.native, precision="f32", preprocess="reference")


@pytest.fixture(scope="session")
def other_engine(tiny_clip_quick: TinyClip) -> Engine:
    return load(tiny_clip_quick.native, precision="f32", preprocess="reference")
