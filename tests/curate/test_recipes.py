"""The recipes: thresholds as published, and settings that are refused."""

import pytest

from clipworks.curate.baselines import BASELINES
from clipworks.curate.recipes import RECIPES, CurateConfig, find, rows_filter, texts_filter
from clipworks.errors import ConfigError


def test_each_recipe_has_the_published_rule() -> None:
    assert {name: (make().keep, make().texts) for name, make in RECIPES.items()} == {
        "metaclip": ("everything", "chars >= 1 and english"),
        "datacomp-basic": (
            "english and words > 2 and chars > 5 and min_side >= 200 and aspect <= 3.0",
            "",
        ),
        "datacomp-clip-score": ("top(l14, 0.3)", ""),
        "datacomp-1b": ("top(l14, 0.3) and tokens > 1 and chars > 5 and english and near_target", ""),
        "laion": (
            "chars >= 5 and bytes >= 5000 and pixels <= 89478484 and "
            "(english and b32 >= 0.28 or not english and b32 >= 0.26)",
            "",
        ),
        "small": ("min_side >= 32 and aspect <= 5.0", "chars >= 5"),
    }
    assert find("metaclip").t == 20_000 and find("metaclip").balanced
    assert find("datacomp-1b").keep == BASELINES["image_based_intersect_clip_score"]


def test_lists_that_are_given_are_obeyed_by_every_recipe() -> None:
    config = CurateConfig(
        keep="b32 >= 0.3 or l14 >= 0.3",
        texts="chars > 1",
        blocklists="lists",
        evaluation="e.npy",
        safety_head="s",
        watermark_head="w",
        toxic_words="words.txt",
    )
    assert rows_filter(config).keep == (
        "(b32 >= 0.3 or l14 >= 0.3) and not blocked and not contaminated and punsafe <= 0.5 "
        "and pwatermark <= 0.8"
    )
    assert texts_filter(config).keep == "chars > 1 and not toxic"
    assert rows_filter(CurateConfig(toxic_words="words.txt")).keep == "everything and not toxic"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("phash_distance", 16, "must be -1 to 15"),
        ("evaluation_distance", -1, "must be 0 to 15"),
        ("cosine", 1.5, "must be 0 to 1"),
        ("tail_share", -0.1, "must be 0 to 1"),
        ("t", 0, "must be 1 or more"),
        ("seed", -1, "must be 0 or more"),
        ("samples_per_shard", 0, "must be 1 or more"),
        ("mode", "loud", "must be one of metaclip"),
        ("pick", "two", "must be one of each, one"),
        ("keep", " ", "keep is empty"),
    ],
)
def test_a_setting_out_of_range_is_named(field: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CurateConfig(**{field: value})  # type: ignore[arg-type]


def test_an_unknown_recipe_is_told_the_nearest_names() -> None:
    with pytest.raises(ConfigError, match="no curation recipe 'datacomp'") as caught:
        find("datacomp")
    assert "datacomp-1b" in caught.value.remedy
