"""How `clipworks models` lays out what is known of models: one page, or several models side by side.

Everything fits in 80 columns and is plain text where stdout is no terminal.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from clipworks.cli.output import printable
from clipworks.model.scores import MAIN_SUITE

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from clipworks.model.comparison import ComparedScore, Comparison

PAGE_WIDTH = 80
"""Columns."""

_RIGHT_WIDTH = 37
_SHORT_METRICS = {
    "top-1": "",
    "mean per-class recall": "recall",
    "macro-F1": "F1",
    "worst region": "worst",
    "worst group": "worst",
    "worst group top-5": "worst",
    "mean R@1": "R@1",
    "Jaccard 10-12": "Jaccard",
    "mean of 19 columns": "mean of 19",
}
_METRICS_NOTE = (
    "Top-1 accuracy unless marked. recall: mean per class. R@1: mean of both directions. worst: of the worst "
    "region or group, Dollar Street in top 5. F1: macro. Jaccard: of 10 to 12 candidates."
)


def print_page(specs: dict[str, Any]) -> None:
    """The page of one model."""
    _print(specs.get("title", "Local checkpoint"), style="bold")
    _print("  ".join([printable(specs["id"]), *specs.get("short_names", ())]))
    _print()
    scores = specs.get("scores", [])
    facts = [_section("Architecture", _architecture(specs))]
    if "training" in specs:
        facts += [_section("Training", _training(specs)), _section("Licence", _licence(specs))]
    if any(score["suite"] == MAIN_SUITE for score in scores):
        _print(_beside(facts, _main_scores(scores)))
        _print(_METRICS_NOTE)
        _print()
        _print(_other_scores(scores))
    else:
        for section in facts:
            _print(section)
        if scores:
            _print(_measured_scores(scores))
    if "use" in specs:
        _print(_section("Use", [specs["use"]]))
        _print(_section("Limits", specs["limits"]))
        _print(_section("Traps", specs["traps"]))
        _print(_section("Files", [(file["name"], _form(file)) for file in specs["files"]]))
    _print(_section("On this machine", _place(specs)))
    if scores:
        _print(_section("Where the scores are from", dict.fromkeys(score["source"] for score in scores)))


def print_comparison(models: Sequence[dict[str, Any]], comparison: "Comparison") -> None:
    """Specs and scores of two or more models in columns."""
    names = [short_name(specs) for specs in models]
    lines = [dict([*_architecture(specs), *_other_facts(specs)]) for specs in models]
    table = _grid(("label", 16), *(("value", (PAGE_WIDTH - 16) // len(models) - 2) for _ in models))
    table.add_row("", *names, style="bold")
    shared = []
    for label in dict.fromkeys(label for facts in lines for label in facts):
        values = [facts.get(label, "") for facts in lines]
        if len(set(values)) == 1:
            shared.append((label, values[0]))
        else:
            table.add_row(label, *values)
    _print(table)
    _print()
    _print(_section("The same in all", shared))
    if not comparison.tasks:
        _print("These models have no published score in common.")
        return
    _print(_comparison_table(names, comparison))
    _print()
    wins = ", ".join(f"{name} {count}" for name, count in zip(names, comparison.wins(), strict=True))
    _print(f"* best of the line. Ahead in the {MAIN_SUITE}: {wins}.")
    _print(_METRICS_NOTE)


def short_name(specs: dict[str, Any]) -> str:
    """What a model is called in a table."""
    if specs["source"] == "hub":
        return str(specs["short_names"][0])
    return printable(specs["id"]).rstrip("/").rpartition("/")[2]


def _comparison_table(names: Sequence[str], comparison: "Comparison") -> "Table":
    width = max(8, min(13, 33 // len(names)))
    table = _grid(("task", 24), ("metric", 11), *((">", width) for _ in names), (">", 7))
    suite = ""
    for line in [*comparison.averages, *comparison.tasks]:
        heading = "averages" if line in comparison.averages else line.suite
        if heading != suite:
            suite = heading
            last = "2nd-1st" if len(names) == 2 else "spread"
            table.add_row(suite, "", *names, last, style="bold")
        table.add_row(*_comparison_line(line))
    return table


def _comparison_line(line: "ComparedScore") -> Iterator[str]:
    yield line.task.removeprefix("average of ")
    yield _short_metric(line.metric)
    for place, value in enumerate(line.values):
        yield ("*" if place in line.best else "") + f"{100 * value:.2f}"
    yield f"{100 * line.difference:+.2f}" if len(line.values) == 2 else f"{100 * line.difference:.2f}"


def _architecture(specs: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if "architecture" in specs:
        tag = "" if specs["tag"] is None else f" : {specs['tag']}"
        yield "open_clip name" if specs["tag"] else "kind", specs["architecture"] + tag
    yield "task", specs["task"]
    if "parameters" in specs:
        count, work = specs["parameters"], specs["gflops"]
        yield "parameters", f"{count['total'] / 1e6:.2f} M"
        yield "  image tower", f"{count['image'] / 1e6:.2f} M, {_tower(specs['image_tower'])}"
        yield "  text tower", f"{count['text'] / 1e6:.2f} M, {_tower(specs['text_tower'])}"
        yield "GFLOP / image", f"{work['image']:.2f}"
        yield "GFLOP / text", f"{work['text']:.2f} at {specs['context_length']} tokens"
        side, patch = specs["image_size"], specs["patch_size"]
        yield "resolution", f"{side} px, patches of {patch}, {specs['image_tokens']} tokens"
        yield "context", f"{specs['context_length']} tokens of {specs['vocab_size']:,}"
        yield "embedding", f"{specs['dim']} dimensions"
        yield "pixel mean", ", ".join(f"{value:.4f}" for value in specs["mean"])
        yield "pixel std", ", ".join(f"{value:.4f}" for value in specs["std"])
    yield "activation", specs["activation"] or "not stated: load(..., activation=...)"


def _training(specs: dict[str, Any]) -> Iterator[tuple[str, str]]:
    training = specs["training"]
    yield "data", training["data"]
    for label, key in (("pairs", "num_pairs"), ("pairs seen", "num_seen"), ("batch", "batch_size")):
        if training[key] is not None:
            yield label, _large(training[key])
    for fact in training["recipe"]:
        yield "", fact
    yield "described in", training["paper"]


def _licence(specs: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "of the weights", specs["licence"]
    yield "commercial use", specs["commercial_use"]
    yield "", specs["licence_note"]


def _other_facts(specs: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What a comparison says beside the architecture."""
    if "training" in specs:
        yield "training data", specs["training_data"]
        yield from (fact for fact in _training(specs) if fact[0] in ("pairs", "pairs seen", "batch"))
        yield "licence", specs["licence"]
        yield "commercial use", specs["commercial_use"]
    yield "on this machine", "yes" if specs["folder"] else "no"


