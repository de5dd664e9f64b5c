"""Open CLIP models: load them, embed pictures and texts, classify, search and serve.

>>> engine = clipworks.load("pictogram")
>>> engine.classify(["cat.jpg"], ["a cat", "a dog"])

What needs numpy, OpenVINO or Pillow is imported when it is first used.
"""

from typing import TYPE_CHECKING, Any

from clipworks.errors import (
    BusyError,
    CheckpointError,
    ClipworksError,
    ConfigError,
    DataError,
    InputError,
    MissingExtraError,
    NetError,
)

if TYPE_CHECKING:
    from clipworks.model.engine import Engine
    from clipworks.model.loading import load

__version__ = "0.1.0"

__all__ = [
    "BusyError",
    "CheckpointError",
    "ClipworksError",
    "ConfigError",
    "DataError",
    "Engine",
    "InputError",
    "MissingExtraError",
    "NetError",
    "__version__",
    "load",
]


def __getattr__(name: str) -> Any:
    if name == "Engine":
        from clipworks.model.engine import Engine

        return Engine
    if name == "load":
        from clipworks.model.loading import load

        return load
    raise AttributeError(f"module 'clipworks' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
