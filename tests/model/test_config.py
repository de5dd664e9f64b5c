import json
from dataclasses import replace
from typing import Any

import pytest
from tiny_clip import tiny_config

from clipworks.errors import ConfigError
from clipworks.model.config import OPENAI_MEAN, ClipConfig, PreprocessConfig, TextConfig, VisionConfig


def test_a_config_survives_the_way_through_json() -> None:
    config = tiny_config("quick_gelu")
    assert ClipConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_tokens_of_the_image_tower_are_its_patches_and_the_class_token() -> None:
    assert tiny_config("gelu").vision.grid == 4
    assert tiny_config("gelu").vision.tokens == 17


def test_context_vocabulary_and_pixels_have_the_published_defaults() -> None:
    values = tiny_config("gelu").to_json()
    del values["preprocess"], values["text"]["context_length"], values["text"]["vocab_size"]
    config = ClipConfig.from_json(values)
    assert (config.text.context_length, config.text.vocab_size) == (77, 49408)
    assert config.preprocess.mean == OPENAI_MEAN


@pytest.mark.parametrize(
    ("section", "field", "value", "said"),
    [
        ("vision", "width", 0, "vision.width is 0"),
        ("vision", "layers", 1.5, "vision.layers is 1.5"),
        (
            "vision",
            "image_size",
            33,
            "vision.image_size is 33; it must be a multiple of vision.patch_size (8)",
        ),
        ("text", "heads", 3, "text.width is 64; it must be a multiple of text.heads (3)"),
        ("text", "vocab_size", True, "text.vocab_size is True"),
        ("preprocess", "std", [1.0, 1.0], "preprocess.std is (1.0, 1.0); it must be three numbers"),
        ("preprocess", "std", [1.0, 0.0, 1.0], "every value must be above 0"),
        ("vision", "colour", 3, "config.vision has the unknown field 'colour'"),
    ],
)
def test_a_value_out_of_range_is_named(section: str, field: str, value: Any, said: str) -> None:
    values = tiny_config("gelu").to_json()
    values[section][field] = value
    with pytest.raises(ConfigError) as caught:
        ClipConfig.from_json(values)
    assert said in caught.value.message


def test_a_missing_field_is_named() -> None:
    values = tiny_config("gelu").to_json()
    del values["vision"]["layers"]
    with pytest.raises(ConfigError, match="config.vision lacks the field 'layers'"):
        ClipConfig.from_json(values)


def test_an_unknown_activation_is_refused() -> None:
    with pytest.raises(ConfigError, match="activation is 'relu'; it must be one of gelu, quick_gelu"):
        replace(tiny_config("gelu"), activation="relu")  # type: ignore[arg-type]


def test_embed_dim_is_at_least_one() -> None:
    with pytest.raises(ConfigError, match="embed_dim is 0"):
        replace(tiny_config("gelu"), embed_dim=0)


def test_towers_can_be_built_without_json() -> None:
    config = ClipConfig(
        vision=VisionConfig(image_size=64, patch_size=16, width=128, layers=1, heads=2, mlp_width=256),
        text=TextConfig(width=64, layers=1, heads=1, mlp_width=128),
        embed_dim=16,
        activation="gelu",
        preprocess=PreprocessConfig(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    )
    assert config.vision.tokens == 17
