"""`--data`: three forms give the same examples; what is wrong is one sentence with its place."""

import json
from pathlib import Path

import pytest
from own_pictures import COLOURS, drawn, write_captions, write_classes, write_list

from clipworks.errors import DataError
from clipworks.shards import Sample, write_shards
from clipworks.train import examples
from clipworks.train.examples import read_examples


def test_class_folders_give_their_names_as_labels(tmp_path: Path) -> None:
    write_classes(tmp_path, per_class=2)
    (tmp_path / "red").rename(tmp_path / "dark_red")
    found = read_examples(tmp_path)
    assert [(e.name, e.label) for e in found][:3] == [
        ("blue/00.png", "blue"),
        ("blue/01.png", "blue"),
        ("dark_red/00.png", "dark red"),
    ]
    assert {e.split for e in found} == {""}
    assert found[0].read() == drawn("blue", 0)


def test_folders_called_train_and_test_are_splits(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", per_class=3)
    write_classes(tmp_path / "test", per_class=1)
    found = read_examples(tmp_path)
    assert sum(e.split == "test" for e in found) == 3 and sum(e.split == "train" for e in found) == 9
    assert {e.label for e in found} == set(COLOURS)


def test_a_list_gives_labels_captions_and_splits(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(drawn("red", 0))
    rows: list[dict[str, object]] = [
        {"file": "a.png", "label": "grinning face", "class": "face", "split": "valid"},
        {"path": "a.png", "captions": ["one", " two "]},
    ]
    write_list(tmp_path / "metadata.jsonl", rows)
    first, second = read_examples(tmp_path)
    assert (first.label, first.texts, first.split) == ("face", ("grinning face",), "val")
    assert (second.label, second.texts, second.split) == ("", ("one", "two"), "")


def test_shards_give_labels_and_splits_of_their_details(tmp_path: Path) -> None:
    sample = Sample(
        key="a",
        image=drawn("red", 0),
        extension="png",
        texts=("a red square", "red"),
        details={"label": "red", "split": "test"},
    )
    write_shards([sample], tmp_path)
    (found,) = read_examples(tmp_path)
    assert (found.label, found.texts, found.split) == ("red", ("a red square", "red"), "test")
    assert found.read() == sample.image


def test_classes_may_be_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(drawn("red", 0))
    rows = [{"file": "a.png", "label": 0}, {"file": "a.png", "class": 12}, {"file": "a.png", "label": True}]
    (tmp_path / "labels.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert [one.label for one in read_examples(tmp_path)] == ["0", "12", ""]


def test_shards_beyond_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [Sample(key=str(n), image=drawn("red", n), extension="png", texts=("red",)) for n in range(4)]
    write_shards(samples, tmp_path / "shards")
    monkeypatch.setattr(examples, "LARGEST_TARS_BYTES", sum(len(one.image) for one in samples) - 1)
    with pytest.raises(DataError, match="held in memory.*class folders"):
        read_examples(tmp_path / "shards")


def test_an_empty_class_folder_is_named(tmp_path: Path) -> None:
    write_classes(tmp_path, per_class=1)
    (tmp_path / "yellow").mkdir()
    with pytest.raises(DataError, match="yellow holds no picture"):
        read_examples(tmp_path)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"file": "missing.png", "label": "x"}', "line 2 names missing.png, which is not in"),
        ("{", "line 2 is not JSON"),
        ('{"label": "x"}', "line 2 names no picture"),
        ('["a.png"]', "line 2 names no picture"),
        ('{"file": "a.png", "split": "dev"}', "the split 'dev'"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, words: str) -> None:
    (tmp_path / "a.png").write_bytes(drawn("red", 0))
    (tmp_path / "labels.jsonl").write_text('{"file": "a.png", "label": "x"}\n' + line + "\n")
    with pytest.raises(DataError, match=words):
        read_examples(tmp_path)


def test_nothing_to_read_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no picture"):
        read_examples(tmp_path)
    with pytest.raises(DataError, match="is not a folder"):
        read_examples(tmp_path / "nowhere")


def test_captions_of_a_list_are_all_kept(tmp_path: Path) -> None:
    found = read_examples(write_captions(tmp_path, per_class=1))
    assert found[0].texts == ("a red square", "red number 0")
