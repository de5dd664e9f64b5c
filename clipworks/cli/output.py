"""What commands print: results to stdout, progress and notes to stderr; and options they share."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import click

from clipworks.files import MANIFEST

SETTINGS: dict[str, Any] = {"auto_envvar_prefix": "CLIPWORKS"}
"""Makes every option of a command readable from a `CLIPWORKS_*` variable."""


class Line(click.types.StringParamType):
    """A text with spaces; a variable holds several as lines."""

    envvar_list_splitter = "\n"


class ShowProgress(Protocol):
    """Moves a progress bar."""

    def __call__(self, done: int, total: int, words: str = "") -> None:
        """`done` of `total`; `words` take the place of the unit, for what changes on the way."""


_Command = TypeVar("_Command", bound=Callable[..., Any])


def json_option(what: str) -> Callable[[_Command], _Command]:
    """The option --json; `what` says what is printed then."""
    return click.option(
        "--json", "as_json", is_flag=True, envvar="CLIPWORKS_JSON", help=f"Print JSON: {what}."
    )


def model_option() -> Callable[[_Command], _Command]:
    """The option --model with the built-in model as its default."""
    return click.option(
        "--model",
        default="pictogram",
        show_default=True,
        metavar="MODEL",
        help="Name, Hugging Face id, or path of a checkpoint; see `clipworks models`.",
    )


def template_option(use: str) -> Callable[[_Command], _Command]:
    """The option --template of commands about one's own classes; `use` says what the sentences are for."""
    return click.option(
        "--template",
        "templates",
        multiple=True,
        type=Line(),
        envvar="CLIPWORKS_TEMPLATE",
        help=f'Sentence with {{}} for the class, {use}.  [default: "{{}}", "a photo of a {{}}"]',
    )


def own_data_option(lists: str) -> Callable[[_Command], _Command]:
    """The option --data of commands about one's own classes; `lists` names the files that may be in it."""
    return click.option(
        "--data",
        required=True,
        type=click.Path(path_type=Path),
        help=f"Class folders, a list ({lists}) with pictures, or tar shards.",
    )


def settings_option(what: str) -> Callable[[_Command], _Command]:
    """The option --set; `what` says which settings there are."""
    return click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="NAME=VALUE",
        envvar="CLIPWORKS_SET",
        help=f"Change a setting{what}; repeatable.",
    )


def print_plan(plan: Mapping[str, Any], as_json: bool, num_pictures: int) -> None:
    """What a --dry-run found, as rows or JSON, and that it did nothing."""
    if as_json:
        print_json(plan)
    else:
        print_table([], [[name, str(value)] for name, value in plan.items()])
    note(f"{count_of(num_pictures, 'picture')} would be read; nothing was written.")


def note_result(result: Mapping[str, Any]) -> None:
    """The sentences of a result, and why pictures were left out, on stderr."""
    for sentence in result["words"]:
        note(sentence)
    for row in result["data"]["skipped"]:
        note(f"Skipped: {row['reason']}")


def print_json(value: Any) -> None:
    """One JSON value on one line of stdout; a byte of a file name that is not UTF-8 as `\\udce9`."""
    text = json.dumps(value, ensure_ascii=False)
    click.echo(text.encode(errors="backslashreplace").decode())


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns on stdout, as wide as they need to be and never cut; no headers, no head line."""
    from rich.cells import cell_len, set_cell_size

    lines = [[printable(cell) for cell in row] for row in ([headers] if headers else []) + list(rows)]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (set_cell_size(cell, width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def printable(text: str) -> str:
    """Text on one line, without control characters that a terminal would obey."""
    return "".join(c if c.isprintable() else " " for c in text)


def note(text: str) -> None:
    """A line for people on stderr."""
    click.echo(text, err=True)


def note_precision(sentence: str) -> None:
    """Say what arithmetic a model ran in, where that was measured rather than asked for."""
    if sentence:
        note(f"Computed in {sentence}")


class Pace:
    """Says when a plain line is due where stderr is no terminal: after some seconds, then every so often, and
    at the end of what has had one."""

    FIRST_SECONDS, SECONDS = 5.0, 30.0

    def __init__(self) -> None:
        self._next = time.monotonic() + self.FIRST_SECONDS
        self._has_told = False

    def is_due(self, *, is_last: bool) -> bool:
        """Whether to write a line now."""
        now = time.monotonic()
        if now < self._next and not (is_last and self._has_told):
            return False
        self._next = now + self.SECONDS
        self._has_told = True
        return True


@contextmanager
def progress_bar(title: str, unit: str, *, is_streaming: bool = False) -> Iterator[ShowProgress]:
    """A progress bar on stderr while the block runs; gives the function that moves it.

    Where stderr is not a terminal a line now and then takes its place. Nothing is shown where `is_streaming`
    says that results are printed meanwhile and these go to a terminal too.
    """
    if is_streaming and sys.stdout.isatty():
        yield lambda done, total, words="": None
        return
    if not sys.stderr.isatty():
        yield _lines(title, unit)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn(title),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[words]}"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as bar:
        task = bar.add_task(title, total=None, words=unit, rate="")

        def show(done: int, total: int, words: str = "") -> None:
            speed = bar.tasks[0].speed
            rate = f"{speed:,.1f}/s" if speed else ""
            bar.update(task, completed=done, total=total, words=words or unit, rate=rate)

        yield show


@contextmanager
def stage_progress(title: str, unit: str, out: Path) -> Iterator[ShowProgress]:
    """A progress bar for what ends with a manifest in `out`; a note where that was there and stayed."""
    before = _changed_at(out / MANIFEST)
    with progress_bar(title, unit) as show:
        yield show
    if before and before == _changed_at(out / MANIFEST):
        note(f"{out} was finished before; nothing was left to do.")


def _changed_at(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def _lines(title: str, unit: str) -> ShowProgress:
    pace = Pace()

    def show(done: int, total: int, words: str = "") -> None:
        if pace.is_due(is_last=done == total):
            note(f"{title}: {done:,} of {total:,} {words or unit}")

    return show


def count_of(number: int, singular: str) -> str:
    """`1 picture`, `2 pictures`."""
    return f"{number:,} {singular}" + ("" if number == 1 else "s")
