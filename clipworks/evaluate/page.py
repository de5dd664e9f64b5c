"""The report as one page of HTML that needs nothing else: tables, plots, worst classes with pictures."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipworks.plots import Line, draw_lines

if TYPE_CHECKING:
    from clipworks.evaluate.report import Card, Report

_STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:64em;margin:2em auto;padding:0 1em;color-scheme:light dark}"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums}svg{width:100%;height:auto}"
    "th,td{text-align:left;padding:.15em 1em .15em 0;vertical-align:top}.differs{color:#b00}"
    "figure{display:inline-block;margin:.3em;font-size:.8em;max-width:9em}img{width:6em}"
)
_WORST = 8
_CONFUSED = 8


def render_page(report: "Report") -> str:
    """The page as text."""
    titles = " and ".join(card.model for card in report.cards)
    body = "".join(_card(card) for card in report.cards)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(titles)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f"<h1>Evaluation of {escape(titles)}</h1>{_differences(report)}{body}</html>\n"
    )


def _card(card: "Card") -> str:
    known = {verdict.task: verdict for verdict in card.verdicts}
    rows = []
    for _, result in card.results:
        if result["value"] is None:
            rows.append([result["name"], "no main metric", "", "", f"{result['n']:,}", "", ""])
            continue
        low, high = result["interval_95"]
        verdict = known.get(result["task"])
        rows.append(
            [
                result["name"],
                result["metric"],
                f"{result['value']:.4f}",
                f"{low:.4f} to {high:.4f}",
                f"{result['n']:,}",
                "" if verdict is None else f"{verdict.published:.4f}",
                "" if verdict is None else verdict.words,
            ]
        )
    heads = ("task", "metric", "value", "95 % interval", "n", "published", "verdict")
    parts = [
        f"<h2>{escape(card.model)}</h2><p>Fingerprint <code>{card.fingerprint[:16]}</code>, "
        f"{escape(card.results[0][1]['precision'])}, pixels {escape(card.results[0][1]['preprocess'])}.</p>",
        _table(heads, rows),
        _averages(card.averages),
        _plot(card),
        _reasons(card),
        *(_details(path, result) for path, result in card.results),
    ]
    return "".join(parts)


def _averages(rows: Mapping[str, Mapping[str, Any]]) -> str:
    told = []
    for name, row in rows.items():
        value = "–" if row["value"] is None else f"{row['value']:.4f}"
        told.append([name, value, f"{row['there']} of {row['tasks']} tasks"])
    return "<h3>Averages</h3>" + _table(("average", "value", "tasks that are there"), told)


def _plot(card: "Card") -> str:
    rows = [result for _, result in card.results if result["value"] is not None]
    if len(rows) < 2:
        return ""
    known = {verdict.task: verdict.published for verdict in card.verdicts}
    xs = list(range(1, len(rows) + 1))
    lines = [
        Line(
            label="measured",
            xs=xs,
            ys=[100 * row["value"] for row in rows],
            lows=[100 * row["interval_95"][0] for row in rows],
            highs=[100 * row["interval_95"][1] for row in rows],
        )
    ]
    told = [(x, 100 * known[row["task"]]) for x, row in zip(xs, rows, strict=True) if row["task"] in known]
    if told:
        lines.append(
            Line(label="published", xs=[x for x, _ in told], ys=[y for _, y in told], is_dashed=True)
        )
    return draw_lines(
        lines, title="Main metric, %, with 95 % intervals", x_label="task, in the order of the table"
    )


def _reasons(card: "Card") -> str:
    rows = [
        [v.name, f"{v.measured:.4f}", f"{v.published:.4f}", v.words, " ".join(v.reasons)]
        for v in card.verdicts
        if not v.words.startswith("equal")
    ]
    if not rows:
        return ""
    heads = ("task", "measured", "published", "verdict", "why it might")
    return "<h3>What deviates from the published row</h3>" + _table(heads, rows)


def _differences(report: "Report") -> str:
    left_out = ""
    if report.uncompared:
        names = escape(", ".join(report.uncompared))
        left_out = f"<p>Not compared, since the pictures or the metric differ: {names}.</p>"
    if not report.differences:
        return left_out
    first, second = (escape(card.model) for card in report.cards[:2])
    rows = []
    for row in report.differences:
        low, high = row.interval_95
        words = "significant" if row.is_significant else "within chance"
        rows.append(
            [
                row.task,
                row.metric,
                f"{row.difference:+.4f}",
                f"{low:+.4f} to {high:+.4f}",
                f"{row.p_corrected:.3g}",
            ]
            + [words]
        )
    heads = ("task", "metric", "difference", "95 % interval", "p, corrected after Holm", "verdict")
    return f"<h2>{first} less {second}, on the same pictures</h2>" + _table(heads, rows) + left_out


def _details(path: Path, result: Mapping[str, Any]) -> str:
    told = [
        [name, f"{row['value']:.4f}", _ends(row.get("interval_95")), f"{row['n']:,}"]
        for name, row in result["metrics"].items()
        if row["value"] is not None
    ]
    parts = [_table(("metric", "value", "95 % interval", "n"), told)]
    parts += [f"<p>{escape(note)}</p>" for note in result["notes"]]
    if "statement" in result:
        parts.append(f"<p><strong>{escape(result['statement'])}</strong></p>")
    if "tied_top1" in result:
        parts.append(f"<p>Ties for the first place: {result['tied_top1']:,}; the first class is said.</p>")
    if result.get("per_class"):
        parts += [_classes(result["per_class"]), _confused(result), _pictures(path, result)]
    for name, rows in result.get("groups", {}).items():
        cells = [
            [
                str(r["group"]),
                f"{r['value']:.4f}",
                _ends(r["interval_95"]),
                f"{r['n']:,}{' (few)' if r['is_few'] else ''}",
            ]
            for r in rows
        ]
        parts.append(f"<h4>By {escape(name)}</h4>" + _table(("group", "share", "95 % interval", "n"), cells))
    source = f"{result['data']['source']} {result['data']['revision']}".strip() or "own data"
    parts.append(
        f"<p>Data: {escape(source)}, licence {escape(result['data']['licence'] or 'not stated')}, sha256 "
        f"<code>{result['data']['sha256'][:16]}</code>.</p>"
    )
    return f"<details><summary>{escape(result['name'])}</summary>{''.join(parts)}</details>"


def _classes(rows: Sequence[Mapping[str, Any]]) -> str:
    told = sorted((row for row in rows if row["n"]), key=lambda row: row["recall"])
    ys = [100 * row["recall"] for row in told]
    worst = [
        [row["class"], f"{row['recall']:.3f}", _ends(row["interval_95"]), f"{row['n']:,}", f"{row['said']:,}"]
        for row in told[:_WORST]
    ]
    plot = ""
    if len(told) > 2:
        line = Line(label="recall", xs=list(range(1, len(told) + 1)), ys=ys)
        plot = draw_lines([line], title="Recall of each class, %, the worst first", x_label="class")
    heads = ("class", "recall", "95 % interval", "n", "times said")
    return f"<h4>Worst classes</h4>{_table(heads, worst)}{plot}"


def _confused(result: Mapping[str, Any]) -> str:
    names = [row["class"] for row in result["per_class"]]
    rows = [
        [names[true], names[said], f"{count:,}"] for true, said, count in result["confusion"] if true != said
    ]
    heads = ("true class", "what was said", "times")
    return "<h4>Taken for another most often</h4>" + _table(heads, rows[:_CONFUSED])


def _pictures(path: Path, result: Mapping[str, Any]) -> str:
    parts = []
    for one in result.get("examples", []):
        file = path.parent / one["file"]
        if file.is_file():
            data = base64.b64encode(file.read_bytes()).decode()
            parts.append(
                f'<figure><img alt="{escape(one["class"])}" src="data:image/png;base64,{data}">'
                f"<figcaption>{escape(one['class'])}, taken for {escape(one['said'])}</figcaption></figure>"
            )
    return "".join(parts)


def _ends(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.4f} to {interval[1]:.4f}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(one)}</th>" for one in heads)
    lines = []
    for row in rows:
        kind = ' class="differs"' if "differs" in row else ""
        lines.append(f"<tr{kind}>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>")
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"
