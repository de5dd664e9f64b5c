import numpy as np
import pytest
from tiny_clip import tiny_config

from clipworks.model.catalogue import find
from clipworks.model.config import ClipConfig
from clipworks.model.costs import operation_count, parameter_count
from clipworks.model.formats import native_shapes


def config_of(name: str) -> ClipConfig:
    config = find(name).config
    assert config is not None
    return config


# The published numbers: open_clip's model_profile.csv, and openclip_results.csv for the total and the pair.
@pytest.mark.parametrize(
    ("name", "image", "text", "total", "image_gflop", "text_gflop", "pair_gflop"),
    [
        ("laion2b-b32", 87_849_216, 63_428_096, 151_277_313, 8.82, 5.96, 14.78),
        ("datacomp-b32", 87_849_216, 63_428_096, 151_277_313, 8.82, 5.96, 14.78),
        ("openai-b16", 86_192_640, 63_428_096, 149_620_737, 35.13, 5.96, 41.09),
        ("metaclip-b16", 86_192_640, 63_428_096, 149_620_737, 35.13, 5.96, 41.09),
        ("datacomp-l14", 303_966_208, 123_650_304, 427_616_513, 162.03, 13.30, 175.33),
    ],
)
def test_counts_are_the_published_ones(
    name: str,
    image: int,
    text: int,
    total: int,
    image_gflop: float,
    text_gflop: float,
    pair_gflop: float,
) -> None:
    parameters = parameter_count(config_of(name))
    assert (parameters.image, parameters.text, parameters.total) == (image, text, total)
    operations = operation_count(config_of(name))
    found = [round(count / 1e9, 2) for count in (operations.image, operations.text, operations.pair)]
    assert found == [image_gflop, text_gflop, pair_gflop]


@pytest.mark.parametrize("name", ["tiny", "openai-b16", "datacomp-l14"])
def test_parameters_are_those_of_the_tensors(name: str) -> None:
    config = tiny_config("gelu") if name == "tiny" else config_of(name)
    sizes = {tensor: int(np.prod(shape)) for tensor, shape in native_shapes(config).items()}
    counted = parameter_count(config)
    for tower, count in (("vision.", counted.image), ("text.", counted.text)):
        assert sum(size for tensor, size in sizes.items() if tensor.startswith(tower)) == count
    assert sum(sizes.values()) == counted.total


def test_a_short_text_costs_less_and_the_picture_the_same() -> None:
    whole = operation_count(config_of("openai-b16"))
    short = operation_count(config_of("openai-b16"), text_tokens=16)
    assert short.image == whole.image
    assert short.text / whole.text == pytest.approx(0.20, abs=0.01)


def test_a_last_block_that_is_read_at_one_row_saves_what_is_not_read() -> None:
    """By hand, ViT-B/32: of the last block's 50 tokens only keys and values, the rest of one."""
    config = config_of("laion2b-b32")
    whole, pooled = operation_count(config), operation_count(config, is_last_pooled=True)
    assert whole.image - pooled.image == 2 * 49 * (2 * 768**2 + 2 * 768 * 3072 + 2 * 50 * 768)
    assert 0.06 < 1 - pooled.image / whole.image < 0.075
    assert 0.06 < 1 - pooled.text / whole.text < 0.075
