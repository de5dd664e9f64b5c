"""Fixtures for all tests: the tiny CLIP on disk in every family's form."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from tiny_clip import TinyClip, tiny_config, tiny_weights, write_tiny

from clipworks.model.config import Activation

settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")


def _make(factory: pytest.TempPathFactory, activation: Activation) -> TinyClip:
    config = tiny_config(activation)
    folders = write_tiny(factory.mktemp(f"tiny_{activation}"), activation)
    return TinyClip(config=config, weights=tiny_weights(config), folders=folders)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What tests measure once is kept for the session, and nothing outside of it is touched."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPWORKS_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> TinyClip:
    """The tiny CLIP with exact GELU; do not write into its folders."""
    return _make(tmp_path_factory, "gelu")


@pytest.fixture(scope="session")
def tiny_clip_quick(tmp_path_factory: pytest.TempPathFactory) -> TinyClip:
    """The tiny CLIP with quick GELU; do not write into its folders."""
    return _make(tmp_path_factory, "quick_gelu")


@pytest.fixture(scope="session", params=["gelu", "quick_gelu"])
def any_tiny_clip(
    request: pytest.FixtureRequest, tiny_clip: TinyClip, tiny_clip_quick: TinyClip
) -> Iterator[TinyClip]:
    """Each of the two tiny CLIPs in turn."""
    yield tiny_clip if request.param == "gelu" else tiny_clip_quick
