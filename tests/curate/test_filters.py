import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from curate_pools import make_pool

from clipworks.curate.filters import run_filter
from clipworks.curate.kept import write_kept
from clipworks.curate.pool import open_pool
from clipworks.curate.settings import FilterConfig
from clipworks.curate.subsets import read_subset
from clipworks.curate.uids import hex_of, made_uids
from clipworks.errors import ConfigError, DataError
from clipworks.files import write_manifest
from clipworks.options import with_settings

PROGRAM = """
import sys
from pathlib import Path
from clipworks.curate.filters import run_filter
from clipworks.curate.pool import open_pool
from clipworks.curate.settings import FilterConfig
pool, out = map(Path, sys.argv[1:3])
run_filter(open_pool(pool), FilterConfig(keep="words > 1 and top(l14, 0.6)"), out,
           show=lambda done, total, words: print(done, flush=True))
"""


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pool(tmp_path_factory.mktemp("pool"), tables=4, rows=60)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def test_each_rule_says_what_it_saw_and_kept(pool: Path, tmp_path: Path) -> None:
    config = FilterConfig(keep="words > 2 and (b32 >= 0.3 or not min_side < 300)")
    manifest = run_filter(open_pool(pool), config, tmp_path / "out")
    table = pa.concat_tables([pq.read_table(path) for path in sorted(pool.glob("*.parquet"))]).to_pydict()
    words = np.array([len(text.split()) > 2 for text in table["text"]])
    score = np.array(table["clip_b32_similarity_score"], np.float32) >= 0.3
    small = np.minimum(table["original_width"], table["original_height"]) < 300
    kept = words & (score | ~small)
    assert manifest["counts"] == {
        "b32 >= 0.3 in": words.sum(),
        "b32 >= 0.3 kept": (words & score).sum(),
        "min_side < 300.0 in": (words & ~score).sum(),
        "min_side < 300.0 kept": (words & ~score & small).sum(),
        "rows in": 240,
        "rows kept": kept.sum(),
        "words > 2.0 in": 240,
        "words > 2.0 kept": words.sum(),
    }
    rows = pa.concat_tables([pq.read_table(path) for path in sorted((tmp_path / "out").glob("*.parquet"))])
    assert rows["uid"].to_pylist() == [uid for uid, keep in zip(table["uid"], kept, strict=True) if keep]
    assert rows.column_names == list(table)


