import pytest

from clipworks.errors import ConfigError
from clipworks.model.catalogue import find, rows


def test_the_built_in_model_comes_first_and_five_published_ones_follow() -> None:
    assert rows()[0].id == "pictogram"
    assert [row.source for row in rows()] == ["builtin"] + ["hub"] * 5


def test_ids_and_short_names_are_found_in_any_case() -> None:
    for row in rows():
        for name in (row.id, *row.short_names):
            assert find(name) == find(name.upper()) == row


def test_no_two_rows_share_a_name() -> None:
    names = [name.lower() for row in rows() for name in (row.id, *row.short_names)]
    assert len(names) == len(set(names))


def test_an_unknown_name_lists_the_three_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        find("pictogran")
    assert caught.value.message == "There is no model named 'pictogran'."
    assert caught.value.remedy.startswith("Nearest: pictogram, ")
    assert caught.value.remedy.count(",") == 2


def test_quick_gelu_is_that_of_openai_and_metaclip_alone() -> None:
    quick = {row.id for row in rows() if row.config is not None and row.config.activation == "quick_gelu"}
    assert quick == {"facebook/metaclip-b16-fullcc2.5b", "openai/clip-vit-base-patch16"}


def test_published_models_have_open_clips_name_and_the_built_in_one_has_none() -> None:
    assert [(row.architecture, row.tag) for row in rows()[1:]] == [
        ("ViT-B-16-quickgelu", "metaclip_fullcc"),
        ("ViT-B-32", "datacomp_xl_s13b_b90k"),
        ("ViT-L-14", "datacomp_xl_s13b_b90k"),
        ("ViT-B-16-quickgelu", "openai"),
        ("ViT-B-32", "laion2b_s34b_b79k"),
    ]
    assert rows()[0].tag is None


def test_shapes_are_those_of_the_architecture() -> None:
    config = find("datacomp-l14").config
    assert config is not None
    assert (config.vision.layers, config.vision.heads, config.vision.tokens) == (24, 16, 257)
    assert (config.text.width, config.text.heads, config.embed_dim) == (768, 12, 768)
