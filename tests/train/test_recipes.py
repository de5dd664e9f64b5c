"""Recipes have the published numbers."""

from pathlib import Path
from typing import Any

import pytest

from clipworks.train.recipes import RECIPES, find

B32, B16, L14 = (768, 12, 32, 512), (768, 12, 16, 512), (1024, 24, 14, 768)
PUBLISHED: dict[str, dict[str, Any]] = {
    "datacomp-small": {
        "shape": B32,
        "steps": 3125,
        "batch_size": 4096,
        "learning_rate": 5e-4,
        "warmup_steps": 500,
    },
    "datacomp-medium": {
        "shape": B32,
        "steps": 31_250,
        "batch_size": 4096,
        "learning_rate": 5e-4,
        "warmup_steps": 500,
    },
    "datacomp-large": {
        "shape": B16,
        "steps": 156_250,
        "batch_size": 8192,
        "learning_rate": 5e-4,
        "warmup_steps": 500,
    },
    "datacomp-xlarge": {
        **{
            "shape": L14,
            "steps": 142_046,
            "batch_size": 90_112,
            "learning_rate": 1e-3,
            "warmup_steps": 10_000,
        },
        **{"beta2": 0.95, "precision": "bf16"},
    },
    "metaclip-b16-400m": {
        **{"shape": B16, "steps": 390_625, "batch_size": 32_768, "learning_rate": 5e-4, "warmup_steps": 2000},
        **{"activation": "quick_gelu", "resampled": False},
    },
    "metaclip-b16-2.5b": {
        **{"shape": B16, "steps": 390_625, "batch_size": 32_768, "learning_rate": 5e-4, "warmup_steps": 2000},
        **{"activation": "quick_gelu", "resampled": False},
    },
    "laion2b-b32": {
        **{
            "shape": B32,
            "steps": 440_410,
            "batch_size": 78_848,
            "learning_rate": 1e-3,
            "warmup_steps": 10_000,
        },
        **{"precision": "bf16"},
    },
    "openai-b16": {
        **{"shape": B16, "steps": 390_625, "batch_size": 32_768, "learning_rate": 5e-4, "warmup_steps": 2000},
        **{"activation": "quick_gelu", "resampled": False},
    },
}
SHARED = {
    **{
        "weight_decay": 0.2,
        "beta1": 0.9,
        "beta2": 0.98,
        "epsilon": 1e-6,
        "clip_norm": None,
        "crop_least": 0.9,
    },
    **{
        "precision": "fp16",
        "schedule": "cosine",
        "largest_scale": 100.0,
        "reading": "stream",
        "resampled": True,
    },
    **{"activation": "gelu", "matrix_learning_rate": None, "patch_dropout": 0.0, "start": None},
    **{"loss": "softmax", "shared_captions": "negative"},
}
OWN = {"tiny", "pictogram", "finetune"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_recipe_has_the_published_numbers(name: str) -> None:
    config = find(name)
    vision = config.model.vision
    found: dict[str, Any] = {field: getattr(config, field, None) for field in {**SHARED, **PUBLISHED[name]}}
    found["shape"] = (vision.width, vision.layers, vision.patch_size, config.model.embed_dim)
    found["activation"] = config.model.activation
    assert found == {**SHARED, **PUBLISHED[name]}


def test_the_small_recipes_keep_their_numbers() -> None:
    tiny, pictogram, finetune = (find(name) for name in ("tiny", "pictogram", "finetune"))
    assert (tiny.steps, tiny.batch_size, tiny.learning_rate, tiny.warmup_steps) == (20, 32, 1e-3, 2)
    assert (pictogram.steps, pictogram.batch_size, pictogram.matrix_learning_rate) == (4000, 256, 2e-3)
    assert (finetune.start, finetune.steps, finetune.learning_rate) == ("pictogram", 500, 3e-5)
    assert finetune.model == pictogram.model and not finetune.resampled


def test_every_recipe_is_pinned_here_and_stands_on_the_page() -> None:
    assert set(RECIPES) == set(PUBLISHED) | OWN
    page = (Path(__file__).parents[2] / "docs" / "train.md").read_text(encoding="utf-8")
    assert [name for name in RECIPES if f"| `{name}` |" not in page] == []
