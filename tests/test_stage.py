import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from stage_work import double, double_or_die, raise_an_error

from clipworks.errors import ConfigError, DataError
from clipworks.files import exclusive_lock
from clipworks.stage import Made, Source, digest_of_files, find_part, part_files, run_stage

SOURCES = [Source(name=f"part-{n:03}", path="abcdefgh"[: n % 8 + 1], digest=str(n)) for n in range(12)]

PROGRAM = """
import sys
from pathlib import Path
from stage_work import double
from test_stage import SOURCES
from clipworks.stage import run_stage
run_stage(double, SOURCES, Path(sys.argv[1]), stage="doubling", config={"n": 1}, workers=int(sys.argv[2]),
          show=lambda done, total, words: print(done, flush=True))
"""


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def run(folder: Path, sources: Sequence[Source] = SOURCES, workers: int = 1) -> dict[str, Any]:
    return run_stage(double, sources, folder, stage="doubling", config={"n": 1}, workers=workers)


def fail(source: Source, folder: Path) -> Made:
    return Made(rows=0, failure="It cannot be read.")


def test_the_manifest_sums_what_the_parts_say_in_the_order_of_the_sources(tmp_path: Path) -> None:
    manifest = run(tmp_path)
    assert manifest["rows"] == sum(len(source.path) for source in SOURCES)
    assert manifest["counts"] == {"letters": 2 * sum(len(source.path) for source in SOURCES)}
    assert [path.stem for path in part_files(tmp_path, ".txt")] == [source.name for source in SOURCES]
    assert run(tmp_path) == manifest


def test_processes_give_the_bytes_of_one_process(tmp_path: Path) -> None:
    run(tmp_path / "one")
    run(tmp_path / "many", workers=3)
    assert contents(tmp_path / "one") == contents(tmp_path / "many")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_that_is_killed_at_random_moments_ends_in_the_same_bytes(tmp_path: Path, workers: int) -> None:
    run(tmp_path / "undisturbed")
    chance = random.Random(workers)
    tests = os.pathsep.join(path for path in sys.path if path)
    for _ in range(10):
        command = [sys.executable, "-c", PROGRAM, str(tmp_path / "killed"), str(workers)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": tests}, start_new_session=True
        )
        assert process.stdout is not None
        for _ in range(chance.randrange(1, 6)):
            process.stdout.readline()
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    run(tmp_path / "killed")
    assert contents(tmp_path / "killed") == contents(tmp_path / "undisturbed")


@pytest.mark.slow
def test_a_source_that_kills_its_process_fails_alone(tmp_path: Path) -> None:
    sources = [*SOURCES[:3], Source(name="bad", path="deadly", digest="x"), *SOURCES[3:6]]
    manifest = run_stage(double_or_die, sources, tmp_path, stage="doubling", config={}, workers=2)
    parts = {part["name"]: part for part in manifest["parts"]}
    assert parts["bad"]["failure"] == "Its process died 3 times."
    assert manifest["counts"]["failed_sources"] == 1
    assert manifest["rows"] == sum(len(source.path) for source in SOURCES[:6])


def test_a_source_that_cannot_be_read_is_counted_and_told(tmp_path: Path) -> None:
    sources = [SOURCES[0], Source(name="bad", path="damaged", digest="x")]
    manifest = run_stage(double_or_die, sources, tmp_path, stage="doubling", config={})
    assert manifest["counts"] == {"failed_sources": 1, "letters": 2}
    assert manifest["parts"][1]["failure"] == "It cannot be read."


def test_an_error_of_the_work_ends_the_stage_and_the_parts_stay(tmp_path: Path) -> None:
    def fail_at_the_third(source: Source, folder: Path) -> Made:
        if source.name == "part-002":
            raise DataError("The disk is full.")
        return double(source, folder)

    with pytest.raises(DataError, match="disk is full"):
        run_stage(fail_at_the_third, SOURCES, tmp_path, stage="doubling", config={"n": 1})
    assert find_part(tmp_path, SOURCES[1]) is not None
    assert find_part(tmp_path, SOURCES[2]) is None
    run(tmp_path)
    assert len(list(part_files(tmp_path, ".txt"))) == len(SOURCES)


def test_a_source_that_changed_is_made_again_and_one_that_is_added_made(tmp_path: Path) -> None:
    run(tmp_path, SOURCES[:3])
    kept = (tmp_path / "part-001.txt").stat().st_mtime_ns
    (tmp_path / "part-002.txt").write_text("as it was")
    manifest = run(tmp_path, [*SOURCES[:2], replace(SOURCES[2], digest="new"), SOURCES[3]])
    assert [part["name"] for part in manifest["parts"]] == [f"part-{n:03}" for n in range(4)]
    assert (tmp_path / "part-001.txt").stat().st_mtime_ns == kept
    assert (tmp_path / "part-002.txt").read_text() == "abcabc"


