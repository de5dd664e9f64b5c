"""The ablation in small: runs that are counted, a table with intervals; one run from end to end."""

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.suites import Suite
from clipworks.files import write_json
from recipes import ablation, ablation_report


def run_of(entry: str, seed: int, more: float) -> dict[str, Any]:
    scores = {
        suite: {measure: {"value": 10 + more + seed}}
        for suite, (measure, _) in ablation_report.MEASURES.items()
    }
    counts = {"pictures": 100 if entry == "none" else 50, "texts": 300, "samples_seen": 1000}
    return {"entry": entry, "seed": seed, "scores": scores, **counts}


RUNS = [run_of("none", seed, 0) for seed in range(3)] + [
    run_of("half", seed, 2 + seed / 10) for seed in range(3)
]


def test_the_best_comes_first_with_its_gain_seed_by_seed() -> None:
    runs = ablation_report.read_runs(RUNS)
    assert ablation_report.order(runs) == ["half", "none"]
    gain = ablation_report.difference(runs, "half", "mean")
    assert gain is not None and abs(gain.mean - 2.1) < 1e-9 and abs(gain.half - 4.303 * 0.1 / 3**0.5) < 1e-9
    text = ablation_report.table(runs, RUNS)
    assert "| half | 50 | 300 | 13.1 ± 2.7 |" in text and text.endswith("| 3.4 | |")


def test_one_seed_has_no_interval() -> None:
    one = ablation_report.estimate([3.0])
    assert one.words() == "3.0" and one.to_json()["interval_95"] is None
    runs = ablation_report.read_runs([run_of("half", 0, 1)])
    assert ablation_report.difference(runs, "half", "mean") is None
    assert "<svg" in ablation_report.plot(runs, [run_of("half", 0, 1)])


def test_the_page_and_the_results_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for one in RUNS:
        write_json(tmp_path / f"runs/{one['entry']}-{one['seed']}/scores.json", one)
    page, written = tmp_path / "ablation.md", dict[str, Any]()
    page.write_text("before\n" + "\nold\n".join(ablation_report.MARKS) + "\nafter\n")
    monkeypatch.setattr(ablation_report, "DOCUMENT", page)
    monkeypatch.setattr(
        ablation_report, "write_result", lambda name, results: written.update({name: results})
    )
    ablation_report.write_report(tmp_path)
    assert written["ablation"]["entries"]["half"]["more_than_none"]["interval_95"] == [1.85, 2.35]
    text = page.read_text()
    assert "old" not in text and text.startswith("before\n") and text.endswith("after\n")
    assert page.with_suffix(".svg").read_text().startswith("<svg")


@pytest.mark.slow
def test_an_entry_is_trained_and_scored_on_what_it_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    side, count = ablation.SIDE, 140
    pixels = np.random.default_rng(0).integers(0, 256, (count, side, side, 4), np.uint8)
    np.save(tmp_path / "pictures.npy", pixels)
    rows = [
        {"uid": f"{n:032x}", "mono": False, "kind": "emoji", "probs": [{"text": f"thing {n}", "prob": 1.0}]}
        for n in range(count)
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    kept = {row["uid"]: [f"thing {n}"] for n, row in enumerate(rows) if n != 3}
    monkeypatch.setattr(ablation, "_texts_by_uid", lambda tables: kept)
    config = ablation.small_config(0, steps=2)
    dataset = ablation.read_entry(tmp_path, tmp_path, config, is_weighted=True)
    assert dataset.weights[3] == 0 and dataset.weights[4] == 8.0
    names = {suite: measure for suite, (measure, _) in ablation_report.MEASURES.items()}
    suites = [
        Suite(
            name=name,
            kind="classes" if measure == "top1" else "names",
            pictures=[pixels[n, :, :, :3] for n in range(4)],
            texts=("a", "b", "c", "d"),
            truth=np.arange(4),
            templates=("{}",),
        )
        for name, measure in names.items()
    ]
    (tmp_path / "suites.pickle").write_bytes(pickle.dumps(suites))
    words = [
        "run",
        "half",
        "--tables",
        str(tmp_path),
        "--seed",
        "1",
        "--steps",
        "2",
        str(tmp_path),
    ]
    monkeypatch.setattr(sys, "argv", ["ablation", *words])
    ablation.main()
    found = json.loads((tmp_path / "runs/half-1/scores.json").read_bytes())
    assert (found["pictures"], found["samples_seen"]) == (count - 1, 256)
    assert found["scores"]["emoji3d_zero_shot"]["n"] == 4
    before = (tmp_path / "runs/half-1/model.safetensors").stat().st_mtime_ns
    ablation.main()
    assert (tmp_path / "runs/half-1/model.safetensors").stat().st_mtime_ns == before


def test_runs_of_different_lengths_are_not_compared(tmp_path: Path) -> None:
    for seed, seen in ((0, 1000), (1, 500)):
        one = run_of("none", seed, 0) | {"samples_seen": seen}
        write_json(tmp_path / f"runs/none-{seed}/scores.json", one)
    with pytest.raises(SystemExit, match="runs of different lengths"):
        ablation_report.write_report(tmp_path)