def _place(specs: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if specs["source"] == "hub":
        yield "in the cache", printable(specs["folder"] or "no; fetched when it is first loaded")
        original = specs["original"]
        if original is None:
            yield "sha256", "of the files is not known"
        else:
            yield "sha256", f"of the original {original['name']}, {original['form']}:"
            yield "", original["sha256"]
        return
    yield "folder", printable(specs["folder"])
    if specs["source"] == "local":
        yield "form", specs["family"] or "known once the weights are read"
        size = specs["weights_bytes"]
        yield "weights", "none here" if size is None else f"{specs['weights_file']}, {size / 1e6:,.1f} MB"
    yield "fingerprint", specs["fingerprint"] or "known once the weights are read"


def _main_scores(scores: Sequence[dict[str, Any]]) -> "Table":
    table = _grid(("task", 22), ("metric", 7), (">", 5))
    table.add_row(f"Scores: {MAIN_SUITE}", "", "%", style="bold")
    for score in scores:
        if score["suite"] == MAIN_SUITE:
            table.add_row(score["task"], _short_metric(score["metric"]), f"{100 * score['value']:.2f}")
    return table


def _other_scores(scores: Sequence[dict[str, Any]]) -> "Table":
    """Recall at 1, 5 and 10 per data set and direction, then what is scored otherwise."""
    table = _grid(("task", 28), ("direction", 22), *((">", 6) for _ in range(3)))
    table.add_row("Scores: retrieval", "", "R@1", "R@5", "R@10", style="bold")
    found = {(s["task"], s["metric"]): f"{100 * s['value']:.2f}" for s in scores if s["suite"] != MAIN_SUITE}
    recalls = [key for key in found if key[1].endswith(" R@1")]
    for task, metric in recalls:
        direction = metric.removesuffix(" R@1")
        cells = (found.get((task, f"{direction} R@{k}"), "") for k in (1, 5, 10))
        table.add_row(task, direction, *cells)
    for (task, metric), value in found.items():
        if " R@" not in metric:
            table.add_row(task, metric, value, "", "")
    table.add_row("")
    return table


def _measured_scores(scores: Sequence[dict[str, Any]]) -> "Table":
    table = _grid(("task", 28), ("metric", 16), (">", 6), (">", 14), (">", 6))
    table.add_row("Scores", "", "%", "95 % interval", "n", style="bold")
    for score in scores:
        interval = score["interval"]
        span = "" if interval is None else f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"
        count = "" if score["count"] is None else f"{score['count']:,}"
        value = f"{100 * score['value']:.2f}"
        table.add_row(score["task"], _short_metric(score["metric"]), value, span, count)
    table.add_row("")
    return table


def _section(title: str, lines: "Iterable[tuple[str, str] | str]") -> "RenderableType":
    """A head line and lines of label and value, or of one text with a dash before it."""
    from rich.console import Group
    from rich.text import Text

    rows = [("-", line) if isinstance(line, str) else line for line in lines]
    label_width = max((len(label) for label, _ in rows), default=0)
    table = _grid(("label", max(14, label_width) if label_width > 1 else 1), ("value", None))
    for row in rows:
        table.add_row(*row)
    return Group(Text(title, style="bold"), table, "")


def _beside(left: "Sequence[RenderableType]", right: "RenderableType") -> "Table":
    from rich.console import Group

    table = _grid(("left", PAGE_WIDTH - _RIGHT_WIDTH - 2), ("right", _RIGHT_WIDTH))
    table.padding = (0, 2, 0, 0)
    table.add_row(Group(*left), right)
    return table


def _grid(*columns: tuple[str, int | None]) -> "Table":
    """A table without lines; a column is (what, width in characters), `>` for numbers set to the right."""
    from rich.table import Table

    table = Table.grid(padding=(0, 1))
    for kind, width in columns:
        table.add_column(justify="right" if kind == ">" else "left", width=width, overflow="fold")
    return table


def _print(what: "RenderableType" = "", *, style: str | None = None) -> None:
    from rich.console import Console

    console = Console(width=PAGE_WIDTH, markup=False, highlight=False, emoji=False)
    with console.capture() as capture:
        console.print(what, style=style)
    for line in capture.get().splitlines():
        click.echo(line.rstrip())


def _tower(tower: dict[str, int]) -> str:
    return f"{tower['layers']} x {tower['width']}, {tower['heads']} heads"


def _large(number: int) -> str:
    """1.28e10 -> `12.8 billion`."""
    for size, word in ((10**9, "billion"), (10**6, "million")):
        if number >= size:
            return f"{number / size:.4g} {word}"
    return f"{number:,}"


def _form(file: dict[str, Any]) -> str:
    return str(file["form"]) + ("" if file["is_certain"] else " (not confirmed)")


def _short_metric(metric: str) -> str:
    return _SHORT_METRICS.get(metric, metric.replace(" retrieval", ""))
