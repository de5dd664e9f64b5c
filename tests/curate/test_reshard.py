import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clipworks.curate.packing import ReshardConfig
from clipworks.curate.reshard import reshard
from clipworks.curate.subsets import read_subset, write_subset
from clipworks.curate.uids import hex_of, made_uids, uids_of
from clipworks.errors import ConfigError, DataError

TARS, SAMPLES = 4, 25

PROGRAM = """
import sys
from pathlib import Path
from clipworks.curate.packing import ReshardConfig
from clipworks.curate.reshard import reshard
shards, subset, out = map(Path, sys.argv[1:4])
reshard(shards, subset, out, ReshardConfig(samples_per_shard=4, shuffle=30, seed=1),
        show=lambda done, total, words: print(done, flush=True))
"""


def picture(colour: int, size: tuple[int, int] = (40, 30)) -> bytes:
    chance = np.random.default_rng(colour)
    file = io.BytesIO()
    pixels = chance.integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    Image.fromarray(pixels).save(file, "JPEG", quality=95)
    return file.getvalue()


def write_tar(path: Path, samples: list[dict[str, bytes]]) -> None:
    with tarfile.open(path, "w") as tar:
        for number, files in enumerate(samples):
            for suffix, data in files.items():
                member = tarfile.TarInfo(f"{number:09}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    for tar in range(TARS):
        uids = [f"{tar:02x}{n:02x}".ljust(32, "7") for n in range(SAMPLES)]
        samples = [
            {
                "jpg": picture(n),
                "txt": f"text {n}".encode(),
                "json": json.dumps({"uid": uid, "caption": f"text {n}"}).encode(),
            }
            for n, uid in enumerate(uids)
        ]
        write_tar(folder / f"{tar:08}.tar", samples)
        boxes = [[[0.25, 0.25, 0.75, 0.75]] if n % 5 == 0 else [] for n in range(SAMPLES)]
        table = {"uid": uids, "face_bboxes": pa.array(boxes, pa.list_(pa.list_(pa.float64())))}
        pq.write_table(pa.table(table), folder / f"{tar:08}.parquet")
    return folder


@pytest.fixture(scope="module")
def subset(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every third sample, every sixth of them three times, and one that is nowhere."""
    uids = [f"{tar:02x}{n:02x}".ljust(32, "7") for tar in range(TARS) for n in range(0, SAMPLES, 3)]
    repeated = [uid for n, uid in enumerate(uids) if n % 6 == 0] * 2
    path = tmp_path_factory.mktemp("subset") / "subset.npy"
    write_subset(path, uids_of([*uids, *repeated, "f" * 32]))
    return path


def read_out(folder: Path) -> list[tuple[str, dict[str, bytes]]]:
    samples: list[tuple[str, dict[str, bytes]]] = []
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, suffix = member.name.partition(".")
                file = tar.extractfile(member)
                assert file is not None
                if not samples or samples[-1][0] != key:
                    samples.append((key, {}))
                samples[-1][1][suffix] = file.read()
    return samples


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_each_wanted_sample_is_copied_as_often_as_it_stands_in_the_subset(
    shards: Path, subset: Path, tmp_path: Path
) -> None:
    manifest = reshard(shards, subset, tmp_path / "out", ReshardConfig(samples_per_shard=10))
    wanted = Counter(hex_of(np.asarray(read_subset(subset))))
    found = read_out(tmp_path / "out")
    keys = Counter(key.rpartition("-")[0] for key, _ in found)
    assert keys == Counter({uid: n for uid, n in wanted.items() if uid != "f" * 32})
    assert [key for key, _ in found] == [
        f"{uid}-{copy}" for uid in sorted(keys) for copy in range(keys[uid])
    ]  # the order of the tars, which is that of the ids here
    for key, files in found:
        number = int(key[2:4], 16)
        assert files["jpg"] == picture(number)
        assert files["txt"] == f"text {number}".encode()
    assert manifest["rows"] == keys.total()


def test_the_small_files_are_those_that_other_tools_read(shards: Path, subset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    manifest = reshard(shards, subset, out, ReshardConfig(samples_per_shard=10))
    sizes = json.loads((out / "sizes.json").read_text())
    meta = json.loads((out / "meta.json").read_text())
    assert list(sizes) == sorted(path.name for path in out.glob("*.tar"))
    assert sum(sizes.values()) == manifest["rows"] == meta["output_count"]
    assert meta["output_shard_count"] == len(sizes) == -(-manifest["rows"] // 10)
    assert meta["not_found_count"] == 1
    for name, size in sizes.items():
        stats = json.loads((out / name.replace(".tar", "_stats.json")).read_text())
        assert stats == {"successes": size}
    assert (out / "sample_ids.npy").read_bytes() == subset.read_bytes()


def test_a_shuffle_moves_samples_within_its_windows_only(shards: Path, subset: Path, tmp_path: Path) -> None:
    plain, mixed, other = (
        [key for key, _ in read_out(reshard_to(shards, subset, tmp_path / name, shuffle=shuffle, seed=seed))]
        for name, shuffle, seed in (("a", 0, 0), ("b", 20, 0), ("c", 20, 1))
    )
    assert plain != mixed != other
    for start in range(0, len(plain), 20):
        assert sorted(mixed[start : start + 20]) == sorted(plain[start : start + 20])


def reshard_to(shards: Path, subset: Path, out: Path, *, shuffle: int, seed: int) -> Path:
    reshard(shards, subset, out, ReshardConfig(samples_per_shard=7, shuffle=shuffle, seed=seed))
    return out


@pytest.mark.slow
def test_processes_give_the_bytes_of_one(shards: Path, subset: Path, tmp_path: Path) -> None:
    config = ReshardConfig(samples_per_shard=6, shuffle=11)
    reshard(shards, subset, tmp_path / "one", config)
    reshard(shards, subset, tmp_path / "two", config, workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.slow
def test_a_run_that_is_killed_at_ten_moments_ends_in_the_same_bytes(
    shards: Path, subset: Path, tmp_path: Path
) -> None:
    config = ReshardConfig(samples_per_shard=4, shuffle=30, seed=1)
    reshard(shards, subset, tmp_path / "undisturbed", config)
    command = [sys.executable, "-c", PROGRAM, str(shards), str(subset), str(tmp_path / "killed")]
    for moment in range(10):
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        )
        assert process.stdout is not None
        for _ in range(moment % 4 + 1):
            process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    reshard(shards, subset, tmp_path / "killed", config)
    assert contents(tmp_path / "killed") == contents(tmp_path / "undisturbed")


@pytest.mark.parametrize("damage", ["cut", "header", "no tar"])
def test_a_damaged_tar_is_counted_and_the_rest_goes_on(
    damage: str, shards: Path, subset: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    for path in shards.glob("*.tar"):
        (folder / path.name).write_bytes(path.read_bytes())
    whole = (folder / "00000001.tar").read_bytes()
    middle = whole.index(b"000000009.jpg")
    broken = {
        "cut": whole[: middle + 700],
        "header": whole[:middle] + b"\x01" * 300 + whole[middle + 300 :],
        "no tar": b"this is no tar file" * 100,
    }
    (folder / "00000001.tar").write_bytes(broken[damage])
    manifest = reshard(folder, subset, tmp_path / "out", ReshardConfig())
    assert manifest["index"]["damaged_tars"] == 1
    numbers = [int(key[2:4], 16) for key, _ in read_out(tmp_path / "out") if key.startswith("01")]
    assert sorted(set(numbers)) == ([] if damage == "no tar" else [0, 3, 6])
    assert any(key.startswith("03") for key, _ in read_out(tmp_path / "out"))


def test_samples_without_json_or_id_are_counted_and_an_id_is_made_of_text_and_address(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    details = json.dumps({"caption": "a cat", "url": "http://a.example/1.jpg"}).encode()
    samples = [
        {"jpg": b"1", "txt": b"x"},
        {"jpg": b"2", "json": b"{}"},
        {"jpg": b"3", "json": b"[1]"},
        {"jpg": b"4", "json": details},
    ]
    write_tar(tmp_path / "shards" / "0.tar", samples)
    write_subset(tmp_path / "subset.npy", made_uids(["a cat"], ["http://a.example/1.jpg"]))
    manifest = reshard(tmp_path / "shards", tmp_path / "subset.npy", tmp_path / "out", ReshardConfig())
    assert manifest["index"] == {
        "chosen": 1,
        "copies": 1,
        "samples": 4,
        "without_json": 1,
        "without_uid": 2,
    }
    assert [files["jpg"] for _, files in read_out(tmp_path / "out")] == [b"4"]


@pytest.mark.parametrize("uid", ['"-5"', '"' + "f" * 40 + '"', "5", '"x"', "[" * 100_000])
def test_an_id_that_is_none_is_counted_and_ends_nothing(uid: str, tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    good = json.dumps({"uid": "1" * 32}).encode()
    samples = [{"jpg": b"1", "json": f'{{"uid": {uid}}}'.encode()}, {"jpg": b"2", "json": good}]
    write_tar(tmp_path / "shards" / "0.tar", samples)
    write_subset(tmp_path / "s.npy", uids_of(["1" * 32]))
    manifest = reshard(tmp_path / "shards", tmp_path / "s.npy", tmp_path / "out", ReshardConfig())
    assert manifest["index"] == {"chosen": 1, "copies": 1, "samples": 2, "without_uid": 1}


@pytest.mark.parametrize("suffix", ["x" * 90, "j\udcffpg", "ä"])
def test_a_file_with_a_strange_name_is_counted_and_left_out(suffix: str, tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    details = json.dumps({"uid": "1" * 32}).encode()
    write_tar(tmp_path / "shards" / "0.tar", [{"jpg": b"1", "json": details, suffix: b"2"}])
    write_subset(tmp_path / "s.npy", uids_of(["1" * 32]))
    manifest = reshard(tmp_path / "shards", tmp_path / "s.npy", tmp_path / "out", ReshardConfig())
    assert manifest["index"]["strange_names"] == 1
    assert [sorted(files) for _, files in read_out(tmp_path / "out")] == [["jpg", "json"]]


def test_faces_are_blurred_and_their_boxes_kept(shards: Path, subset: Path, tmp_path: Path) -> None:
    config = ReshardConfig(blur_faces=True, keep_boxes=True)
    manifest = reshard(shards, subset, tmp_path / "out", config)
    blurred = [(key, files) for key, files in read_out(tmp_path / "out") if "webp" in files]
    assert blurred and len(blurred) == manifest["counts"]["blurred"]
    for key, files in blurred:
        number = int(key[2:4], 16)
        assert number % 5 == 0 and "jpg" not in files
        assert json.loads(files["json"])["face_bboxes"] == [[0.25, 0.25, 0.75, 0.75]]
        before = np.asarray(Image.open(io.BytesIO(picture(number))), np.float64)
        after = np.asarray(Image.open(io.BytesIO(files["webp"])), np.float64)
        assert after.shape == before.shape
        assert after[12:18, 15:25].std() < 0.5 * before[12:18, 15:25].std()
        assert np.abs(after[:2, :3] - before[:2, :3]).mean() < 12  # the corner is as it was, but for WebP


def test_a_picture_whose_faces_cannot_be_blurred_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    uids = ["1" * 32, "2" * 32]
    samples = [{"jpg": b"no picture", "json": json.dumps({"uid": uid}).encode()} for uid in uids]
    write_tar(tmp_path / "shards" / "0.tar", samples)
    boxes = pa.array([[[0.0, 0.0, 1.0, 1.0]], []], pa.list_(pa.list_(pa.float64())))
    pq.write_table(pa.table({"uid": uids, "face_bboxes": boxes}), tmp_path / "shards" / "0.parquet")
    write_subset(tmp_path / "s.npy", uids_of(uids))
    config = ReshardConfig(blur_faces=True)
    manifest = reshard(tmp_path / "shards", tmp_path / "s.npy", tmp_path / "out", config)
    assert manifest["counts"]["blur_failed"] == 1
    assert [key for key, _ in read_out(tmp_path / "out")] == ["2" * 32 + "-0"]
    assert json.loads((tmp_path / "out" / "sizes.json").read_text()) == {"00000000.tar": 1}


def test_a_tar_that_is_gone_after_it_was_listed_is_counted(
    shards: Path, subset: Path, tmp_path: Path
) -> None:
    from clipworks.curate.packing import pack_shard
    from clipworks.stage import Source

    reshard(shards, subset, tmp_path / "out", ReshardConfig())
    index = tmp_path / "out" / ".index"
    table = pq.read_table(index / "00000000.parquet")
    gone = table.set_column(0, "tar", pa.array(["/nowhere.tar"] * len(table)))
    pq.write_table(gone, index / "00000000.parquet")
    made = pack_shard(
        Source(name="x", path="0", digest=""),
        tmp_path,
        index=index,
        config=ReshardConfig(samples_per_shard=5),
    )
    assert (made.rows, made.counts) == (0, {"unreadable": 5})


def test_settings_out_of_range_and_empty_folders_are_errors(subset: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="samples_per_shard is 0"):
        ReshardConfig(samples_per_shard=0)
    with pytest.raises(ConfigError, match="shuffle is -1"):
        ReshardConfig(shuffle=-1)
    with pytest.raises(DataError, match="holds no .tar file"):
        reshard(tmp_path, subset, tmp_path / "out", ReshardConfig())


def test_a_folder_without_tables_fails_every_tar_where_faces_are_wanted(
    shards: Path, subset: Path, tmp_path: Path
) -> None:
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "0.tar").write_bytes((shards / "00000000.tar").read_bytes())
    manifest = reshard(tmp_path / "shards", subset, tmp_path / "out", ReshardConfig(blur_faces=True))
    assert manifest["index"]["failed_sources"] == 1
    assert manifest["rows"] == 0
