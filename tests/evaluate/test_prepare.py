"""One's own data into the published layout, and back: every picture is there, and what is wrong is said."""

import csv
import gzip
import io
import json
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
from own_pictures import drawn, write_captions, write_classes

from clipworks.errors import DataError
from clipworks.evaluate.pictures import read_tar
from clipworks.evaluate.prepare import png_bytes, write_layout
from clipworks.evaluate.run import RunConfig, plan_run
from clipworks.evaluate.sources import open_source
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


def test_shards_are_what_tarfile_writes(tmp_path: Path) -> None:
    write_classes(tmp_path / "own", per_class=3)
    write_layout(open_source(tmp_path / "own"), tmp_path / "mine", per_shard=4)
    samples = [sample for _, some in open_source(tmp_path / "own").splits for sample in some()]
    for number, start in enumerate((0, 4, 8)):
        with tarfile.open(tmp_path / "expected.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for place, sample in enumerate(samples[start : start + 4], start=start):
                for suffix, data in (("png", sample.image), ("cls", str(sample.label).encode())):
                    member = tarfile.TarInfo(f"s{place:07d}.{suffix}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
        written = (tmp_path / "mine" / "test" / f"{number}.tar").read_bytes()
        assert written == (tmp_path / "expected.tar").read_bytes()


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
    refuses("holds 1 class folders", write_classes(tmp_path / "one", colours=("red",)))
    parts = tmp_path / "parts"
    write_classes(parts / "test", per_class=2, colours=("red", "blue"))
    write_classes(parts / "train", per_class=2, colours=("red", "green"))
    refuses("'green' has no picture in the split test", parts)
    (tmp_path / "empty").mkdir()
    refuses("holds no folder", tmp_path / "empty")
    refuses("neither a folder nor a .csv", tmp_path / "nowhere")
    captions = write_captions(tmp_path / "captions", per_class=1)
    (captions / "captions.jsonl").write_text(json.dumps({"file": "red-0.png", "captions": []}) + "\n")
    refuses("row 1 has no captions and no class", captions)
    (captions / "captions.jsonl").write_text(json.dumps({"file": "x.png", "caption": "a"}) + "\n")
    refuses("names x.png, which is no picture here", captions)
    write_idx(tmp_path / "idx", "t10k", 6)
    (tmp_path / "idx" / "t10k-labels-idx1-ubyte.gz").write_bytes(b"x")
    with pytest.raises(DataError, match="cut or damaged"):
        open_source(tmp_path / "idx")
    with pytest.raises(DataError, match="Two classes are called 'a'"):
        write_idx(tmp_path / "names", "t10k", 6)
        write_layout(open_source(tmp_path / "names", classes=["a", "a", "b"]), tmp_path / "out")
    with pytest.raises(DataError, match="has the label 2; the classes are 0..1"):
        write_layout(open_source(tmp_path / "names", classes=["a", "b"]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{"file": "x.png", "caption": "a"', "is no JSON"),
        (b"\xff\xfe{}", "is no JSON"),
        (b"[1, 2]\n", "row 1 is no object"),
        (b"", "lists no picture"),
        (b'{"file": "red-0.png", "caption": [1]}', "row 1 has captions that are no texts"),
        (b'{"file": "red-0.png"}', "row 1 has no captions and no class"),
        (b'{"file": "red-0.png", "class": "a", "split": "dev"}', "row 1 has the split 'dev'"),
        (b'{"file": 3, "class": "a"}\n{"file": "red-0.png", "class": "b"}', "row 1 names 3, which is no"),
        (b'{"file": "red-0.png", "class": "a"}', "There is one class, 'a'"),
    ],
)
def test_a_list_that_cannot_be_read_is_refused(text: bytes, words: str, tmp_path: Path) -> None:
    folder = write_captions(tmp_path / "own", per_class=1)
    (folder / "captions.jsonl").write_bytes(text)
    with pytest.raises(DataError, match=words):
        write_layout(open_source(folder), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "holds no row"),
        (b"1,2,3,4,0\n1,2,3\n", "line 2 has 3 cells, the first one 5"),
        (b"1,2,3,4,5\n1,2,3,4,5.5\n", "labels that are no whole numbers"),
        (b"1,2,3,nan,0\n1,2,3,4,1\n", "cells that are no numbers"),
        (b"1,2,3,-4,0\n1,2,3,4,1\n", "pixels below 0"),
        (b"1,2,3,4,-1\n1,2,3,4,1\n", "Picture 0 has the label -1"),
        (b"1,2,3,0\n", "4 columns, which is no square picture"),
        (b"1,2,3,4,0\n", "There is one class, '0'"),
    ],
)
def test_a_table_that_is_no_pixels_is_refused(text: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(text)
    with pytest.raises(DataError, match=words):
        write_layout(open_source(tmp_path / "t.csv"), tmp_path / "out")
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(text)[:-9])
    with pytest.raises(DataError, match="is no table of numbers"):
        open_source(tmp_path / "t.csv.gz")


def test_a_list_of_labels_gives_classes_and_splits(tmp_path: Path) -> None:
    own = write_captions(tmp_path / "own", per_class=2)
    names = [f"{colour}-{n}.png" for colour in ("red", "blue") for n in range(2)]
    rows = [
        {"file": name, "class": name.partition("-")[0], "split": split}
        for name, split in zip(names, ("train", "test") * 2, strict=True)
    ]
    (own / "captions.jsonl").unlink()
    (own / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert write_layout(open_source(own), tmp_path / "mine") == {"train": 2, "test": 2}
    shard = read_tar(tmp_path / "mine" / "test" / "0.tar")
    assert shard.labels.tolist() == [1, 0] and next(shard.read([1])) == (own / "blue-1.png").read_bytes()
    assert (tmp_path / "mine" / "classnames.txt").read_text() == "blue\nred\n"
    with pytest.raises(DataError, match="is in the published layout already"):
        open_source(tmp_path / "mine")


def test_a_file_that_is_no_picture_is_not_copied(tmp_path: Path) -> None:
    own = write_classes(tmp_path / "own", per_class=1)
    (own / "red" / "broken.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"broken.png is no PNG, JPEG or WebP picture"):
        write_layout(open_source(own), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_packed_and_unpacked_idx_files_are_one_and_two_of_a_split_are_refused(tmp_path: Path) -> None:
    write_idx(tmp_path / "own", "t10k", 6)
    packed = tmp_path / "own" / "t10k-images-idx3-ubyte.gz"
    packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
    labels = tmp_path / "own" / "t10k-labels-idx1-ubyte.gz"
    labels.with_suffix("").write_bytes(gzip.decompress(labels.read_bytes()))
    assert write_layout(open_source(tmp_path / "own"), tmp_path / "out") == {"test": 6}
    write_idx(tmp_path / "own" / "more", "test", 6)
    with pytest.raises(DataError, match="are both the split test"):
        open_source(tmp_path / "own")
