"""From fetched pictures to curated shards, whole."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from fetched import make_fetched

from clipworks.curate import filters
from clipworks.curate.pool import Pool, read_rows
from clipworks.curate.recipes import CurateConfig, datacomp_basic, datacomp_clip_score, metaclip, small
from clipworks.curate.run import curate
from clipworks.curate.subsets import read_subset
from clipworks.errors import ConfigError, DataError
from clipworks.files import read_manifest
from clipworks.options import with_settings
from clipworks.shards import read_shards
from tests.curate.pools import write_metadata

needs_daft = pytest.mark.skipif(
    find_spec("daft") is None,
    reason="Daft is not installed; pip install clipworks[curate]",
)

WITHOUT_DAFT = ["unique=sha256"]
"""Settings that leave out the one step that needs it."""

PROGRAM = """
import json, sys
from pathlib import Path
from clipworks.curate.recipes import find
from clipworks.curate.run import curate
from clipworks.options import with_settings
pool, out, recipe, *settings = sys.argv[1:]
if __name__ == "__main__":
    curate(Path(pool), Path(out), with_settings(find(recipe), settings), recipe=recipe,
           show=lambda done, total, words: print(words, done, flush=True))
"""


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_fetched(tmp_path_factory.mktemp("fetched") / "images")


@pytest.fixture(scope="module")
def metadata(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_metadata(tmp_path_factory.mktemp("metadata") / "list.json", ("red", "car", "photo", "old"))


def config_of(recipe: CurateConfig, *settings: str) -> CurateConfig:
    return with_settings(recipe, settings)


def told(done: dict[str, Any]) -> dict[str, tuple[int, int]]:
    return {rule["rule"]: (rule["seen"], rule["kept"]) for rule in done["rules"]}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file that counts; what Ray and numpy leave beside them is not ours."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def test_each_rule_says_what_it_saw_and_kept(fetched: Path, tmp_path: Path) -> None:
    done = curate(fetched, tmp_path / "out", config_of(small(), *WITHOUT_DAFT))
    counts = told(done)
    assert done["rows"] == 36
    assert counts["min_side >= 32.0"] == (33, 30)
    assert counts["aspect <= 5.0"] == (30, 27)
    assert counts["one row of each sha256"] == (27, 22)  # one of rows 2 and 3 of each, one of the rows 1
    assert counts["rows with a text"] == (22, 19)
    assert done["pictures"] == 19 == read_manifest(tmp_path / "out")["rows"]
    assert read_manifest(tmp_path / "out")["config"]["rules"] == done["rules"]


def test_the_shards_are_read_by_training_with_the_texts_that_stay(fetched: Path, tmp_path: Path) -> None:
    settings = [*WITHOUT_DAFT, "texts=chars >= 12", "samples_per_shard=5"]
    done = curate(fetched, tmp_path / "out", config_of(small(), *settings))
    samples = list(read_shards(tmp_path / "out"))
    assert len(samples) == done["pictures"] > 5
    assert all(len(text) >= 12 for sample in samples for text in sample.texts)
    tables = [pq.read_table(path).to_pylist() for path in sorted((tmp_path / "out").glob("*.parquet"))]
    rows = [row for table in tables for row in table]
    assert [row["key"] for row in rows] == [sample.key for sample in samples]
    for row, sample in zip(rows, samples, strict=True):
        assert tuple(one["text"] for one in row["texts"]) == sample.texts
        assert (row["caption"], row["url"]) == (sample.texts[0], sample.details["url"])
        assert row["phash"] is not None


def test_a_finished_run_is_left_alone_and_can_be_curated_again(fetched: Path, tmp_path: Path) -> None:
    config = config_of(small(), *WITHOUT_DAFT)
    done = curate(fetched, tmp_path / "out", config)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert curate(fetched, tmp_path / "out", config) == done
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert after == before
    again = curate(tmp_path / "out", tmp_path / "again", config)
    assert again["pictures"] == done["pictures"]


def test_other_settings_or_another_input_are_refused(fetched: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(fetched, tmp_path / "images")
    curate(folder, tmp_path / "out", config_of(small(), *WITHOUT_DAFT))
    with pytest.raises(ConfigError, match="begun with phash_distance 0, not 3"):
        curate(folder, tmp_path / "out", config_of(small(), *WITHOUT_DAFT, "phash_distance=3"))
    make_fetched(folder, shards=1, seed=5)
    with pytest.raises(ConfigError, match="begun with another input"):
        curate(folder, tmp_path / "out", config_of(small(), *WITHOUT_DAFT))


def test_a_run_that_failed_before_it_made_anything_leaves_the_folder_to_others(
    fetched: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="no-such-model"):
        curate(fetched, tmp_path / "out", config_of(datacomp_clip_score(), "unique=", "model=no-such-model"))
    assert curate(fetched, tmp_path / "out", config_of(small(), *WITHOUT_DAFT))["pictures"] == 19


def test_a_file_in_the_place_of_the_folder_is_one_sentence(fetched: Path, tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(DataError, match=r"/out is a file\. Choose another --out"):
        curate(fetched, tmp_path / "out", config_of(small(), *WITHOUT_DAFT))


@pytest.mark.slow
def test_a_table_that_could_not_be_read_is_tried_again(
    fetched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_once(pool: Pool, table: Path, *words: Any, **settings: Any) -> Any:
        if table.stem == "00001":
            raise DataError("It cannot be read.")
        return read_rows(pool, table, *words, **settings)

    config = config_of(datacomp_basic(), "unique=", "keep=min_side >= 30", "samples_per_shard=4")
    curate(fetched, tmp_path / "whole", config)
    with monkeypatch.context() as patched:
        patched.setattr(filters, "read_rows", fail_once)
        assert curate(fetched, tmp_path / "out", config)["failed_tables"] == 1
    assert curate(fetched, tmp_path / "out", config)["failed_tables"] == 0
    assert contents(tmp_path / "out").keys() == contents(tmp_path / "whole").keys()
    for one in (tmp_path / "whole").glob("*.tar"):
        assert (tmp_path / "out" / one.name).read_bytes() == one.read_bytes()


def test_only_the_caption_is_packed_where_only_it_was_asked(fetched: Path, tmp_path: Path) -> None:
    config = config_of(datacomp_basic(), "unique=", "keep=words > 2 and chars > 5")
    curate(fetched, tmp_path / "out", config)
    for sample in read_shards(tmp_path / "out"):
        assert sample.texts == (sample.details["caption"],)


@pytest.mark.slow
def test_processes_give_the_bytes_of_one(fetched: Path, tmp_path: Path) -> None:
    config = config_of(small(), *WITHOUT_DAFT, "phash_distance=-1")
    curate(fetched, tmp_path / "out", config)
    one = contents(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    curate(fetched, tmp_path / "out", config, workers=2)
    assert contents(tmp_path / "out") == one


def test_metadata_without_shards_gives_the_rows_and_a_subset(fetched: Path, tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    for path in fetched.glob("*.parquet"):
        shutil.copy(path, tmp_path / "tables")
    config = config_of(datacomp_basic(), "unique=", "keep=min_side >= 40 and aspect <= 3.0")
    done = curate(tmp_path / "tables", tmp_path / "out", config)
    rows = [
        row
        for path in sorted((tmp_path / "out").glob("*.parquet"))
        for row in pq.read_table(path).to_pylist()
    ]
    assert done["pictures"] == len(rows) == 27
    assert sum(len(read_subset(path)) for path in (tmp_path / "out").glob("*.npy")) == 27


def test_datacomps_own_folder_has_metadata_and_shards(fetched: Path, tmp_path: Path) -> None:
    (tmp_path / "pool" / "metadata").mkdir(parents=True)
    (tmp_path / "pool" / "shards").mkdir()
    for number, path in enumerate(sorted(fetched.glob("*.tar"))):
        shutil.copy(path, tmp_path / "pool" / "shards" / f"{number:08d}.tar")
        table = pq.read_table(path.with_suffix(".parquet")).rename_columns({"caption": "text"})
        score = np.linspace(0, 1, len(table))
        table = table.select(["uid", "url", "text", "original_width", "original_height"])
        table = table.append_column("clip_l14_similarity_score", [score])
        pq.write_table(table, tmp_path / "pool" / "metadata" / f"m{number}.parquet")
    done = curate(
        tmp_path / "pool",
        tmp_path / "out",
        config_of(small(), "unique=", "keep=top(l14, 0.3)", "texts=", "phash_distance=-1"),
    )
    rule = next(rule for rule in done["rules"] if rule["rule"].startswith("top(l14, 0.3): l14 >= 0."))
    assert (rule["seen"], rule["kept"]) == (36, 12)
    assert len(list(read_shards(tmp_path / "out"))) == done["pictures"] == 12


def test_a_damaged_table_and_a_damaged_tar_are_counted(fetched: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(fetched, tmp_path / "images")
    (folder / "00000.parquet").write_bytes(b"no parquet")
    whole = (folder / "00001.tar").read_bytes()
    (folder / "00001.tar").write_bytes(whole[: len(whole) // 2])
    done = curate(folder, tmp_path / "out", config_of(small(), *WITHOUT_DAFT, "phash_distance=-1"))
    assert (done["failed_tables"], done["damaged_tars"]) == (1, 1)
    samples = list(read_shards(tmp_path / "out"))
    assert 5 < len(samples) == done["pictures"] < 14
    assert json.loads((tmp_path / "out" / "meta.json").read_text())["damaged_tars"] == 1


def test_rows_whose_picture_cannot_be_read_take_no_part_in_later_rules(fetched: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(fetched, tmp_path / "images")
    whole = (folder / "00001.tar").read_bytes()
    (folder / "00001.tar").write_bytes(whole[: len(whole) // 2])
    done = curate(folder, tmp_path / "out", config_of(small(), *WITHOUT_DAFT))
    numbers = [rule["rule"] for rule in done["rules"]].index("pictures that can be read")
    read, after = done["rules"][numbers], done["rules"][numbers + 1]
    assert after["seen"] == read["kept"] < read["seen"]


def test_a_folder_that_is_no_input_is_a_sentence(tmp_path: Path, fetched: Path) -> None:
    config = config_of(small(), *WITHOUT_DAFT)
    with pytest.raises(DataError, match="does not exist"):
        curate(tmp_path / "none", tmp_path / "out", config)
    folder = shutil.copytree(fetched, tmp_path / "unfinished")
    (folder / "stage.json").write_text("{}")
    with pytest.raises(DataError, match="unfinished"):
        curate(folder, tmp_path / "out", config)
    (tmp_path / "pairs").mkdir()
    table = pq.read_table(fetched / "00000.parquet").rename_columns({"url": "image_url"})
    pq.write_table(table, tmp_path / "pairs" / "0.parquet")
    with pytest.raises(DataError, match="without the column url") as caught:
        curate(tmp_path / "pairs", tmp_path / "out", config)
    assert "collect fetch" in caught.value.remedy


@needs_daft
@pytest.mark.slow
def test_of_rows_with_one_id_one_is_packed_with_balanced_texts(
    fetched: Path, metadata: Path, tmp_path: Path
) -> None:
    config = config_of(metaclip(), f"metadata={metadata}", "t=4", "texts=chars >= 1")
    done = curate(fetched, tmp_path / "out", config)
    counts = told(done)
    assert counts["one row of each uid"] == (33, 31)
    assert counts["texts by balancing"][1] < counts["texts by balancing"][0]
    assert Path(done["report"]).is_file()
    samples = list(read_shards(tmp_path / "out"))
    assert sum(len(sample.texts) for sample in samples) == counts["texts by balancing"][1]
    assert len(samples) == counts["rows with a text"][1] == done["pictures"]


@needs_daft
@pytest.mark.slow
def test_a_run_that_is_killed_at_twelve_moments_ends_in_the_same_bytes(
    fetched: Path, metadata: Path, tmp_path: Path
) -> None:
    settings = [f"metadata={metadata}", "t=4", "texts=chars >= 1", "phash_distance=2", "samples_per_shard=4"]
    out = tmp_path / "out"
    command = [sys.executable, "-c", PROGRAM, str(fetched), str(out), "metaclip", *settings]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    whole = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    undisturbed = contents(out)
    lines = whole.stdout.count("\n")
    shutil.rmtree(out)
    chance, killed = random.Random(0), 0
    while killed < 12:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert process.stdout is not None
        for _ in range(chance.randrange(1, lines // 6)):
            process.stdout.readline()
        with suppress(subprocess.TimeoutExpired):  # somewhere on the way to the next part
            process.wait(timeout=chance.random() / 20)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        else:
            shutil.rmtree(out)  # it had come to its end: from the beginning
        process.wait()
        process.stdout.close()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    assert contents(out) == undisturbed


@needs_daft
@pytest.mark.slow
def test_a_ray_cluster_gives_the_bytes_of_this_machine(fetched: Path, metadata: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed; pip install clipworks[ray]")
    words = ["curate", str(fetched), "--recipe", "metaclip", "--out", str(tmp_path / "out"), "--json"]
    for setting in (f"metadata={metadata}", "t=4", "texts=chars >= 1", "phash_distance=2"):
        words += ["--set", setting]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    found = []
    for more in ([], ["--ray", "local"]):
        command = [sys.executable, "-m", "clipworks", *words, *more]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        found.append((json.loads(done.stdout), contents(tmp_path / "out")))
        shutil.rmtree(tmp_path / "out")
    assert found[0] == found[1]
