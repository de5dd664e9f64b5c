"""Questions to a whole pool by Daft: ids that repeat, and the join of columns."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("daft", reason="Daft is not installed; pip install clipworks[curate]")
from clipworks.curate import frame
from clipworks.curate.frame import columns_of_tables, join_columns, keep_one_of_each
from clipworks.curate.pool import open_pool, places_within, read_rows, with_scores
from clipworks.errors import ConfigError, DataError


def make_tables(folder: Path, *, with_uid: bool = True) -> list[list[str]]:
    """Three tables in which one id in three stands several times; the ids of each."""
    folder.mkdir()
    chance = np.random.default_rng(0)
    known = [chance.bytes(16).hex() for _ in range(60)]
    listed = []
    for number in range(3):
        uids = [known[n] for n in chance.integers(0, 60, 30)]
        columns = {"url": [f"https://a.example/{uid}" for uid in uids], "text": ["a cat"] * 30}
        columns |= {"uid": uids} if with_uid else {}
        pq.write_table(pa.table(columns), folder / f"{number}.parquet")
        listed.append(uids)
    return listed


def expected(listed: list[list[str]]) -> list[list[int]]:
    seen, places = set[str](), []
    for uids in listed:
        places.append([n for n, uid in enumerate(uids) if not (uid in seen or seen.add(uid))])  # type: ignore[func-returns-value]
    return places


@pytest.mark.parametrize("with_uid", [True, False], ids=["uid", "text and address"])
def test_the_first_of_rows_with_one_id_stays(tmp_path: Path, with_uid: bool) -> None:
    listed = make_tables(tmp_path / "pool", with_uid=with_uid)
    pool = open_pool(tmp_path / "pool")
    manifest = keep_one_of_each(pool, tmp_path / "out")
    kept = [places_within(tmp_path / "out", table).tolist() for table in pool.tables]
    assert kept == expected(listed)
    total = sum(map(len, kept))
    assert manifest["counts"] == {"duplicates": 90 - total, "rows in": 90, "rows kept": total}


def test_many_questions_and_a_damaged_table_change_nothing_for_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = make_tables(tmp_path / "pool")
    (tmp_path / "pool" / "9.parquet").write_bytes(b"no parquet")
    monkeypatch.setattr(frame, "ROWS_PER_QUESTION", 25)
    pool = open_pool(tmp_path / "pool")
    manifest = keep_one_of_each(pool, tmp_path / "out")
    assert [places_within(tmp_path / "out", table).tolist() for table in pool.tables] == [
        *expected(listed),
        [],
    ]
    assert manifest["counts"]["failed_sources"] == 1
    assert len(list((tmp_path / "out" / ".repeats").glob("*.npy"))) == 4


def test_columns_are_joined_by_id_whatever_the_order_and_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = make_tables(tmp_path / "pool")
    monkeypatch.setattr(frame, "ROWS_PER_QUESTION", 40)
    uids = sorted({uid for some in listed for uid in some})[5:]
    (tmp_path / "scores").mkdir()
    for number, some in enumerate((uids[::-2], [*uids[-2::-2], "f" * 32])):
        columns = {
            "beauty": [int(uid[:4], 16) / 65536 for uid in some],
            "uid": some,
            "text": ["x"] * len(some),
        }
        pq.write_table(pa.table(columns), tmp_path / "scores" / f"{number}.parquet")
    assert columns_of_tables(tmp_path / "scores") == ["beauty", "text"]
    pool = open_pool(tmp_path / "pool")
    manifest = join_columns(pool, tmp_path / "scores", tmp_path / "out")
    assert manifest["config"]["columns"] == ["beauty"]
    joined = with_scores(pool, [tmp_path / "out"])
    found = 0
    for table, own in zip(pool.tables, listed, strict=True):
        (rows,) = read_rows(joined, table, ["beauty"])
        wanted = [int(uid[:4], 16) / 65536 if uid in uids else None for uid in own]
        assert rows.table["beauty"].to_pylist() == wanted
        found += sum(value is not None for value in wanted)
    assert manifest["counts"] == {"joined": found, "rows in": 90}


def test_names_that_look_like_patterns_are_names(tmp_path: Path) -> None:
    listed = make_tables(tmp_path / "pool[1]{a}*?")
    pool = open_pool(tmp_path / "pool[1]{a}*?")
    keep_one_of_each(pool, tmp_path / "out")
    kept = [places_within(tmp_path / "out", table).tolist() for table in pool.tables]
    assert kept == expected(listed)
    pq.write_table(pa.table({"uid": [listed[0][0]], "beauty": [1.0]}), tmp_path / "scores[0].parquet")
    assert join_columns(pool, tmp_path / "scores[0].parquet", tmp_path / "joined")["counts"]["joined"] > 0


def test_tables_that_cannot_be_joined_are_named(tmp_path: Path) -> None:
    listed = make_tables(tmp_path / "pool")
    pool, path = open_pool(tmp_path / "pool"), tmp_path / "scores.parquet"
    with pytest.raises(ConfigError, match="holds no parquet table"):
        columns_of_tables(tmp_path / "nothing")
    pq.write_table(pa.table({"beauty": [1.0]}), path)
    with pytest.raises(DataError, match="has no column uid"):
        columns_of_tables(path)
    path.write_bytes(b"no parquet")
    with pytest.raises(DataError, match="cannot be read as parquet"):
        columns_of_tables(path)
    pq.write_table(pa.table({"uid": [listed[0][0]], "text": ["x"]}), path)
    with pytest.raises(DataError, match="has no column that"):
        join_columns(pool, path, tmp_path / "out")
    pq.write_table(pa.table({"uid": [listed[0][0]] * 2, "beauty": [1.0, 2.0]}), path)
    with pytest.raises(DataError, match=f"{listed[0][0]} stands in two rows"):
        join_columns(pool, path, tmp_path / "twice")


def test_a_pool_without_ids_cannot_be_joined(tmp_path: Path) -> None:
    make_tables(tmp_path / "pool", with_uid=False)
    pq.write_table(pa.table({"uid": ["0" * 32], "beauty": [1.0]}), tmp_path / "scores.parquet")
    with pytest.raises(ConfigError, match="without the column uid"):
        join_columns(open_pool(tmp_path / "pool"), tmp_path / "scores.parquet", tmp_path / "out")
