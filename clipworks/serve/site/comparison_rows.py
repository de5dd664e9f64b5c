"""Models side by side: the rows of the table, and which of them is ahead where that is sure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from clipworks.model.scores import MAIN_SUITE
from clipworks.serve.minutes import Minutes
from clipworks.serve.site.entry import Entry
from clipworks.serve.site.model_card import score_rows
from clipworks.serve.site.wording import share, shares, show_seconds

MAIN_TASKS = ("average of 38", "ImageNet 1k", "ObjectNet", "ImageNet-A", "Flickr", "MSCOCO")
"""The scores that are shown at once; the others stand behind a fold."""

Quality = tuple[float, tuple[float, float] | None]
"""A score and its 95 % interval, all 0..1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """What one model has in one row."""

    words: str
    """The value; empty where there is none."""
    note: str = ""
    """Its interval, or where it comes from."""
    is_best: bool = False
    """Whether no other value is as high."""
    is_ahead: bool = False
    """Whether it is the best by more than the intervals leave open."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One property of all models."""

    name: str
    """Which."""
    cells: Sequence[Cell]
    """One per model, in their order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """Rows that belong together."""

    title: str
    """What they are about."""
    rows: Sequence[Row]
    """Those in which at least one model has something."""
    is_folded: bool = False
    """Whether they are shown only when asked for."""


def sections(entries: Sequence[Entry], minutes: Minutes) -> list[Section]:
    """Everything that models can be compared by."""
    main, others = _scores(entries)
    found = [
        Section(title="Offer", rows=_rows(entries, _offer())),
        Section(title="Scores", rows=main),
        Section(title="Cost of work", rows=_rows(entries, _work())),
        Section(title="Speed on this server, since it started", rows=_rows(entries, _speed(minutes))),
        Section(title="Training", rows=_rows(entries, _training())),
        Section(title="All other tasks of the 38", rows=others, is_folded=True),
    ]
    return [section for section in found if section.rows]


def qualities_of(entry: Entry) -> dict[str, Quality]:
    """Task of the 38 -> a model's score and its interval: the published one, else the one of here."""
    found: dict[str, Quality] = {}
    for row in score_rows(entry):
        if row["suite"] in (MAIN_SUITE, "measured here") and row["task"] not in found:
            kind = "measured" if row["published"] is None else "published"
            found[row["task"]] = (row[kind], row[f"{kind}_interval"])
    return found


def _offer() -> dict[str, Callable[[Entry], str]]:
    return {
        "Status": lambda entry: entry.standing,
        "1,000 pictures, est.": lambda entry: f"${entry.price.usd_per_1k_images}",
        "1,000 texts, est.": lambda entry: f"${entry.price.usd_per_1k_texts}",
        "Providers": lambda entry: ", ".join(entry.providers()) or "none yet",
        "Licence of the weights": lambda entry: entry.row.licence if entry.row else "not stated",
        "Commercial use": lambda entry: str(entry.specs.get("commercial_use", "not stated")),
    }


def _work() -> dict[str, Callable[[Entry], str]]:
    def number(*path: str, unit: str = "") -> Callable[[Entry], str]:
        def find(entry: Entry) -> str:
            value: Any = entry.specs
            for name in path:
                value = value.get(name, {})
            return f"{value:,}{unit}" if isinstance(value, int | float) else ""

        return find

    return {
        "Architecture": lambda entry: entry.row.architecture if entry.row else "",
        "Parameters": lambda e: f"{e.num_parameters / 1e6:.1f} M" if e.num_parameters else "",
        "Work for a picture": number("gflops", "image", unit=" GFLOP"),
        "Work for a text": number("gflops", "text", unit=" GFLOP"),
        "Picture": lambda e: f"{e.specs['image_size']} pixels square" if "image_size" in e.specs else "",
        "Vector": number("dim", unit=" numbers"),
        "Text": number("context_length", unit=" tokens"),
        "Activation": lambda entry: str(entry.specs.get("activation") or ""),
    }


def _training() -> dict[str, Callable[[Entry], str]]:
    return {
        "Trained on": lambda entry: entry.row.training_data if entry.row else "",
        "Pairs seen": lambda e: f"{seen:,}" if (seen := _trained(e).get("num_seen")) else "",
        "Batch": lambda e: f"{size:,}" if (size := _trained(e).get("batch_size")) else "",
        "Described in": lambda entry: str(_trained(entry).get("paper", "")),
    }


def _trained(entry: Entry) -> dict[str, Any]:
    found: dict[str, Any] = entry.specs.get("training", {})
    return found


def _speed(minutes: Minutes) -> dict[str, Callable[[Entry], str]]:
    def up(entry: Entry) -> str:
        seen = minutes.whole(entry.id).share_up
        return "" if seen is None else f"{100 * seen:.4g} %"

    def seconds(entry: Entry) -> str:
        return show_seconds(minutes.whole(entry.id).median_seconds) if entry.model is not None else ""

    def p95(entry: Entry) -> str:
        return show_seconds(minutes.whole(entry.id).p95_seconds) if entry.model is not None else ""

    return {"Median of requests": seconds, "95 % are faster than": p95, "Up": up}


def _rows(entries: Sequence[Entry], table: dict[str, Callable[[Entry], str]]) -> list[Row]:
    rows = [Row(name=name, cells=[Cell(words=find(e)) for e in entries]) for name, find in table.items()]
    return [row for row in rows if any(cell.words for cell in row.cells)]


def _scores(entries: Sequence[Entry]) -> tuple[list[Row], list[Row]]:
    """The main tasks of the 38, and the others, in the order of the tables."""
    known = [qualities_of(entry) for entry in entries]
    tasks = dict.fromkeys(score.task for e in entries for score in e.scores if score.suite == MAIN_SUITE)
    rows = {task: _score_row(task, [one.get(task) for one in known]) for task in tasks}
    main = [rows.pop(task) for task in MAIN_TASKS if task in rows]
    return main, list(rows.values())


def _score_row(task: str, known: Sequence[Quality | None]) -> Row:
    cells = []
    for place, one in enumerate(known):
        if one is None:
            cells.append(Cell(words=""))
            continue
        value, own = one
        others = [other for i, other in enumerate(known) if other is not None and i != place]
        ends = [interval[1] for _, interval in others if interval is not None]
        is_best = bool(others) and value > max(other for other, _ in others)
        is_ahead = is_best and own is not None and len(ends) == len(others) and own[0] > max(ends)
        cells.append(Cell(words=share(value), note=shares(own), is_best=is_best, is_ahead=is_ahead))
    return Row(name=task, cells=cells)
