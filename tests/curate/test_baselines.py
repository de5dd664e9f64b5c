"""Every baseline against a few lines of numpy that follow the published scripts, on made-up tables."""

import math
import re
from dataclasses import replace
from pathlib import Path

import fasttext
import numpy as np
import pyarrow.parquet as pq
import pytest
from curate_pools import make_pool

from clipworks.curate.baselines import BASELINES, baseline, clip_score
from clipworks.curate.filters import run_filter
from clipworks.curate.kept import write_kept
from clipworks.curate.languages import built_in_model
from clipworks.curate.pool import open_pool
from clipworks.curate.settings import FilterConfig
from clipworks.curate.subsets import read_subset
from clipworks.errors import ConfigError

ENTITIES = "n02121620\nn02084071\nn02960903\n"
"""cat, dog and the gambling card's neighbour of no picture here."""


class Table:
    """All rows of a pool in memory, as the published scripts hold them."""

    def __init__(self, folder: Path) -> None:
        tables = [pq.read_table(path).to_pydict() for path in sorted(folder.glob("*.parquet"))]
        self.columns = {name: [v for table in tables for v in table[name]] for name in tables[0]}
        paths = sorted(folder.glob("*.npz"))
        self.l14_img = np.concatenate([np.load(path)["l14_img"] for path in paths])
        self.b32 = np.array(self.columns["clip_b32_similarity_score"], np.float32)
        self.l14 = np.array(self.columns["clip_l14_similarity_score"], np.float64)
        self.texts: list[str] = self.columns["text"]
        self.width = np.array(self.columns["original_width"])
        self.height = np.array(self.columns["original_height"])
        model = fasttext.load_model(str(built_in_model()))
        predict = model.predict
        self.english = np.array(
            [predict(text.replace("\n", " "))[0][0] == "__label__en" for text in self.texts], bool
        )

    def ids(self, mask: np.ndarray) -> np.ndarray:
        uids = [uid for uid, keep in zip(self.columns["uid"], mask, strict=True) if keep]
        pairs = [(int(uid[:16], 16), int(uid[16:32], 16)) for uid in uids]
        return np.sort(np.array(pairs, np.dtype("u8,u8")))


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pool(tmp_path_factory.mktemp("pool"))


@pytest.fixture(scope="module")
def table(pool: Path) -> Table:
    return Table(pool)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> FilterConfig:
    """Settings with the files that baselines read."""
    folder = tmp_path_factory.mktemp("files")
    chance = np.random.default_rng(5)
    np.save(folder / "centroids.npy", chance.standard_normal((9, 16)).astype(np.float32))
    np.save(folder / "targets.npy", np.array([1, 4, 7]))
    (folder / "entities.txt").write_text(ENTITIES)
    words = {"cat": 2121620, "dog": 2084071, "car": 2958343, "tower": 4460130}
    for part in ("noun", "verb", "adj", "adv"):
        lines = [f"{w} n 1 0 1 0 {offset:08}" for w, offset in words.items()] if part == "noun" else []
        (folder / f"index.{part}").write_text("  1 This software\n" + "\n".join(lines) + "\n")
        (folder / f"{part}.exc").write_text("")
    return FilterConfig(
        wordnet=str(folder),
        entities=str(folder / "entities.txt"),
        centroids=str(folder / "centroids.npy"),
        targets=str(folder / "targets.npy"),
    )


def kept(pool: Path, config: FilterConfig, out: Path) -> np.ndarray:
    run_filter(open_pool(pool), config, out)
    write_kept(out, out.parent / "kept.npy")
    return np.asarray(read_subset(out.parent / "kept.npy"))


def top(values: np.ndarray, fraction: float) -> np.ndarray:
    threshold = -np.sort(-values)[int(len(values) * fraction)]
    return values >= threshold


def caption(table: Table) -> np.ndarray:
    tokens = [len(re.findall("[^ \n\r\t\v\f\0]+|\n", text)) for text in table.texts]
    return (np.array(tokens) > 1) & (np.array([len(t) for t in table.texts]) > 5) & table.english


def image_based(table: Table, files: FilterConfig) -> np.ndarray:
    centroids = np.load(files.centroids)
    nearest = np.einsum("nd,kd->nk", table.l14_img.astype(np.float32), centroids).argmax(axis=1)
    return caption(table) & np.isin(nearest, [1, 4, 7])


