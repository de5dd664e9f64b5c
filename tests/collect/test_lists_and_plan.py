import gzip
from hashlib import md5
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipworks.collect.lists import find_list, guess_rows, read_list
from clipworks.collect.plan import make_plan, order_of
from clipworks.errors import ConfigError, DataError

ROWS = [("http://a.example/1", "Ein Bär"), ("http://b.example/2", "two"), ("http://c.example/3", "")]


def written(folder: Path, kind: str) -> Path:
    name = {"pairs": "list.parquet", "parquet": "list.parquet"}.get(kind, f"list.{kind}")
    path = folder / name
    urls, texts = [list(column) for column in zip(*ROWS, strict=True)]
    if kind == "parquet":
        pq.write_table(pa.table({"URL": urls, "TEXT": texts, "width": [1, 2, 3]}), path)
    elif kind == "pairs":
        lists = [[{"key": "alt", "text": text}, {"key": "title", "text": "x"}] for text in texts]
        pq.write_table(pa.table({"image_url": urls, "texts": lists, "uid": ["u1", "u2", "u3"]}), path)
    else:
        data = {
            "csv": "url,caption\n" + "".join(f"{url},{text}\n" for url, text in ROWS),
            "tsv": "url\tcaption\n" + "".join(f"{url}\t{text}\n" for url, text in ROWS),
            "jsonl": "".join(f'{{"url": "{url}", "text": "{text}"}}\n' for url, text in ROWS),
            "txt": "".join(f"{url}\n\n" for url in urls),
        }[kind.removesuffix(".gz")].encode()
        path.write_bytes(gzip.compress(data) if kind.endswith(".gz") else data)
    return path


@pytest.mark.parametrize(
    "kind", ["csv", "tsv", "jsonl", "txt", "csv.gz", "jsonl.gz", "txt.gz", "parquet", "pairs"]
)
def test_lists_of_all_kinds_give_the_same_rows(tmp_path: Path, kind: str) -> None:
    links = find_list(written(tmp_path, kind))
    rows = [row for batch in read_list(links) for row in batch.to_pylist()]
    assert [row["url"] for row in rows] == [url for url, _ in ROWS]
    assert guess_rows(links) >= 3 or "gz" in kind or kind == "txt"
    if "txt" not in kind:
        assert [row["caption"] or "" for row in rows] == [text for _, text in ROWS]
        uids = [md5((text + url).encode()).hexdigest() for url, text in ROWS]
        assert [row["uid"] for row in rows] == (["u1", "u2", "u3"] if kind == "pairs" else uids)
    if kind == "parquet":
        assert [row["tag_width"] for row in rows] == [1, 2, 3]
    if kind == "pairs":
        assert rows[0]["texts"][1] == {"key": "title", "text": "x"}


def test_columns_can_be_named_and_wrong_ones_are_said(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("address,words\nhttp://a.example/1,one\n")
    with pytest.raises(ConfigError, match="--url-column"):
        find_list(path)
    with pytest.raises(ConfigError, match="'nothing'"):
        find_list(path, url_column="address", caption_column="nothing")
    links = find_list(path, url_column="address", caption_column="words")
    assert next(read_list(links)).to_pylist()[0]["caption"] == "one"


def test_what_is_no_list_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        find_list(tmp_path / "missing.csv")
    with pytest.raises(DataError, match="no list"):
        find_list(tmp_path)
    (tmp_path / "cut.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="parquet"):
        find_list(tmp_path)
    (tmp_path / "other.csv").write_text("url\nx\n")
    with pytest.raises(DataError, match="several kinds"):
        find_list(tmp_path)
    (tmp_path / "bad.jsonl").write_text('{"url": 1')
    with pytest.raises(DataError, match="bad.jsonl"):
        find_list(tmp_path / "bad.jsonl")


def test_files_with_other_columns_than_the_first_are_refused(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("url,size\nhttp://a.example/1,3\n")
    (tmp_path / "2.csv").write_text("url\nhttp://a.example/2\n")
    with pytest.raises(DataError, match=r"2\.csv"):
        list(read_list(find_list(tmp_path)))


def planned(folder: Path, lines: list[str], name: str, rows_per_shard: int = 100) -> list[list[str]]:
    """Addresses of each shard, in order."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.txt").write_text("\n".join(lines))
    plan = make_plan(
        find_list(folder / f"{name}.txt"), folder / f"{name}.plan", rows_per_shard=rows_per_shard
    )
    assert plan.rows == len(lines)
    return [pq.read_table(folder / source.path).column("url").to_pylist() for source in plan.sources()]


def test_the_order_is_that_of_the_uids_hashes_however_the_rows_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"http://h{i % 7}.example/{i}" for i in range(1050)]
    first = planned(tmp_path, lines, "a")
    assert [len(shard) for shard in first] == [100] * 10 + [50]
    flat = [url for shard in first for url in shard]
    assert sorted(flat) == sorted(lines)
    assert flat == sorted(flat, key=lambda url: order_of(md5(url.encode()).hexdigest()))
    monkeypatch.setattr("clipworks.collect.plan.ROWS_PER_BUCKET", 40)
    assert planned(tmp_path, lines[::-1], "b") == first


def test_hosts_are_spread_over_shards(tmp_path: Path) -> None:
    lines = [f"http://h{i // 250}.example/{i}" for i in range(1000)]
    for shard in planned(tmp_path, lines, "a", 250):
        hosts = [sum(url.startswith(f"http://h{number}.") for url in shard) for number in range(4)]
        assert all(30 <= number <= 100 for number in hosts)


def test_a_plan_is_made_once_and_again_for_other_rows(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("http://a.example/1\n")
    plan = make_plan(find_list(path), tmp_path / "plan", rows_per_shard=10)
    written = (tmp_path / "plan" / "00000.parquet").stat().st_mtime_ns
    assert make_plan(find_list(path), tmp_path / "plan", rows_per_shard=10) == plan
    assert (tmp_path / "plan" / "00000.parquet").stat().st_mtime_ns == written
    plan.drop_rows()
    assert make_plan(find_list(path), tmp_path / "plan", rows_per_shard=10).has_rows()
    plan.drop_rows()
    (tmp_path / "manifest.json").write_text("{}")
    assert not make_plan(find_list(path), tmp_path / "plan", rows_per_shard=10).has_rows()
    path.write_text("http://a.example/2\n")
    other = make_plan(find_list(path), tmp_path / "plan", rows_per_shard=10)
    assert other.digest != plan.digest and len(list((tmp_path / "plan").glob("*.parquet"))) == 1


def test_an_empty_list_is_said(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("\n\n")
    with pytest.raises(DataError, match="no rows"):
        make_plan(find_list(tmp_path / "list.txt"), tmp_path / "plan", rows_per_shard=10)
