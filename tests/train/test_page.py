"""The page of a run."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from clipworks.errors import DataError
from clipworks.train.metrics import Step, read_lines, read_means
from clipworks.train.page import render_page, write_page


def lines(count: int) -> list[dict[str, Any]]:
    steps = [
        Step(
            step=n,
            loss=4.0 / (n + 1),
            accuracy=n / count,
            learning_rate=1e-3,
            gradient_norm=1.0,
            logit_scale=14.0,
            seconds=0.5,
            wait_seconds=0.1,
            pairs_per_second=64.0,
            mfu=0.3,
            memory_bytes=2**30,
            skipped=2,
        )
        for n in range(count)
    ]
    return [json.loads(step.to_json()) for step in steps]


def test_the_page_needs_nothing_else_and_says_what_happened() -> None:
    evaluations = [{"step": 10, "held/top1": 0.25}, {"step": 20, "held/top1": 0.5}]
    page = render_page("a <run>", {"batch_size": 32, "steps": 20}, lines(20), evaluations)
    assert "a &lt;run&gt;" in page and page.count("<svg") == 10
    assert "http://www.w3.org/2000/svg" in page and page.count("http") == page.count(
        "http://www.w3.org/2000/svg"
    )
    for words in ("20 of 20", "20.0%", "<td>40</td>", "30.0%", "held/top1 at step 20", "0.5000"):
        assert words in page


def test_a_step_that_fp16_left_out_is_strict_json_and_has_a_page() -> None:
    left_out = Step(
        step=20,
        loss=float("nan"),
        learning_rate=1.0,
        gradient_norm=float("inf"),
        logit_scale=1.0,
        seconds=1.0,
    )
    line = json.loads(left_out.to_json(), parse_constant=pytest.fail)
    assert (line["loss"], line["gradient_norm"], line["mfu"], line["seconds"]) == (None, None, None, 1.0)
    page = render_page("run", {"batch_size": 32, "steps": 21}, [*lines(20), line], [])
    assert "21 of 21" in page and "nan" not in page


def test_a_run_without_steps_has_a_page_too() -> None:
    assert "0 of 20" in render_page("run", {"batch_size": 32, "steps": 20}, [], [])


def test_the_files_are_written_from_the_lines_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text('{"config": {"batch_size": 32, "steps": 3}}')
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines(3)) + '{"st')
    write_page(tmp_path)
    assert "3 of 3" in (tmp_path / "report.html").read_text()
    ElementTree.fromstring((tmp_path / "loss.svg").read_text())


def test_a_long_run_is_held_as_means_with_the_same_sums(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines(1003)))
    rows = read_means(tmp_path / "m.jsonl", 100)
    assert len(rows) == 92 and [row["steps"] for row in rows] == [11] * 91 + [2]
    assert rows[1]["step"] == 16 and rows[1]["loss"] == pytest.approx(sum(4 / n for n in range(12, 23)) / 11)
    config = {"batch_size": 32, "steps": 2000}
    facts = [render_page("run", config, some, []).split("</table>")[0] for some in (rows, lines(1003))]
    assert "1,003 of 2,000" in facts[0] and "<td>2,006</td>" in facts[0]
    assert facts[0].split("Time")[1] == facts[1].split("Time")[1]
    assert read_means(tmp_path / "none.jsonl", 100) == []


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"step": 0}\nno\n{"step": 1}\n')
    with pytest.raises(DataError, match="Line 2 of .*m.jsonl"):
        read_lines(tmp_path / "m.jsonl")
    (tmp_path / "m.jsonl").write_text("[]\n")
    with pytest.raises(DataError, match="no JSON object"):
        read_lines(tmp_path / "m.jsonl")
    assert read_lines(tmp_path / "none.jsonl") == []