def expected(name: str, table: Table, files: FilterConfig) -> np.ndarray:
    words = np.array([len(text.split()) for text in table.texts])
    chars = np.array([len(text) for text in table.texts])
    low, high = np.minimum(table.width, table.height), np.maximum(table.width, table.height)
    holds = [bool({"cat", "Dogs", "dogs"} & set(text.split())) for text in table.texts]
    rules = {
        "no_filter": np.ones(len(words), bool),
        "basic_filter": table.english & (words > 2) & (chars > 5) & (low >= 200) & (high / low <= 3.0),
        "clip_score": top(table.l14, 0.3),
        "clip_score_b32": top(table.b32, 0.3),
        "laion2b": table.english & (table.b32 >= 0.28),
        "text_based": table.english & np.array(holds),
        "image_based": image_based(table, files),
        "image_based_intersect_clip_score": image_based(table, files) & top(table.l14, 0.3),
        "image_size": low >= 200,
        "caption_length": (words > 2) & (chars > 5),
        "english": table.english,
    }
    return rules[name]


DATACOMP_NAMES = [
    n for n in BASELINES if not n.startswith(("laion4", "laion5", "laion_", "metaclip", "random"))
]


@pytest.mark.parametrize("name", DATACOMP_NAMES)
def test_a_baseline_keeps_the_very_rows_of_the_published_script(
    name: str, pool: Path, table: Table, files: FilterConfig, tmp_path: Path
) -> None:
    found = kept(pool, baseline(name, config=files), tmp_path / "out")
    wanted = table.ids(expected(name, table, files))
    assert 0 < len(wanted)
    assert found.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.25, 0.5, 0.95, 0.999])
@pytest.mark.parametrize("score", ["b32", "l14"])
def test_a_fraction_keeps_what_the_published_sort_keeps(
    score: str, fraction: float, pool: Path, table: Table, tmp_path: Path
) -> None:
    found = kept(pool, FilterConfig(keep=clip_score(score=score, fraction=fraction)), tmp_path / "out")
    assert found.tobytes() == table.ids(top(getattr(table, score), fraction)).tobytes()


def test_a_threshold_is_rounded_to_the_column_as_pandas_rounds_it(
    pool: Path, table: Table, tmp_path: Path
) -> None:
    found = kept(pool, FilterConfig(keep=clip_score(score="b32", threshold=0.28)), tmp_path / "out")
    assert found.tobytes() == table.ids(table.b32 >= 0.28).tobytes()
    assert (table.b32 == np.float32(0.28)).any()  # kept although float32(0.28) is below 0.28 in float64


def test_laions_rules_are_its_published_bounds(pool: Path, table: Table, tmp_path: Path) -> None:
    text = BASELINES["laion5b"].replace("bytes >= 5000 and ", "")
    found = kept(pool, FilterConfig(keep=text), tmp_path / "out")
    chars = np.array([len(text) for text in table.texts])
    wanted = (chars >= 5) & np.where(table.english, table.b32 >= 0.28, table.b32 >= 0.26)
    assert found.tobytes() == table.ids(wanted).tobytes()


def test_a_random_share_is_near_its_size_and_lies_inside_a_larger_one(
    pool: Path, table: Table, tmp_path: Path
) -> None:
    tenth = kept(pool, FilterConfig(keep="random < 0.1"), tmp_path / "a" / "out")
    half = kept(pool, FilterConfig(keep="random < 0.5"), tmp_path / "b" / "out")
    other = kept(pool, FilterConfig(keep="random < 0.5", seed=1), tmp_path / "c" / "out")
    total = len(table.texts)
    assert abs(len(half) - total / 2) < 4 * math.sqrt(total / 4)
    assert np.isin(tenth, half).all()
    assert other.tobytes() != half.tobytes()


def test_an_unknown_baseline_and_a_double_argument_are_errors(files: FilterConfig) -> None:
    with pytest.raises(ConfigError, match=r"no baseline 'basic'.*basic_filter"):
        baseline("basic")
    with pytest.raises(ConfigError, match="one of the two"):
        clip_score(score="b32", fraction=0.3, threshold=0.3)
    assert replace(files, keep="everything") == baseline("no_filter", config=files)
