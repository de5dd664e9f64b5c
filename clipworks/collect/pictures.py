"""`collect pictures`: lists of drawings and files on this machine -> shards of squares, as img2dataset's.

A list is a file of JSON lines. A row has `svg`, a document, or `file`, a path beside the list; and `texts`, a
list of captions or of `{key, text}`. `uid` and `url` may be given; all else becomes a column. No address is
asked.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from hashlib import md5, sha256
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from clipworks.collect.drawings import DrawRules, Square, draw_svg, fit_file
from clipworks.collect.layout import FETCHED, Outcome, ShardFiles
from clipworks.errors import ConfigError, DataError
from clipworks.stage import Made, ShowProgress, Source, run_stage

STAGE = "collect pictures"
ENDINGS = (".jsonl",)

_UID = re.compile("[0-9a-f]{32}")

_MADE = frozenset(field.name for field in FETCHED) | {"caption", "svg", "file"}
"""Columns that a row cannot bring along."""


def draw_pictures(
    lists: Sequence[Path],
    folder: Path,
    rules: DrawRules,
    *,
    workers: int = 1,
    show: ShowProgress | None = None,
) -> dict[str, Any]:
    """Draw what lists name into a folder of shards; resumes what was interrupted.

    Args:
        lists: files of JSON lines, or folders of them.
        folder: NNNNN.tar, NNNNN.parquet and NNNNN_stats.json for each shard, and the stage's files.
        rules: how pictures become squares.
        workers: processes.
        show: told when a shard is done.

    Returns:
        The manifest; its counts are rows by what became of them.

    Raises:
        ConfigError: a row is not in its form, or the folder was begun with something else.
        DataError: a list is missing or no JSON, or the folder cannot be written.
    """
    sources = [
        Source(name=f"{number:05d}", path=place, digest=digest)
        for number, (place, digest) in enumerate(_pieces(find_lists(lists), rules.rows_per_shard))
    ]
    work = partial(_draw_shard, rules=rules)
    return run_stage(work, sources, folder, stage=STAGE, config=asdict(rules), workers=workers, show=show)


def find_lists(places: Sequence[Path]) -> list[Path]:
    """The files that are named, and those of the folders that are named, by name.

    Raises:
        DataError: nothing is there.
    """
    found: list[Path] = []
    for place in places:
        inside = sorted(p for p in place.glob("*") if p.suffix in ENDINGS) if place.is_dir() else [place]
        if not inside or not all(path.is_file() for path in inside):
            raise DataError(
                f"{place} is no list of pictures.", "Give files of JSON lines, or a folder of them."
            )
        found += inside
    return found


def _pieces(lists: Sequence[Path], rows: int) -> Iterator[tuple[str, str]]:
    """For each shard `LIST#BYTE#FIRST LINE`, and a digest of its lines with their number."""
    for path in lists:
        with path.open("rb") as file:
            offset, first = 0, 1
            while lines := list(islice(file, rows)):
                digest = sha256(path.name.encode() + b"\n" + b"".join(lines)).hexdigest()
                yield f"{path}#{offset}#{first}", f"{digest}-{len(lines)}"
                offset, first = offset + sum(map(len, lines)), first + len(lines)


def _draw_shard(source: Source, folder: Path, *, rules: DrawRules) -> Made:
    path, offset, first = source.path.rsplit("#", 2)
    count = int(source.digest.rsplit("-", 1)[1])
    rows, outcomes, counts = list[dict[str, Any]](), list[Outcome](), Counter[str]()
    files = ShardFiles(folder, source.name, "png")
    try:
        with open(path, "rb") as file:
            file.seek(int(offset))
            for number in range(int(first), int(first) + count):
                row = _read_row(file.readline(), Path(path), number)
                found = _draw(row, Path(path).parent, rules)
                outcome = _outcome(row, found, files, rules)
                counts[outcome.reason] += 1
                rows.append(_columns_of(row, Path(path), number))
                outcomes.append(outcome)
        names = files.write(_as_table(rows, Path(path)), outcomes)
    finally:
        files.close()
    return Made(rows=len(rows), counts=counts, files=names)


def _read_row(line: bytes, path: Path, number: int) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"{path}, line {number}, is not JSON: {error}.") from error
    if not isinstance(row, dict) or isinstance(row.get("svg"), str) == isinstance(row.get("file"), str):
        raise ConfigError(
            f"{path}, line {number}, has neither `svg` nor `file`, or both.", "A row names one picture."
        )
    if not isinstance(row.get("texts"), list) or not row["texts"]:
        raise ConfigError(f"{path}, line {number}, has no texts.", 'Write "texts": ["a red fox", "animal"].')
    if not isinstance(row.get("uid", ""), str) or not _UID.fullmatch(row.get("uid") or "0" * 32):
        raise ConfigError(f"{path}, line {number}, has the uid {row['uid']!r}.", "It is 32 hex digits.")
    if taken := sorted(row.keys() & (_MADE - {"svg", "file"})):
        raise ConfigError(f"{path}, line {number}, has {taken[0]!r}, which is written here.", "Rename it.")
    return row


def _draw(row: Mapping[str, Any], folder: Path, rules: DrawRules) -> Square | str:
    return draw_svg(row["svg"], rules) if "svg" in row else fit_file(folder / row["file"], rules)


def _outcome(row: Mapping[str, Any], found: Square | str, files: ShardFiles, rules: DrawRules) -> Outcome:
    if isinstance(found, str):
        words = found.replace("_", " ")
        return Outcome(status="failed_to_resize", reason=found, error_message=words)
    content = row["svg"].encode() if "svg" in row else found.data
    return Outcome(
        status="success",
        reason=found.drawer,
        width=rules.side,
        height=rules.side,
        original_width=rules.side,
        original_height=rules.side,
        exif="{}",
        sha256=sha256(content).hexdigest(),
        md5=md5(content, usedforsecurity=False).hexdigest(),
        bytes=len(content),
        place=files.put(found.data),
    )


def _columns_of(row: Mapping[str, Any], path: Path, number: int) -> dict[str, Any]:
    texts = [_keyed(text, path, number) for text in row["texts"]]
    url = row.get("url") or f"{path.name}#{number}"
    made = md5(f"{texts[0]['text']}{url}".encode(), usedforsecurity=False).hexdigest()
    more = {name: value for name, value in row.items() if name not in (*_MADE, "uid", "url", "texts")}
    return {"url": url, "caption": texts[0]["text"], "uid": row.get("uid") or made, "texts": texts, **more}


def _keyed(text: Any, path: Path, number: int) -> dict[str, str]:
    if isinstance(text, str) and text:
        return {"key": "", "text": text}
    if isinstance(text, dict) and isinstance(text.get("text"), str) and text["text"]:
        return {"key": str(text.get("key") or ""), "text": text["text"]}
    raise ConfigError(f"{path}, line {number}, has the text {text!r}.", "Texts are words, or {key, text}.")


def _as_table(rows: Sequence[dict[str, Any]], path: Path) -> pa.Table:
    """The columns of all rows, in the order in which they come; what a row lacks is empty."""
    names = dict.fromkeys(name for row in rows for name in row)
    try:
        return pa.Table.from_pylist([{name: row.get(name) for name in names} for row in rows])
    except (pa.ArrowException, UnicodeError) as error:
        raise DataError(
            f"The rows of {path} are no table: {str(error).splitlines()[0]}",
            "Give a column values of one kind, and texts of whole characters.",
        ) from error
