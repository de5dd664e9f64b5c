"""Training configurations and their settings."""

from dataclasses import replace
from typing import Any

import pytest

from clipworks.errors import ConfigError
from clipworks.options import with_settings
from clipworks.train.probe import ProbeConfig
from clipworks.train.recipes import find, tiny


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0),
        ("batch_size", 1),
        ("patch_dropout", 1),
        ("learning_rate", 0.0),
        ("matrix_learning_rate", 0.0),
        ("beta1", 1),
        ("zoom", -0.1),
    ],
)
def test_a_value_out_of_range_is_named(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{field} is {value}"):
        replace(tiny(), **{field: value})


def test_an_unknown_precision_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="f32, bf16"):
        replace(tiny(), precision="f8")  # type: ignore[arg-type]


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="pictogram"):
        find("pictogramm")


def test_settings_are_read_by_the_type_of_their_field() -> None:
    config = with_settings(tiny(), ["steps=7", "learning_rate=2e-4", "recolour=false", "precision=bf16"])
    assert (config.steps, config.learning_rate, config.recolour, config.precision) == (7, 2e-4, False, "bf16")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("steps", "has no '='"),
        ("step=3", "steps"),
        ("lr=1", "learning_rate"),
        ("steps=many", "must be a whole number"),
        ("recolour=perhaps", "must be true or false"),
        ("model=large", "no such setting"),
        ("steps=-1", "steps is -1"),
    ],
)
def test_a_wrong_setting_gives_one_sentence(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        with_settings(tiny(), [setting])


@pytest.mark.parametrize("name", ["templates"])
def test_what_holds_several_values_is_no_setting(name: str) -> None:
    with pytest.raises(ConfigError, match=f"--set {name}: there is no such setting"):
        with_settings(ProbeConfig(), [f"{name}=1,2"])
