"""`clipworks collect pictures` as a user calls it, and the way on: curate and train read what it wrote."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from clipworks.cli import main
from clipworks.shards import read_shards
from clipworks.tables import read_table
from clipworks.train.loader import _weight

SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="24" height="24"><path fill="{0}" d="{1}"/></svg>'
SHAPES = ("M2 2h20v9H2z", "M2 2h9v20H2z", "M12 2l10 20H2z", "M2 2l20 20h-9z", "M8 8h4v4h-4z")


def run(*words: str, status: int = 0) -> tuple[str, str]:
    result = CliRunner().invoke(main, list(words))
    assert result.exit_code == status, result.output
    return result.stdout, result.stderr


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def icons() -> list[dict[str, Any]]:
    return [
        {
            "svg": SVG.format("#000", shape),
            "texts": [{"key": "name", "text": f"shape {number}"}, "a thing"],
            "probs": [{"text": f"shape {number}", "prob": 0.9}, {"text": "a thing", "prob": 0.1}],
            "mono": True,
            "licence": "MIT",
        }
        for number, shape in enumerate(SHAPES)
    ]


@pytest.fixture
def icon_list(tmp_path: Path) -> str:
    return write(tmp_path / "icons.jsonl", [*icons(), {"svg": "<svg", "texts": ["broken"]}])


def test_drawings_become_shards_with_all_captions_and_columns(icon_list: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    stdout, stderr = run("collect", "pictures", icon_list, "--out", str(out), "--set", "side=16", "--json")
    told = json.loads(stdout)
    assert (told["rows"], told["pictures"], told["counts"]) == (6, 5, {"not_drawn": 1, "resvg": 5})
    assert "5 pictures of 6 rows" in stderr
    samples = list(read_shards(out))
    assert samples[0].texts == ("shape 0", "a thing") and samples[0].details["mono"] is True
    table = read_table(out / "00000.parquet").to_pylist()
    assert table[0]["texts"][0] == {"key": "name", "text": "shape 0"} and table[0]["licence"] == "MIT"
    assert (table[5]["status"], table[5]["reason"], table[5]["licence"]) == (
        "failed_to_resize",
        "not_drawn",
        None,
    )
    assert len({row["uid"] for row in table}) == 6


def test_the_bytes_do_not_hang_on_workers_or_on_an_interruption(icon_list: str, tmp_path: Path) -> None:
    words = ["collect", "pictures", icon_list, "--set", "side=16", "--set", "rows_per_shard=2", "--out"]
    run(*words, str(tmp_path / "a"))
    for name in ("00001.tar", "00001.part.json", "manifest.json"):
        (tmp_path / "a" / name).unlink()
    run(*words, str(tmp_path / "a"))
    run(*words, str(tmp_path / "b"))
    for name in ("00000.tar", "00001.tar", "00002.tar", "00001.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_files_lie_beside_the_list(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20), "red").save(tmp_path / "a.png")
    rows = [{"file": "a.png", "texts": ["red"], "uid": "0" * 31 + "1", "url": "https://a.example/a.png"}]
    write(tmp_path / "list.jsonl", rows)
    stdout, _ = run("collect", "pictures", str(tmp_path), "--out", str(tmp_path / "out"))
    assert ["pixels", "1"] in [line.split() for line in stdout.splitlines()]
    row = read_table(tmp_path / "out/00000.parquet").to_pylist()[0]
    assert (row["uid"], row["url"]) == (rows[0]["uid"], rows[0]["url"])


def test_a_plan_counts_and_writes_nothing(icon_list: str, tmp_path: Path) -> None:
    words = ("collect", "pictures", icon_list, "--out", str(tmp_path / "out"), "--dry-run")
    assert json.loads(run(*words, "--json")[0])["rows"] == {icon_list: 6}
    assert "6" in run(*words)[0] and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"texts": ["a"]}, "neither `svg` nor `file`"),
        ({"svg": "<svg/>", "file": "a.png", "texts": ["a"]}, "or both"),
        ({"svg": "<svg/>"}, "no texts"),
        ({"svg": "<svg/>", "texts": [3]}, "has the text 3"),
        ({"svg": "<svg/>", "texts": ["a"], "status": "x"}, "has 'status'"),
        ({"svg": "<svg/>", "texts": ["a"], "uid": "7"}, "has the uid '7'"),
        ({"svg": "<svg/>", "texts": ["a"], "uid": 7}, "has the uid 7"),
    ],
)
def test_rows_in_another_form_are_one_sentence(row: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = write(tmp_path / "list.jsonl", [row])
    _, stderr = run("collect", "pictures", path, "--out", str(tmp_path / "out"), status=1)
    assert "line 1" in stderr and words in stderr


@pytest.mark.parametrize("value", ["many", "\ud800"])
def test_columns_of_two_kinds_and_halves_of_characters_are_one_sentence(value: str, tmp_path: Path) -> None:
    rows = [
        {"svg": "<svg/>", "texts": ["a"], "more": one} for one in ([1] if value == "many" else []) + [value]
    ]
    path = write(tmp_path / "list.jsonl", rows)
    _, stderr = run("collect", "pictures", path, "--out", str(tmp_path / "out"), status=1)
    assert "The rows of" in stderr and "are no table" in stderr


def test_rows_without_a_weight_weigh_one(tmp_path: Path) -> None:
    rows = [icons()[0] | {"weight": 3.0}, icons()[1]]
    run("collect", "pictures", write(tmp_path / "list.jsonl", rows), "--out", str(tmp_path / "out"))
    assert [_weight(sample) for sample in read_shards(tmp_path / "out")] == [3.0, 1.0]


def test_lists_that_are_missing_or_no_json_are_one_sentence(tmp_path: Path) -> None:
    _, stderr = run("collect", "pictures", str(tmp_path), "--out", str(tmp_path / "out"), status=1)
    assert "is no list of pictures" in stderr
    (tmp_path / "list.jsonl").write_text("{")
    _, stderr = run("collect", "pictures", str(tmp_path), "--out", str(tmp_path / "out"), status=1)
    assert "line 1, is not JSON" in stderr


def test_what_looks_like_a_held_out_picture_is_curated_away(icon_list: str, tmp_path: Path) -> None:
    out, held = tmp_path / "out", tmp_path / "held"
    run("collect", "pictures", icon_list, "--out", str(out), "--set", "side=32")
    other = icons()[2] | {"svg": SVG.format("#000", SHAPES[2]).replace('svg"', 'svg" id="b"')}
    run("collect", "pictures", write(tmp_path / "h.jsonl", [other]), "--out", str(held), "--set", "side=32")
    hashes = str(tmp_path / "held.npy")
    assert "1 hashes of 1 pictures" in run("curate", "hashes", str(held), "--out", hashes)[0]
    words = ["--set", "keep=everything", "--set", "texts=chars >= 1", "--set", f"evaluation={hashes}"]
    words += ["--set", "evaluation_distance=0", "--set", "phash_distance=-1"]
    run("curate", str(out), "--recipe", "small", "--out", str(tmp_path / "pool"), *words)
    left = list(read_shards(tmp_path / "pool"))
    assert [sample.texts[0] for sample in left] == ["shape 0", "shape 1", "shape 3", "shape 4"]
    assert left[0].details["probs"][0] == {"text": "shape 0", "prob": 0.9}
