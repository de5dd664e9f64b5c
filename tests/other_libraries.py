"""open_clip and transformers for the tests that load what we write with them; both may be absent."""

import importlib
import warnings
from typing import Any

import pytest


def open_clip_of(purpose: str) -> Any:
    """The package open_clip; skips the test that asks where it is not installed or cannot start.

    open_clip imports torchvision, which only starts beside the very PyTorch it was built for.
    """
    return _imported("open_clip", "open_clip_torch", purpose)


def transformers_of(purpose: str) -> Any:
    """The package transformers; skips the test that asks where it is not installed."""
    return _imported("transformers", "transformers", purpose)


def _imported(name: str, package: str, purpose: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"{purpose} {package}, which cannot be imported here: {error}")
