"""Fixtures for all tests: the tiny CLIP on disk in every family's form, and a cache of their own."""

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
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
def cache(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Path]:
    """What tests measure once is kept for the session, and nothing outside of it is touched.

    The processes of one session share it (`pytest -n 2`). Machine code, which numba makes in ten seconds, is
    kept in .pytest_cache from one session to the next: its folder is named by what it is made of.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    folder.mkdir(exist_ok=True)
    kept = pytestconfig.cache.mkdir("machine_code") if getattr(pytestconfig, "cache", None) else folder
    for one in kept.glob("numba-*"):
        with suppress(FileExistsError):
            (folder / one.name).symlink_to(one)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPWORKS_CACHE", str(folder))
        yield folder
    for one in folder.glob("numba-*"):
        if not (kept / one.name).exists():
            _copy_whole(one, kept / one.name)


def _copy_whole(folder: Path, to: Path) -> None:
    """Copy a folder so that it appears with all that is in it, unless another process was first."""
    unfinished = to.with_name(f".{os.getpid()}")
    shutil.copytree(folder, unfinished)
    try:
        unfinished.rename(to)
    except OSError:
        shutil.rmtree(unfinished)


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
