"""What is behind a name: every kind of source, in order, and a failure in its place for what is wrong."""

import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from clipworks.search.entries import MAX_LINE_BYTES, Entry, Failure, count_entries, read_entries
from clipworks.shards import Sample, write_shards
from tests.serve.colours import picture


def names(*sources: Path) -> list[str]:
    return [one.name for one in read_entries(sources)]


def failures(*sources: Path) -> list[str]:
    return [one.reason for one in read_entries(sources) if isinstance(one, Failure)]


def shard(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def test_a_folder_gives_its_pictures_and_shards_in_the_order_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / ".hidden").mkdir()
    for name in ("b/1.png", "z.jpg", "a.webp", ".hidden/2.png", ".3.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    shard(tmp_path / "m.tar", {"k.png": b"xx", "k.txt": b"words", "l.JPG": b"yyy"})
    found = names(tmp_path)
    assert [name.removeprefix(f"{tmp_path}/") for name in found] == [
        "a.webp",
        "m.tar/k.png",
        "m.tar/l.JPG",
        "z.jpg",
        "b/1.png",
    ]


def test_sources_come_in_the_order_given_and_as_often_as_given(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    (tmp_path / "t.txt").write_text("one\n\n  two \n")
    a = str(tmp_path / "a.png")
    assert names(tmp_path / "t.txt", tmp_path / "a.png", tmp_path / "t.txt") == [
        "one",
        "two",
        a,
        "one",
        "two",
    ]


def test_a_glob_gives_pictures_shards_and_captions(tmp_path: Path) -> None:
    for name in ("1.png", "2.txt", "3.csv"):
        (tmp_path / name).write_text("words")
    assert names(tmp_path / "*") == [str(tmp_path / "1.png"), "words"]


def test_a_member_of_a_shard_is_the_bytes_at_its_offset(tmp_path: Path) -> None:
    path = shard(tmp_path / "m.tar", {"k.txt": b"words", "k.png": picture("red")})
    (entry,) = read_entries([path])
    assert isinstance(entry, Entry)
    content = path.read_bytes()[entry.offset : entry.offset + entry.size_bytes]
    assert content == picture("red")


def test_the_shards_that_training_writes_are_read(tmp_path: Path) -> None:
    samples = (Sample(key=f"k{i}", image=picture("red"), extension="png", texts=("a",)) for i in range(5))
    write_shards(samples, tmp_path / "shards", samples_per_shard=2)
    assert [Path(name).name for name in names(tmp_path / "shards")] == [f"k{i}.png" for i in range(5)]


@pytest.mark.parametrize("key", ["caption", "text", "label", "title"])
def test_captions_in_json_are_found_under_their_usual_names(tmp_path: Path, key: str) -> None:
    file = tmp_path / "c.jsonl"
    file.write_text(json.dumps({"file": "a.png", key: " a dog "}) + '\n\n"a cat"\n')
    assert names(file) == ["a dog", "a cat"]


def test_a_line_without_a_text_is_a_failure_in_its_place(tmp_path: Path) -> None:
    file = tmp_path / "c.jsonl"
    file.write_bytes(b'{"caption": "a"}\nnonsense\n{"caption": ""}\n[1]\n\xff\n{"caption": "b"}\n')
    found = list(read_entries([file]))
    assert [one.name for one in found if isinstance(one, Entry)] == ["a", "b"]
    reasons = [one.reason for one in found[1:5] if isinstance(one, Failure)]
    assert reasons[0].startswith(f"{file}, line 2 is not JSON")
    assert "line 3 holds no text under caption" in reasons[1]
    assert "line 4 holds no text" in reasons[2]
    assert "line 5 is not text in UTF-8" in reasons[3]


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_a_text(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_bytes("one\r\ntwo\r\n".encode("utf-8-sig"))
    assert names(tmp_path / "c.txt") == ["one", "two"]


def test_a_line_that_never_ends_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_bytes(b"one\n" + b"x" * (2 * MAX_LINE_BYTES + 5) + b"\ntwo\n")
    assert names(tmp_path / "c.txt") == ["one", f"{tmp_path / 'c.txt'}, line 2", "two"]
    assert failures(tmp_path / "c.txt") == [f"{tmp_path / 'c.txt'}, line 2 is too long."]


def test_a_name_with_nothing_behind_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "c.txt").write_text("\n \n")
    shard(tmp_path / "m.tar", {"k.txt": b"words"})
    for name, words in {
        "empty": "holds no pictures and no tar shards",
        "c.txt": "holds no text",
        "m.tar": "holds no pictures",
        "none.png": "does not exist. Check the path.",
        "*.gif": "No picture matches",
    }.items():
        (reason,) = failures(tmp_path / name)
        assert words in reason and str(tmp_path / name) in reason


def test_a_shard_without_pictures_inside_a_folder_is_passed_over(tmp_path: Path) -> None:
    shard(tmp_path / "backup.tar", {"k.txt": b"words"})
    (tmp_path / "a.png").write_bytes(b"x")
    assert names(tmp_path) == [str(tmp_path / "a.png")]


def test_a_shard_that_is_cut_short_gives_what_is_before_the_cut(tmp_path: Path) -> None:
    path = shard(tmp_path / "m.tar", {"a.png": b"x" * 600, "b.png": b"y" * 600})
    path.write_bytes(path.read_bytes()[:2000])
    found = list(read_entries([path]))
    assert found[0].name == f"{path}/a.png"
    assert isinstance(found[-1], Failure) and "cannot be read to its end" in found[-1].reason
    path.write_bytes(path.read_bytes()[:1536])
    assert "its end mark is missing" in failures(path)[0]


def test_a_shard_with_a_damaged_header_is_a_failure_behind_what_could_be_read(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.tar", {f"{i}.png": b"xx" for i in range(4)})
    data = bytearray(path.read_bytes())
    data[1024 + 100] ^= 0xFF  # the second member's header
    path.write_bytes(data)
    assert names(path) == [f"{path}/0.png", str(path)]
    assert "a header is damaged" in failures(path)[0]
    path.write_bytes(b"no tar at all")
    (reason,) = failures(path)
    assert "cannot be read to its end" in reason


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_captions_file_that_may_not_be_read_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("x")
    (tmp_path / "c.txt").chmod(0)
    assert "cannot be read: Permission denied" in failures(tmp_path / "c.txt")[0]


def test_entries_are_counted_without_being_kept(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("one\ntwo\n")
    assert count_entries([tmp_path / "c.txt", tmp_path / "none.png"]) == (2, 1)
