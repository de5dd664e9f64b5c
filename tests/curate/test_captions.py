"""The texts of each row, of which a filter keeps some."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from fetched import make_fetched

from clipworks.curate.captions import choose_captions
from clipworks.curate.pool import open_pool, places_within
from clipworks.curate.settings import FilterConfig
from clipworks.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_fetched(tmp_path_factory.mktemp("images"), shards=2, rows=10)


def test_a_row_stays_while_it_has_a_text_and_each_rule_counts_texts(images: Path, tmp_path: Path) -> None:
    manifest = choose_captions(open_pool(images), FilterConfig(keep="chars >= 13"), tmp_path / "out")
    seen = kept = rows = 0
    for table in sorted(images.glob("*.parquet")):
        expected = []
        for place, row in enumerate(pq.read_table(table).to_pylist()):
            if row["status"] != "success":
                continue
            texts = [one for one in row["texts"] if len(one["text"]) >= 13]
            seen, kept = seen + len(row["texts"]), kept + len(texts)
            expected += [{"uid": row["uid"], "place": place, "texts": texts}] * bool(texts)
        assert pq.read_table(tmp_path / "out" / table.name).to_pylist() == expected
        assert places_within(tmp_path / "out", table).tolist() == [one["place"] for one in expected]
        rows += len(expected)
    assert manifest["counts"] == {
        "chars >= 13.0 in": seen,
        "chars >= 13.0 kept": kept,
        "rows in": 18,
        "rows kept": rows,
        "texts in": seen,
        "texts kept": kept,
    }


def test_a_pool_of_captions_has_one_text_a_row(tmp_path: Path) -> None:
    images = make_fetched(tmp_path / "images", shards=1, rows=6, with_texts=False)
    choose_captions(open_pool(images), FilterConfig(keep="words > 0"), tmp_path / "out")
    rows = pq.read_table(tmp_path / "out" / "00000.parquet").to_pylist()
    captions = pq.read_table(images / "00000.parquet")["caption"].to_pylist()
    assert [row["texts"] for row in rows] == [[{"key": "caption", "text": text}] for text in captions[1:]]


def test_the_language_of_each_text_stands_beside_it(images: Path, tmp_path: Path) -> None:
    config = FilterConfig(keep="chars >= 5")
    choose_captions(open_pool(images), config, tmp_path / "out", with_languages=True)
    for row in pq.read_table(tmp_path / "out" / "00000.parquet").to_pylist():
        assert len(row["languages"]) == len(row["texts"]) > 0


def test_a_damaged_table_is_a_failed_part(images: Path, tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool" / "0.parquet").write_bytes((images / "00000.parquet").read_bytes())
    (tmp_path / "pool" / "1.parquet").write_bytes(b"PAR1 no more")
    manifest = choose_captions(
        open_pool(tmp_path / "pool"), FilterConfig(keep="chars >= 5"), tmp_path / "out"
    )
    assert manifest["counts"]["failed_sources"] == 1
    assert len(places_within(tmp_path / "out", tmp_path / "pool" / "1.parquet")) == 0


def test_the_best_of_all_texts_cannot_be_asked_for_and_damaged_places_are_said(
    images: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="cannot ask for the best"):
        choose_captions(open_pool(images), FilterConfig(keep="top(chars, 0.5)"), tmp_path / "out")
    (tmp_path / "x.places").write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot be read"):
        places_within(tmp_path, Path("x.parquet"))
    np.save(tmp_path / "y.npy", np.arange(3))
    assert len(places_within(tmp_path, Path("y.parquet"))) == 0
