"""Names that other people's code relies on. A change here is a change for them: say so in the changelog."""

import inspect
from pathlib import Path

import clipworks
from clipworks.model.engine import Engine

ROOT = Path(__file__).parent.parent


def parameters(function: object) -> list[str]:
    assert callable(function)
    return [name for name in inspect.signature(function).parameters if name != "self"]


def test_the_package_offers_load_engine_and_every_error() -> None:
    assert sorted(clipworks.__all__) == [
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


def test_every_error_is_a_clipworks_error() -> None:
    errors = [getattr(clipworks, name) for name in clipworks.__all__ if name.endswith("Error")]
    assert all(issubclass(error, clipworks.ClipworksError) for error in errors)


def test_load_takes_the_documented_arguments() -> None:
    expected = ["name", "precision", "device", "preprocess", "config", "activation", "image_size"]
    assert parameters(clipworks.load) == expected


def test_the_engine_has_the_documented_methods() -> None:
    assert parameters(Engine.embed_images) == ["images", "batch_size"]
    assert parameters(Engine.embed_texts) == ["texts", "batch_size"]
    assert parameters(Engine.classify) == ["images", "labels", "templates"]
    assert parameters(Engine.similarity) == ["images", "texts"]


def test_a_type_checker_is_told_that_the_package_has_types() -> None:
    assert (ROOT / "clipworks" / "py.typed").exists()
