"""Named training runs: functions that return a configuration."""

from collections.abc import Callable
from difflib import get_close_matches

from clipworks.errors import ConfigError
from clipworks.model.config import ClipConfig, TextConfig, VisionConfig
from clipworks.train.config import TrainConfig


def tiny() -> TrainConfig:
    """Seconds on one core: shows that every part works, learns next to nothing."""
    return TrainConfig(
        model=ClipConfig(
            vision=VisionConfig(image_size=32, patch_size=8, width=64, layers=2, heads=1, mlp_width=128),
            text=TextConfig(width=64, layers=2, heads=1, mlp_width=128),
            embed_dim=64,
            activation="gelu",
        ),
        steps=20,
        batch_size=32,
        warmup_steps=2,
        save_every_steps=10,
    )


def pictogram() -> TrainConfig:
    """The built-in model: 64-pixel drawings, an hour and a half on two cores."""
    return TrainConfig(
        model=ClipConfig(
            vision=VisionConfig(image_size=64, patch_size=8, width=256, layers=6, heads=4, mlp_width=1024),
            text=TextConfig(width=256, layers=4, heads=4, mlp_width=1024),
            embed_dim=256,
            activation="gelu",
        ),
        steps=4000,
        batch_size=256,
        matrix_learning_rate=2e-3,
        warmup_steps=100,
        patch_dropout=0.5,
        unmasked_steps=300,
        first_text_prob=0.7,
        zoom=0.2,
        shift=0.1,
        jitter=0.2,
        precision="bf16",
        save_every_steps=200,
    )


RECIPES: dict[str, Callable[[], TrainConfig]] = {"tiny": tiny, "pictogram": pictogram}
"""Every name that `--recipe` takes."""


def find(name: str) -> TrainConfig:
    """The configuration of a named recipe.

    Raises:
        ConfigError: there is no recipe of that name; the nearest names are given.
    """
    if name not in RECIPES:
        near = ", ".join(get_close_matches(name, RECIPES, n=3, cutoff=0.0))
        raise ConfigError(f"There is no training recipe {name!r}.", f"Nearest: {near}.")
    return RECIPES[name]()
