"""One's own data into the published layout, and back: every picture is there, and what is wrong is said."""

import csv
import gzip
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from own_pictures import drawn, write_captions, write_classes

from clipworks.errors import DataError
from clipworks.evaluate.pictures import read_tar
from clipworks.evaluate.prepare import open_source, png_bytes, write_layout
from clipworks.evaluate.run import RunConfig, plan_run
from clipworks.model.preprocess import prepare


def write_idx(folder: Path, prefix: str, count: int) -> np.ndarray:
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(count).integers(0, 256, (count, 6, 6), dtype=np.uint8)
    labels = (np.arange(count) % 3).astype(np.uint8)
    data = struct.pack(">IIII", 2051, count, 6, 6) + pixels.tobytes()
    (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(data))
    head = struct.pack(">II", 2049, count)
    (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(head + labels.tobytes()))
    return pixels


def test_class_folders_become_shards_with_the_same_bytes(tmp_path: Path) -> None:
    write_classes(tmp_path / "own" / "test", per_class=4)
    write_classes(tmp_path / "own" / "train", per_class=2)
    counts = write_layout(open_source(tmp_path / "own"), tmp_path / "out" / "mine", templates=["a {c} thing"])
    assert counts == {"test": 12, "train": 6}
    (job,) = plan_run("mine", tmp_path / "out", RunConfig()).jobs
    assert job.wording.classes == ("blue", "green", "red") and job.wording.templates == ("a {c} thing",)
    (shard,) = job.pictures()
    assert shard.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert next(shard.read([5])) == drawn("green", 1)


def test_captions_become_a_retrieval_set(tmp_path: Path) -> None:
    write_captions(tmp_path / "own", per_class=2)
    assert write_layout(open_source(tmp_path / "own"), tmp_path / "mine") == {"test": 6}
    (job,) = plan_run("mine", tmp_path, RunConfig()).jobs
    assert job.task.kind == "retrieval" and job.task.metric == "mean_recall@1"
    (shard,) = job.pictures()
    assert shard.texts[0] == ("a red square", "red number 0")


def test_idx_files_become_png_without_loss(tmp_path: Path) -> None:
    test, train = write_idx(tmp_path / "own", "t10k", 6), write_idx(tmp_path / "own", "train", 9)
    for inverted in (False, True):
        out = tmp_path / str(inverted)
        source = open_source(tmp_path / "own", classes=["a", "b", "c"], is_inverted=inverted)
        assert write_layout(source, out) == {"train": 9, "test": 6}
        for split, pixels in (("test", test), ("train", train)):
            shard = read_tar(out / split / "0.tar")
            for data, expected in zip(shard.read(range(len(shard))), pixels, strict=True):
                square = prepare(data, 6)
                assert np.array_equal(square[..., 0], 255 - expected if inverted else expected)
        assert (out / "classnames.txt").read_text() == "a\nb\nc\n"


def test_a_table_of_pixels_has_its_label_last(tmp_path: Path) -> None:
    path = tmp_path / "digits.csv.gz"
    rows = [[*np.full(16, 16 if n % 2 else 0), n % 2] for n in range(4)]
    with gzip.open(path, "wt", newline="") as file:
        csv.writer(file).writerows(rows)
    assert write_layout(open_source(path), tmp_path / "digits") == {"test": 4}
    shard = read_tar(tmp_path / "digits" / "test" / "0.tar")
    assert [prepare(data, 4).max() for data in shard.read(range(4))] == [0, 255, 0, 255]


def test_a_png_of_colours_reads_back(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    assert np.array_equal(prepare(png_bytes(pixels), 5), pixels)


def test_what_is_wrong_with_ones_own_data_is_said_and_nothing_is_left(tmp_path: Path) -> None:
    def refuses(words: str, source: Path, out: str = "out", **more: object) -> None:
        with pytest.raises(DataError, match=words):
            write_layout(open_source(source), tmp_path / out, **more)
        assert not (tmp_path / "out").exists()

    own = write_classes(tmp_path / "own", per_class=2)
    refuses("has no {c}", own, templates=["a photo"])
    refuses("not empty", own, out="own")
    (own / "yellow").mkdir()
    refuses("yellow holds no picture", own)
    (own / "yellow").rmdir()
    write_classes(tmp_path / "twice", per_class=2)
    (tmp_path / "twice" / "red_").mkdir()
    (tmp_path / "twice" / "red_" / "x.png").write_bytes(drawn("red", 1))
    refuses("Two folders of test are the class 'red'", tmp_path / "twice")
    refuses("holds 1 classes", write_classes(tmp_path / "one", colours=("red",)))
    parts = tmp_path / "parts"
    write_classes(parts / "test", per_class=2, colours=("red", "blue"))
    write_classes(parts / "train", per_class=2, colours=("red", "green"))
    refuses("'green' has no picture in the split test", parts)
    (tmp_path / "empty").mkdir()
    refuses("holds no folder", tmp_path / "empty")
    refuses("neither a folder nor a .csv", tmp_path / "nowhere")
    captions = write_captions(tmp_path / "captions", per_class=1)
    (captions / "captions.jsonl").write_text(json.dumps({"file": "red-0.png", "captions": []}) + "\n")
    refuses("row 1 names no picture or no captions", captions)
    (captions / "captions.jsonl").write_text(json.dumps({"file": "x.png", "caption": "a"}) + "\n")
    refuses("names x.png, which is no picture here", captions)
    write_idx(tmp_path / "idx", "t10k", 6)
    (tmp_path / "idx" / "t10k-labels-idx1-ubyte.gz").write_bytes(b"x")
    with pytest.raises(DataError, match="cut or damaged"):
        open_source(tmp_path / "idx")
    with pytest.raises(DataError, match="Two classes are called 'a'"):
        write_idx(tmp_path / "names", "t10k", 6)
        write_layout(open_source(tmp_path / "names", classes=["a", "a", "b"]), tmp_path / "out")
    with pytest.raises(DataError, match="has the label 2; there are 2 classes"):
        write_layout(open_source(tmp_path / "names", classes=["a", "b"]), tmp_path / "out")
    assert not (tmp_path / "out").exists()