@pytest.mark.slow
def test_processes_and_sharding_change_nothing(pool: Path, tmp_path: Path) -> None:
    config = FilterConfig(keep="english and top(l14, 0.5) or random < 0.2")
    run_filter(open_pool(pool), config, tmp_path / "one")
    run_filter(open_pool(pool), config, tmp_path / "two", workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    whole = tmp_path / "whole"
    whole.mkdir()
    tables = [pq.read_table(path) for path in sorted(pool.glob("*.parquet"), reverse=True)]
    pq.write_table(pa.concat_tables(tables), whole / "all.parquet")
    run_filter(open_pool(whole), config, tmp_path / "three")
    for name in ("one", "three"):
        write_kept(tmp_path / name, tmp_path / f"{name}.npy")
    assert (tmp_path / "one.npy").read_bytes() == (tmp_path / "three.npy").read_bytes()


@pytest.mark.slow
def test_a_run_that_is_killed_at_ten_moments_ends_in_the_same_bytes(pool: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", PROGRAM, str(pool)]
    subprocess.run([*command, str(tmp_path / "whole")], env=environment, check=True, capture_output=True)
    for moment in range(10):
        process = subprocess.Popen(
            [*command, str(tmp_path / "killed")], env=environment, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        for _ in range(moment % 4 + 1):
            process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    subprocess.run([*command, str(tmp_path / "killed")], env=environment, check=True, capture_output=True)
    assert contents(tmp_path / "whole") == contents(tmp_path / "killed")


def test_tables_of_img2dataset_are_read_by_their_own_names(tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    table = {
        "url": ["http://a.example/1", "http://a.example/2", "http://a.example/3"],
        "caption": ["a cat", None, "red dog"],
        "status": ["success", "success", "failed_to_download"],
        "original_width": [300, 10, None],
        "original_height": [200, 400, None],
    }
    pq.write_table(pa.table(table), tmp_path / "pool" / "0.parquet")
    config = FilterConfig(keep="words > 1 or aspect > 3")
    manifest = run_filter(open_pool(tmp_path / "pool"), config, tmp_path / "out")
    assert manifest["counts"]["rows in"] == 2
    found = hex_of(np.asarray(read_subset(tmp_path / "out" / "0.npy")))
    assert found == sorted(hex_of(made_uids(["a cat", ""], ["http://a.example/1", "http://a.example/2"])))


def test_lists_of_words_and_addresses_and_faces_are_flags(pool: Path, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("best price\n")
    table = pa.concat_tables([pq.read_table(path) for path in sorted(pool.glob("*.parquet"))]).to_pydict()
    (tmp_path / "list.txt").write_text(f"host3.example.org\n{table['sha256'][0]}\n")
    config = with_settings(
        FilterConfig(),
        [
            "keep=not toxic and not blocked and not face",
            f"toxic_words={tmp_path / 'words.txt'}",
            f"blocklists={tmp_path / 'list.txt'}",
        ],
    )
    run_filter(open_pool(pool), config, tmp_path / "out")
    kept = {
        uid for path in (tmp_path / "out").glob("*.parquet") for uid in pq.read_table(path)["uid"].to_pylist()
    }
    wanted = {
        uid
        for n, uid in enumerate(table["uid"])
        if "best price" not in table["text"][n]
        and "//host3." not in table["url"][n]
        and n != 0
        and not table["face_bboxes"][n]
    }
    assert kept == wanted


def test_a_picture_is_blocked_by_the_perceptual_hash_that_the_table_itself_has(tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    table = pa.table(
        {
            "url": ["http://a.example/1", "http://a.example/2", "http://a.example/3"],
            "caption": ["a", "b", "c"],
            "phash": pa.array([7, 0, None], pa.uint64()),
        }
    )
    pq.write_table(table, tmp_path / "pool" / "0.parquet")
    (tmp_path / "list.txt").write_text(f"{0:016x}\n")
    config = FilterConfig(keep="not blocked", blocklists=str(tmp_path / "list.txt"))
    assert run_filter(open_pool(tmp_path / "pool"), config, tmp_path / "out")["rows"] == 2


@pytest.mark.parametrize(
    ("keep", "error", "message"),
    [
        ("toxic", ConfigError, "'toxic' needs the setting toxic_words"),
        ("entity", ConfigError, "'entity' needs the setting wordnet"),
        ("punsafe > 0.5", ConfigError, "'punsafe' needs the setting safety_head"),
        ("bytes >= 5000", DataError, "no column for 'bytes'"),
        ("englisch", ConfigError, "Nearest: english"),
        ("  ", ConfigError, "keep is empty"),
    ],
)
def test_what_a_rule_lacks_is_one_sentence(
    keep: str, error: type[Exception], message: str, pool: Path, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        run_filter(open_pool(pool), FilterConfig(keep=keep), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_column_or_array_is_one_sentence(pool: Path, tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    path = tmp_path / "pool" / "0.parquet"
    table = pq.read_table(next(iter(sorted(pool.glob("*.parquet"))))).drop_columns("original_width")
    pq.write_table(table, path)
    with pytest.raises(DataError, match=r"0\.parquet has no column 'original_width', which holds 'width'"):
        run_filter(open_pool(tmp_path / "pool"), FilterConfig(keep="min_side > 1"), tmp_path / "a")
    np.save(tmp_path / "c.npy", np.ones((2, 16), np.float32))
    np.save(tmp_path / "t.npy", np.array([0]))
    near = FilterConfig(
        keep="near_target", centroids=str(tmp_path / "c.npy"), targets=str(tmp_path / "t.npy")
    )
    with pytest.raises(DataError, match="no array 'l14_img'"):
        run_filter(open_pool(tmp_path / "pool"), near, tmp_path / "b")
    np.savez(path.with_suffix(".npz"), l14_img=np.zeros((3, 16)))
    with pytest.raises(DataError, match=r"has l14_img \[3, 16\], but 0.parquet has 60 rows"):
        run_filter(open_pool(tmp_path / "pool"), near, tmp_path / "b")
    path.with_suffix(".npz").write_bytes(b"x")
    with pytest.raises(DataError, match=r"cannot be read as \.npz"):
        run_filter(open_pool(tmp_path / "pool"), near, tmp_path / "b")


def test_a_damaged_table_is_counted_and_the_rest_goes_on(pool: Path, tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    for path in pool.glob("*.parquet"):
        (tmp_path / "pool" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "pool" / "00000002.parquet").write_bytes(b"PAR1 no table PAR1")
    manifest = run_filter(open_pool(tmp_path / "pool"), FilterConfig(keep="chars > 5"), tmp_path / "out")
    assert manifest["counts"]["failed_sources"] == 1
    assert manifest["counts"]["rows in"] == 180


def test_a_changed_list_or_filter_is_refused_in_a_folder_that_was_begun(pool: Path, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("cat\n")
    config = FilterConfig(keep="not toxic", toxic_words=str(tmp_path / "words.txt"))
    run_filter(open_pool(pool), config, tmp_path / "out")
    run_filter(open_pool(pool), config, tmp_path / "out")
    (tmp_path / "words.txt").write_text("dog\n")
    with pytest.raises(ConfigError, match="begun with toxic_words"):
        run_filter(open_pool(pool), config, tmp_path / "out")
    with pytest.raises(ConfigError, match="names /nowhere, which does not exist"):
        run_filter(open_pool(pool), FilterConfig(subset="/nowhere"), tmp_path / "b")


def test_pools_that_are_none_are_refused(pool: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="it does not exist"):
        open_pool(tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="it is a file"):
        open_pool(tmp_path / "file")
    with pytest.raises(DataError, match=r"holds no \.parquet file"):
        open_pool(tmp_path)
    with pytest.raises(ConfigError, match="Nearest: datacomp"):
        open_pool(pool, layout="datacom")
    with pytest.raises(DataError, match=r"lacks 00000000\.parquet"):
        open_pool(pool, scores=[tmp_path])
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "0.parquet").write_bytes(b"x")
    with pytest.raises(DataError, match="cannot be read as parquet"):
        open_pool(tmp_path / "bad")
    (tmp_path / "stage").mkdir()
    write_manifest(tmp_path / "stage", {"parts": []})
    with pytest.raises(DataError, match=r"holds no \.parquet file"):
        open_pool(tmp_path / "stage")


def test_scores_of_other_rows_are_refused(pool: Path, tmp_path: Path) -> None:
    for path in pool.glob("*.parquet"):
        pq.write_table(pa.table({"extra": [1.0, 2.0]}), tmp_path / path.name)
    opened = open_pool(pool, scores=[tmp_path])
    with pytest.raises(DataError, match="different numbers of rows"):
        run_filter(opened, FilterConfig(keep="extra > 0 and chars > 1"), tmp_path / "out")
