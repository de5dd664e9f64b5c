"""`clipworks evaluate` and `report`: from class folders to a page, and the exit status of the gate."""

import json
from pathlib import Path

import pytest
from own_pictures import write_classes

from tests.cli.conftest import Run
from tests.conftest import TinyClip


@pytest.fixture
def data(tmp_path: Path, run: Run) -> Path:
    own = write_classes(tmp_path / "own", per_class=6)
    run("evaluate", "prepare", own, "--out", tmp_path / "data" / "colours", "--template", "a {c} thing")
    return tmp_path / "data"


@pytest.mark.slow
def test_ones_own_pictures_become_results_and_a_page(
    run: Run, data: Path, tmp_path: Path, tiny_clip: TinyClip
) -> None:
    out = tmp_path / "results"
    arguments = ("evaluate", tiny_clip.native, "--suite", "colours", "--data", data, "--out", out)
    printed = run(*arguments)
    assert printed.stdout.splitlines()[1].split()[:2] == ["colours", "acc1"]
    again = run(*arguments, "--json")
    assert "(was there)" in again.stderr and json.loads(again.stdout)["n"] == 18
    assert "no published number" in run(*arguments, "--verify", status=1).stderr
    page = run("report", out, "--out", tmp_path / "page").stderr
    assert (tmp_path / "page" / "report.html").is_file() and "report.csv" in page
    assert "data:image/png;base64," in (tmp_path / "page" / "report.html").read_text()
    told = json.loads(run("report", out, "--baseline", out, "--json").stdout)
    assert told["gate"] == {"is_passed": True, "failed": [], "missing": []}
    (path,) = out.rglob("colours.json")
    old = tmp_path / "old" / "x"
    old.mkdir(parents=True)
    for suffix in ("json", "npz"):
        (old / f"more.{suffix}").write_bytes(path.with_suffix(f".{suffix}").read_bytes())
    content = json.loads((old / "more.json").read_text())
    content["task"], content["outcomes"]["file"] = "more", "more.npz"
    (old / "more.json").write_text(json.dumps(content))
    (old / "colours.json").write_bytes(path.read_bytes())
    (old / "colours.npz").write_bytes(path.with_suffix(".npz").read_bytes())
    failed = run("report", out, "--baseline", tmp_path / "old", status=1)
    assert "Missing: more is in the baseline" in failed.stderr and "The gate failed" in failed.stderr


def test_a_plan_is_printed_and_nothing_computed(run: Run, data: Path, tmp_path: Path) -> None:
    arguments = ("evaluate", "nowhere", "--suite", "colours", "--data", data, "--out", tmp_path / "out")
    plan = json.loads(run(*arguments, "--dry-run", "--json").stdout)
    assert (plan["task"], plan["pictures"]) == ("colours", 18)
    assert "colours" in run(*arguments, "--dry-run").stdout
    assert not (tmp_path / "out").exists()


def test_wrong_inputs_are_one_sentence(run: Run, data: Path, tmp_path: Path) -> None:
    def fails(*arguments: object) -> str:
        error = run("evaluate", "pictogram", *arguments, "--out", tmp_path / "out", status=1).stderr
        assert error.count("\n") == 1
        return str(error)

    assert "no published number of pictogram" in fails("--suite", "colours", "--data", data, "--verify")
    assert not (tmp_path / "out").exists()  # said before anything is computed
    assert "no suite or task 'colors'" in fails("--suite", "colors", "--data", data)
    assert "holds none of the 38 data sets" in fails("--suite", "datacomp38", "--data", data)
    assert "is not a folder" in fails("--suite", "colours", "--data", tmp_path / "nowhere")
    assert "precision is 'f8'" in fails("--suite", "colours", "--data", data, "--set", "precision=f8")
    assert "shots is 'x'" in fails("--suite", "colours", "--data", data, "--set", "shots=x")
    assert "probe is false" in fails("--suite", "colours", "--data", data, "--set", "shots=1")
    assert "draws is 11" in fails("--suite", "colours", "--data", data, "--set", "draws=11")
    (data / "colours" / "test" / "0.tar").unlink()
    assert "lacks 0.tar of 1 shards" in fails("--suite", "colours", "--data", data)
    run("evaluate", status=2)
    table = tmp_path / "t.csv"
    table.write_text("1,2,3,4,0\n5,6,7,8,1\n")
    prepare = ("evaluate", "prepare", table, "--out", tmp_path / "made")
    assert "is a suite of 38 tasks" in run(*prepare, "--like", "datacomp38", status=1).stderr
    assert "nowhere.txt does not exist" in run(*prepare, "--classes", "nowhere.txt", status=1).stderr
    assert (
        "are not on the Hub"
        in run("evaluate", "fetch", "--suite", "offline", "--out", tmp_path / "f", status=1).stderr
    )
    assert not (tmp_path / "made").exists() and not (tmp_path / "f").exists()
    assert "does not exist" in run("report", tmp_path / "nowhere", status=1).stderr
