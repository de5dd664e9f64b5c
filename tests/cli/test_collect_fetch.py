import json
import re
from dataclasses import asdict, fields
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from clipworks.cli import main
from clipworks.collect.settings import FetchConfig


def run(*words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, ["collect", "fetch", *words])
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def refused(tmp_path: Path) -> Path:
    """A list for which nothing is asked: private addresses, and a host that opted out."""
    path = tmp_path / "list.csv"
    lines = ["http://127.0.0.1/cat.jpg,A cat", "http://[::1]/dog.jpg,A dog", "http://out.example/1.jpg,Out"]
    path.write_text("\n".join(["url,caption", *lines, "not an address,Nothing", ""]))
    (tmp_path / "opt.txt").write_text("out.example\n")
    return path


def test_a_list_becomes_shards_with_a_row_for_each_address(refused: Path, tmp_path: Path) -> None:
    out, opt_outs = tmp_path / "images", tmp_path / "opt.txt"
    words = (str(refused), "--out", str(out), "--opt-outs", str(opt_outs), "--workers", "1")
    code, stdout, stderr = run(*words, "--json")
    assert code == 0, stderr
    counts = {"blocked": 2, "malformed": 1, "opt_out": 1}
    assert json.loads(stdout) == {"out": str(out), "rows": 4, "pictures": 0, "counts": counts}
    assert pq.read_table(out / "00000.parquet").num_rows == 4
    assert "0 pictures of 4 rows" in stderr
    assert "No picture was kept, mostly because of 'blocked'; docs/fetch.md says" in stderr
    code, stdout, _ = run(*words)
    assert code == 0 and "opt_out" in stdout
    code, _, stderr = run(str(out), "--out", str(tmp_path / "again"), "--retry-failed")
    assert code == 1 and "no rows" in stderr


def test_every_setting_stands_on_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "fetch.md").read_text(encoding="utf-8")
    groups = [value for value in asdict(FetchConfig()).values() if isinstance(value, dict)]
    names = {name for group in groups for name in group} | {field.name for field in fields(FetchConfig)}
    groups_named = {"images", "visits", "hosts", "consent", "crawl"}
    assert [
        name for name in sorted(names - groups_named) if not re.search(f"`{name}\\b|set {name}=", page)
    ] == []


def test_a_dry_run_prints_the_plan_and_writes_nothing(refused: Path, tmp_path: Path) -> None:
    words = (str(refused), "--out", str(tmp_path / "images"), "--dry-run", "--set", "image_size=128")
    code, stdout, _ = run(*words, "--json")
    plan = json.loads(stdout)
    assert code == 0 and plan["shards"] == 1 and plan["settings"]["images"]["image_size"] == 128
    assert plan["url_column"] == "url" and not (tmp_path / "images").exists()
    code, stdout, _ = run(*words)
    assert code == 0 and "image_size" in stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "image_sise=3"], "Nearest"),
        (["--set", "ports=a"], "whole numbers with commas between"),
        (["--set", "ports=80,0"], "ports from 1 to 65535"),
        (["--set", "verify=md5", "--dry-run"], "no column 'md5' to verify by"),
        (["--url-column", "nothing"], "no column 'nothing'"),
        (["--retry-failed"], "not a folder"),
    ],
)
def test_mistakes_are_sentences(refused: Path, tmp_path: Path, words: list[str], message: str) -> None:
    code, _, stderr = run(str(refused), "--out", str(tmp_path / "images"), *words)
    assert code == 1 and message in stderr