def test_what_a_source_left_under_another_name_or_before_it_changed_is_removed(tmp_path: Path) -> None:
    def two_files(source: Source, folder: Path) -> Made:
        (folder / f"{source.name}.log").write_text("")
        made = double(source, folder)
        return replace(made, files=[*made.files, f"{source.name}.log"])

    run_stage(two_files, SOURCES[:2], tmp_path, stage="doubling", config={"n": 1})
    run(tmp_path, [replace(SOURCES[0], name="part-000-ab12"), replace(SOURCES[1], digest="new")])
    parts = {f"{name}{end}" for name in ("part-000-ab12", "part-001") for end in (".txt", ".part.json")}
    assert set(contents(tmp_path)) == {"stage.json", "manifest.json", *parts}


@pytest.mark.parametrize(
    "sources", [SOURCES[:2], [*SOURCES[:2], Source(name="part-002", path="zz", digest="new")]]
)
def test_a_folder_of_other_sources_is_refused_and_kept(tmp_path: Path, sources: list[Source]) -> None:
    run(tmp_path, SOURCES[:3])
    whole = contents(tmp_path)
    with pytest.raises(ConfigError, match="begun with another input, abc"):
        run(tmp_path, sources)
    assert contents(tmp_path) == whole
    (tmp_path / "part-002.part.json").write_text("{")
    with pytest.raises(ConfigError, match="begun with another input, part-002"):
        run(tmp_path, SOURCES[:2])


def test_what_failed_is_tried_again_whenever_the_stage_is_repeated(tmp_path: Path) -> None:
    assert run_stage(fail, SOURCES[:1], tmp_path, stage="doubling", config={"n": 1})["rows"] == 0
    assert run(tmp_path, SOURCES[:1])["counts"] == {"letters": 2}


def test_a_stage_that_made_nothing_leaves_the_folder_to_others(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="disk is full"):
        run_stage(raise_an_error, SOURCES[:1], tmp_path, stage="halving", config={"n": 3})
    assert run(tmp_path)["stage"] == "doubling"


def test_an_error_of_the_system_names_the_file_that_it_is_about(tmp_path: Path) -> None:
    def read_what_is_gone(source: Source, folder: Path) -> Made:
        (tmp_path / "gone.txt").read_text()
        return double(source, folder)

    with pytest.raises(DataError, match=r"gone\.txt cannot be read: No such file"):
        run_stage(read_what_is_gone, SOURCES, tmp_path / "out", stage="doubling", config={})


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"digest": "1", "files": 3}'])
def test_a_damaged_part_is_made_again(tmp_path: Path, damage: str) -> None:
    run(tmp_path)
    whole = contents(tmp_path)
    (tmp_path / "manifest.json").unlink()
    (tmp_path / "part-001.part.json").write_text(damage)
    (tmp_path / "part-002.txt").write_text("cut")
    run(tmp_path)
    assert contents(tmp_path) == whole


def test_a_folder_begun_otherwise_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "a")
    with pytest.raises(ConfigError, match=r"begun with n 1, not 2"):
        run_stage(double, SOURCES, tmp_path / "a", stage="doubling", config={"n": 2})
    with pytest.raises(ConfigError, match=r"begun by another stage, 'doubling', not 'halving'"):
        run_stage(double, SOURCES, tmp_path / "a", stage="halving", config={"n": 1})
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "letter.doc").touch()
    with pytest.raises(DataError, match="holds other files"):
        run(tmp_path / "b")
    with pytest.raises(ConfigError, match="Two sources are called 'part-000'"):
        run(tmp_path / "c", [SOURCES[0], SOURCES[0]])


def test_a_folder_that_another_process_writes_is_refused(tmp_path: Path) -> None:
    with (
        exclusive_lock(tmp_path / "out" / ".lock"),
        pytest.raises(DataError, match="being written by another process"),
    ):
        run(tmp_path / "out")


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"/file is a file\. Choose another --out"):
        run(tmp_path / "file")
    with pytest.raises(DataError, match="cannot be written"):
        run(tmp_path / "file" / "out")


def test_a_missing_file_of_a_finished_folder_is_an_error(tmp_path: Path) -> None:
    run(tmp_path)
    (tmp_path / "part-001.txt").unlink()
    with pytest.raises(DataError, match=r"part-001\.txt is missing"):
        list(part_files(tmp_path, ".txt"))


def test_the_digest_of_files_is_of_their_content_and_of_words(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = digest_of_files([tmp_path / "a"], "x")
    assert first != digest_of_files([tmp_path / "a"], "y")
    (tmp_path / "a").write_text("2")
    assert first != digest_of_files([tmp_path / "a"], "x")
    assert len(first) == 64


def test_the_part_says_what_it_was_made_of(tmp_path: Path) -> None:
    run(tmp_path)
    part = json.loads((tmp_path / "part-001.part.json").read_text())
    assert part["source"] == "ab"
    assert part["files"]["part-001.txt"]["bytes"] == 4
