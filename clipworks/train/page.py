"""A run as one page of HTML that needs nothing else: its settings, its figures, its curves."""

import json
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from clipworks.files import atomic_write
from clipworks.plots import Line, draw_lines
from clipworks.train.metrics import EVALUATIONS, METRICS, read_lines, read_means

PAGE = "report.html"
PLOT = "loss.svg"

POINTS = 500
"""Points of a curve; more steps are averaged in groups."""

ROWS = 4 * POINTS
"""Rows of numbers that are held, each of one step or the mean of neighbours."""

_STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color-scheme:light dark}"
    "svg{width:100%;height:auto;margin:.5em 0}table{border-collapse:collapse}"
    "th,td{text-align:left;padding:.1em 1em .1em 0;vertical-align:top}pre{overflow:auto}"
)

_CHARTS = (
    ("accuracy", "Share of pictures whose best text in the batch is their own"),
    ("logit_scale", "Factor on the cosines"),
    ("gradient_norm", "Length of the gradient before clipping"),
    ("learning_rate", "Learning rate"),
    ("pairs_per_second", "Pairs per second"),
    ("mfu", "Share of the processor's peak (MFU)"),
    ("wait_share", "Share of the time spent on waiting for data"),
    ("memory_gib", "Most memory in use, GiB"),
)


def write_page(run: Path) -> None:
    """Write `report.html` and `loss.svg` of a run folder from its lines, atomically.

    Raises:
        DataError: a line is no JSON object.
    """
    steps = read_means(run / METRICS, ROWS)
    config = json.loads((run / "train.json").read_bytes())["config"]
    evaluations = read_lines(run / EVALUATIONS)
    for name, text in (
        (PAGE, render_page(run.name, config, steps, evaluations)),
        (PLOT, draw_loss(config, steps)),
    ):
        with atomic_write(run / name) as file:
            file.write(text.encode(errors="backslashreplace"))


def render_page(
    name: str,
    config: dict[str, Any],
    steps: Sequence[dict[str, Any]],
    evaluations: Sequence[dict[str, Any]],
) -> str:
    """The page as text; `steps` are the rows of `read_means`, `evaluations` the lines of a run."""
    rows = [_with_shares(step) for step in steps]
    charts = [draw_loss(config, steps)]
    charts += [chart for chart in (_evaluation_chart(evaluations),) if chart]
    for field, title in _CHARTS:
        line = _line(rows, field)
        if line.xs and any(line.ys):
            charts.append(draw_lines([line], title=title, x_label="step"))
    settings = escape(json.dumps(config, indent=1))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(name)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f"<h1>{escape(name)}</h1>{_facts(config, rows, evaluations)}{''.join(charts)}"
        f"<details><summary>Settings</summary><pre>{settings}</pre></details></html>\n"
    )


def draw_loss(config: dict[str, Any], steps: Sequence[dict[str, Any]]) -> str:
    """The loss by step as an <svg> element, with the loss of chance as a dashed line."""
    return draw_lines(
        [_line(steps, "loss")],
        title="Loss by step, nats; the line across is chance, ln(batch)",
        x_label="step",
        level=math.log(config["batch_size"]),
    )


def _facts(
    config: dict[str, Any], rows: Sequence[dict[str, Any]], evaluations: Sequence[dict[str, Any]]
) -> str:
    steps = sum(row.get("steps", 1) for row in rows)
    facts = [("Steps", f"{steps:,} of {config['steps']:,}"), ("Batch", f"{config['batch_size']:,} pairs")]
    if rows:
        last = rows[-max(1, len(rows) // 20) :]
        seconds, waited, skipped = (_sum(rows, name) for name in ("seconds", "wait_seconds", "skipped"))
        facts += [
            ("Loss, mean of the last 20th", f"{_mean(last, 'loss'):.4f}"),
            ("Accuracy in the batch, the same", f"{_mean(last, 'accuracy'):.1%}"),
            ("Time", f"{seconds / 3600:.2f} h"),
            ("Speed", f"{steps * config['batch_size'] / seconds:,.0f} pairs/s" if seconds else "–"),
            ("Waiting for data", f"{waited / (seconds or 1):.1%}"),
            ("Samples skipped", f"{skipped:,.0f}"),
        ]
        if rows[-1].get("mfu"):
            facts.append(("MFU, mean of the last 20th", f"{_mean(last, 'mfu'):.1%}"))
    for field, value in (evaluations[-1] if evaluations else {}).items():
        if field != "step" and isinstance(value, int | float):
            facts.append((f"{field} at step {evaluations[-1].get('step')}", f"{value:.4f}"))
    body = "".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in facts)
    return f"<table>{body}</table>"


def _evaluation_chart(evaluations: Sequence[dict[str, Any]]) -> str:
    names = [n for n, v in (evaluations[-1] if evaluations else {}).items() if isinstance(v, float)]
    lines = [
        Line(
            label=name,
            xs=[one["step"] for one in evaluations if name in one],
            ys=[one[name] for one in evaluations if name in one],
        )
        for name in names
    ]
    return draw_lines(lines, title="Evaluations by step", x_label="step") if lines else ""


def _line(rows: Sequence[dict[str, Any]], field: str) -> Line:
    points = [(row["step"], row[field]) for row in rows if isinstance(row.get(field), int | float)]
    group = max(1, -(-len(points) // POINTS))
    groups = [points[start : start + group] for start in range(0, len(points), group)]
    return Line(
        label=field,
        xs=[sum(x for x, _ in one) / len(one) for one in groups],
        ys=[sum(y for _, y in one) / len(one) for one in groups],
    )


def _with_shares(row: dict[str, Any]) -> dict[str, Any]:
    shares = dict(row)
    if row.get("seconds"):
        shares["wait_share"] = row.get("wait_seconds", 0.0) / row["seconds"]
    if row.get("memory_bytes"):
        shares["memory_gib"] = row["memory_bytes"] / 2**30
    return shares


def _sum(rows: Sequence[dict[str, Any]], field: str) -> float:
    """Over all steps, of which a row may be several."""
    return math.fsum(row[field] * row.get("steps", 1) for row in rows if row.get(field))


def _mean(rows: Sequence[dict[str, Any]], field: str) -> float:
    values = [row[field] for row in rows if isinstance(row.get(field), int | float)]
    return sum(values) / len(values) if values else 0.0
