"""`clipworks collect pairs` as a user calls it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from clipworks.cli import main

SMALL = str(Path(__file__).parents[2] / "examples" / "crawl" / "scikit.warc.gz")


def run(*words: str, status: int = 0) -> tuple[str, str]:
    result = CliRunner().invoke(main, ["collect", "pairs", *words])
    assert result.exit_code == status, result.output
    return result.stdout, result.stderr


def test_pairs_are_written_and_counted(tmp_path: Path) -> None:
    stdout, _ = run(SMALL, "--out", str(tmp_path / "out"), "--json")
    counts = json.loads(stdout)
    assert (counts["archives"], counts["pairs"], counts["images"]) == (1, 185, 286)
    assert (tmp_path / "out" / "scikit.pairs.parquet").is_file()
    stdout, _ = run(SMALL, "--out", str(tmp_path / "out"))
    assert ["pairs", "185"] in [line.split() for line in stdout.splitlines()]


def test_an_archive_without_a_text_says_what_to_do(tmp_path: Path) -> None:
    html = b'HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<img src="http://a.example/1.png">'
    for name, block in (("pictures", html), ("none", b"HTTP/1.1 200 OK\r\n\r\n")):
        head = f"WARC/1.0\r\nWARC-Type: response\r\nContent-Length: {len(block)}\r\n\r\n"
        (tmp_path / f"{name}.warc").write_bytes(head.encode() + block + b"\r\n\r\n")
    _, stderr = run(str(tmp_path / "pictures.warc"), "--out", str(tmp_path / "a"))
    assert "No picture has a text; --keep-textless writes the 1 without." in stderr
    _, stderr = run(str(tmp_path / "none.warc"), "--out", str(tmp_path / "b"))
    assert "No page with a picture was found" in stderr


def test_a_plan_writes_nothing(tmp_path: Path) -> None:
    stdout, _ = run(SMALL, "--out", str(tmp_path / "out"), "--dry-run", "--json")
    assert json.loads(stdout)["archives"] == 1
    stdout, _ = run(SMALL, "--out", str(tmp_path / "out"), "--dry-run")
    assert "missing bytes" in stdout and not (tmp_path / "out").exists()


def test_an_unreadable_archive_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    (tmp_path / "bad.warc.gz").write_bytes(b"no archive")
    _, stderr = run(SMALL, str(tmp_path / "bad.warc.gz"), "--out", str(tmp_path / "out"), "--json")
    assert "bad.warc.gz: It holds no whole WARC record." in stderr
    assert "Repeat the command to try 1 archive again." in stderr
    _, stderr = run(str(tmp_path / "bad.warc.gz"), "--out", str(tmp_path / "none"), status=1)
    assert "No archive could be read." in stderr


@pytest.mark.parametrize("words", [[], [SMALL]])
def test_wrong_usage_ends_with_two(words: list[str]) -> None:
    run(*words, status=2)


def test_a_missing_archive_is_one_sentence(tmp_path: Path) -> None:
    _, stderr = run(str(tmp_path / "none.warc.gz"), "--out", str(tmp_path / "out"), status=1)
    assert stderr == f"Error: {tmp_path / 'none.warc.gz'} does not exist.\n"
