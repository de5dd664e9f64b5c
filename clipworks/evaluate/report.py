"""Results as files for people and programs: one page, a CSV and a Markdown table, all from the same rows."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipworks.errors import DataError
from clipworks.evaluate.compare import Difference, Results, compare, is_comparable, metric_of
from clipworks.evaluate.page import render_page
from clipworks.evaluate.results import find_results
from clipworks.evaluate.tasks import all_tasks
from clipworks.evaluate.verify import Verdict, averages, verdicts
from clipworks.files import atomic_write

PAGE, TABLE, TEXT = "report.html", "report.csv", "report.md"

COLUMNS = (
    *("model", "fingerprint", "task", "name", "metric", "value", "low", "high", "n", "published", "verdict"),
    *("precision", "preprocess", "data_sha256", "prompts_sha256"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """One model's results."""

    model: str
    fingerprint: str
    results: Results
    """By the order of the table of tasks."""
    verdicts: tuple[Verdict, ...]
    averages: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Everything that is told."""

    cards: tuple[Card, ...]
    """One per model, in the order of the folders."""
    differences: tuple[Difference, ...]
    """The first two models on the tasks that both saw the same pictures of; empty for one model."""
    uncompared: tuple[str, ...] = ()
    """Tasks that the first two models have, of other pictures or by another metric."""


def read_report(folders: Sequence[Path]) -> Report:
    """The results below folders, put in order.

    Raises:
        DataError: a folder holds no result, or one model has two results of a task.
    """
    models: dict[tuple[str, str, str], list[tuple[Path, dict[str, Any]]]] = {}
    for path, result in find_results(folders):
        key = (result["fingerprint"], result["precision"], result["preprocess"])
        twice = next(
            (p for p, one in models.get(key, []) if one["task"] == result["task"] and p != path), None
        )
        if twice is not None:
            raise DataError(f"{path} and {twice} are the same task and model.", "Name one of the folders.")
        models.setdefault(key, []).append((path, result))
    order = {task.key: number for number, task in enumerate(all_tasks())}
    cards = []
    for found in models.values():
        rows = sorted(found, key=lambda row: (order.get(row[1]["task"], len(order)), row[1]["task"]))
        values = {r["task"]: r["value"] for _, r in rows if r["value"] is not None}
        cards.append(
            Card(
                model=rows[0][1]["model"],
                fingerprint=rows[0][1]["fingerprint"],
                results=rows,
                verdicts=tuple(verdicts([result for _, result in rows])),
                averages=averages(values),
            )
        )
    if len(cards) < 2:
        return Report(cards=tuple(cards), differences=())
    others = {result["task"]: result for _, result in cards[1].results}
    both = [(path, result) for path, result in cards[0].results if result["task"] in others]
    same = [row for row in both if is_comparable(row[1], others[row[1]["task"]])]
    told = any(metric_of(result) is not None and result["value"] is not None for _, result in same)
    return Report(
        cards=tuple(cards),
        differences=tuple(compare(same, cards[1].results)) if told else (),
        uncompared=tuple(result["task"] for path, result in both if (path, result) not in same),
    )


def write_report(report: Report, out: Path) -> list[Path]:
    """Write the page, the CSV and the Markdown table, each atomically; gives their paths."""
    texts = {PAGE: render_page(report), TABLE: as_csv(report), TEXT: as_markdown(report)}
    for name, text in texts.items():
        with atomic_write(out / name) as file:
            file.write(text.encode(errors="backslashreplace"))
    return [out / name for name in texts]


def as_csv(report: Report) -> str:
    """One line per model and task."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for card in report.cards:
        known = {verdict.task: verdict for verdict in card.verdicts}
        for _, result in card.results:
            writer.writerow(_cells(card, result, known.get(result["task"])))
    return buffer.getvalue()


def as_markdown(report: Report) -> str:
    """The tables as text."""
    parts = []
    for card in report.cards:
        known = {verdict.task: verdict for verdict in card.verdicts}
        parts.append(f"## {card.model}\n\nFingerprint `{card.fingerprint[:16]}`.\n")
        parts.append("| task | metric | value | 95 % interval | n | published | verdict |")
        parts.append("|---|---|---|---|---|---|---|")
        for _, result in card.results:
            parts.append(_line(result, known.get(result["task"])))
        told = [(name, row) for name, row in card.averages.items() if row["value"] is not None]
        parts += ["", *(f"{name}: {row['value']:.4f} ({row['tasks']} tasks)" for name, row in told), ""]
    if report.differences:
        first, second = report.cards[0].model, report.cards[1].model
        parts.append(f"## {first} less {second}\n")
        parts.append(
            "| task | difference | 95 % interval | p, corrected | significant |\n|---|---|---|---|---|"
        )
        for row in report.differences:
            low, high = row.interval_95
            parts.append(
                f"| {row.task} | {row.difference:+.4f} | {low:+.4f} to {high:+.4f} | {row.p_corrected:.3g} | "
                f"{'yes' if row.is_significant else 'no'} |"
            )
    return "\n".join(parts).rstrip() + "\n"


def _cells(card: Card, result: Mapping[str, Any], verdict: Verdict | None) -> list[Any]:
    low, high = result["interval_95"] or ("", "")
    return [
        *(card.model, card.fingerprint, result["task"], result["name"], result["metric"]),
        *("" if result["value"] is None else result["value"], low, high, result["n"]),
        *("" if verdict is None else verdict.published, "" if verdict is None else verdict.words),
        *(result["precision"], result["preprocess"], result["data"]["sha256"]),
        (result.get("prompts") or {}).get("sha256", ""),
    ]


def _line(result: Mapping[str, Any], verdict: Verdict | None) -> str:
    if result["value"] is None:
        return f"| {result['name']} | – | – | – | {result['n']:,} | – | no main metric |"
    low, high = result["interval_95"]
    known = ("–", "–") if verdict is None else (f"{verdict.published:.4f}", verdict.words)
    return (
        f"| {result['name']} | {result['metric']} | {result['value']:.4f} | {low:.4f} to {high:.4f} | "
        f"{result['n']:,} | {known[0]} | {known[1]} |"
    )
