"""Plans: the order of their steps, and what they miss before anything is done."""

from pathlib import Path
from shutil import copytree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from curate_pools import make_pool
from fetched import make_fetched

from clipworks.curate.plan import Step, find_input, make_plan
from clipworks.curate.recipes import CurateConfig, find
from clipworks.errors import ConfigError, DataError
from clipworks.options import with_settings
from tests.curate.pools import write_metadata


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_fetched(tmp_path_factory.mktemp("images"), shards=2, rows=8)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pool(tmp_path_factory.mktemp("pool"), tables=2, rows=20)


def plan(folder: Path, recipe: str, *settings: str) -> tuple[Step, ...]:
    return make_plan(find_input(folder), with_settings(find(recipe), settings))


def kinds(steps: tuple[Step, ...]) -> list[str]:
    return [step.kind for step in steps]


def test_what_needs_a_model_waits_for_what_the_other_rules_leave(images: Path) -> None:
    steps = plan(images, "laion", "model=pictogram", "keep=chars > 5 and b32 >= 0.28 and words > 2")
    assert kinds(steps) == ["uid", "filter", "scores", "filter", "same", "rows", "list", "pack"]
    assert [step.what for step in steps if step.kind == "filter"] == [
        "chars > 5.0",
        "b32 >= 0.28 and words > 2.0",
    ]


def test_the_best_of_the_whole_pool_are_found_before_other_rules(images: Path) -> None:
    steps = plan(images, "datacomp-clip-score", "model=pictogram", "keep=words > 2 and top(l14, 0.3)")
    assert kinds(steps) == ["uid", "scores", "filter", "rows", "list", "pack"]


def test_scores_that_are_there_are_not_computed_and_metadata_alone_is_not_packed(pool: Path) -> None:
    assert kinds(plan(pool, "datacomp-clip-score")) == ["uid", "filter", "rows"]


def test_balancing_comes_last(images: Path, tmp_path: Path) -> None:
    metadata = write_metadata(tmp_path / "list.json")
    steps = plan(images, "metaclip", f"metadata={metadata}", "phash_distance=3", "cosine=0")
    ends = ["captions", "match", "balance", "rows", "list", "pack"]
    assert kinds(steps) == ["uid", "scores", "same", "near", *ends]


def test_evaluation_pictures_are_looked_for_by_what_their_file_holds(
    pool: Path, images: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "hashes.npy", np.arange(5, dtype=np.uint64))
    np.save(tmp_path / "features.npy", np.ones((3, 16), np.float32))
    steps = plan(images, "small", f"evaluation={tmp_path / 'hashes.npy'}")
    assert kinds(steps)[:5] == ["uid", "filter", "scores", "contamination", "filter"]
    steps = plan(pool, "datacomp-basic", f"evaluation={tmp_path / 'features.npy'}")
    assert kinds(steps) == ["uid", "filter", "contamination", "filter", "rows"]


def test_columns_that_will_be_joined_may_be_asked_for(images: Path, tmp_path: Path) -> None:
    columns = {"uid": ["0" * 32], "clip_l14_similarity_score": [0.3], "beauty": [1.0]}
    pq.write_table(pa.table(columns), tmp_path / "scores.parquet")
    settings = (f"columns={tmp_path}", "keep=top(l14, 0.3) and beauty > 0")
    assert kinds(plan(images, "datacomp-clip-score", *settings))[:3] == ["uid", "columns", "filter"]


@pytest.mark.parametrize(
    ("recipe", "settings", "message"),
    [
        ("datacomp-clip-score", [], "lacks l14 scores or features"),
        ("laion", ["model=pictogram", "keep=b32 > 0 and l14 > 0"], "of both b32 and l14"),
        ("small", ["keep=face"], "has no column 'face_bboxes', which the filter 'face' asks for"),
        ("small", ["unique=uid,colour"], "has no column 'colour', which unique=uid,colour asks for"),
        ("small", ["cosine=0.9"], "lacks l14 scores or features"),
        ("metaclip", [], "balanced by a list of entries, and none is given"),
        ("small", ["blocklists=nowhere"], "names nowhere, which does not exist"),
        ("small", ["evaluation=nowhere"], "evaluation names nowhere"),
        ("small", ["metadata=nowhere"], "nowhere"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_done(
    images: Path, recipe: str, settings: list[str], message: str
) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        plan(images, recipe, *settings)


def test_scores_need_tars_beside_the_tables(pool: Path) -> None:
    with pytest.raises(ConfigError, match=r"no \d+\.tar stands beside"):
        make_plan(find_input(pool), CurateConfig(cosine=0.9, features="b16_img"))


def test_hashes_need_every_tar(images: Path, tmp_path: Path) -> None:
    folder = copytree(images, tmp_path / "images")
    (folder / "00000.tar").unlink()
    with pytest.raises(ConfigError, match=r"lacks perceptual hashes, and no 00000\.tar stands beside 00000"):
        plan(folder, "small")
    assert "scores" not in kinds(plan(folder, "small", "phash_distance=-1"))
