"""Results on disk: one JSON per task, complete or not there, and what each unit came to beside it.

A JSON is written last and names the sha256 of the `.npz` with the outcomes; one whose outcomes are missing or
changed does not count. `inputs` says everything that decides the numbers, so that a repeated run knows what
it has and a changed prompt, checkpoint or shard is computed again.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipworks.errors import DataError
from clipworks.evaluate.metrics import Columns, Metric
from clipworks.evaluate.resample import bootstrap, interval
from clipworks.files import NPZ_DAMAGE, atomic_write, sha256_file, write_json

FORMAT = "clipworks result 1"
PROTOCOL = 1
"""Grows when a metric changes its meaning: results of another number are computed again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What a task came to."""

    units: Columns
    """Name -> one value per unit; what metrics and comparisons read."""
    metrics: Mapping[str, Metric]
    """How they are computed."""
    unit: str
    """What a unit is: `picture`, `cue` or `pair`."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What else the JSON says: ties, classes, confusion, groups, notes."""
    told: dict[str, Any] = field(default_factory=dict)
    """Metrics with their intervals, for those that have no units to draw."""


def tell(measured: Measured, *, seed: str) -> dict[str, dict[str, Any]]:
    """Every metric with value, bootstrap interval, standard error and number of units."""
    if not measured.metrics:
        return measured.told
    count = len(next(iter(measured.units.values())))
    replicates = bootstrap(measured.units, measured.metrics, seed=seed)
    rows: dict[str, dict[str, Any]] = {}
    for name, metric in measured.metrics.items():
        value = metric(measured.units, np.ones(count))
        if not np.isfinite(value):
            rows[name] = {"value": None, "n": 0}
            continue
        spread = replicates[name][np.isfinite(replicates[name])]
        row = {"value": float(value), "interval_95": interval(spread), "n": count}
        rows[name] = {**row, "standard_error": float(spread.std()) if len(spread) else None}
    return rows | measured.told


def json_sha256(value: Any) -> str:
    """sha256 of a JSON value, 64 hex characters."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def write_result(folder: Path, name: str, content: Mapping[str, Any], units: Columns) -> dict[str, Any]:
    """Write the outcomes and then the JSON that makes them count; gives what was written."""
    outcomes = folder / f"{name}.npz"
    with atomic_write(outcomes) as file:
        np.savez_compressed(
            file, allow_pickle=False, **{key: _small(column) for key, column in units.items()}
        )
    whole = {
        "format": FORMAT,
        **content,
        "outcomes": {"file": outcomes.name, "sha256": sha256_file(outcomes)},
    }
    write_json(folder / f"{name}.json", _plain(whole))
    return whole


def read_result(path: Path) -> dict[str, Any] | None:
    """A result; None for another file, or where its outcomes are missing or changed."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        return None
    outcomes = path.with_suffix(".npz")
    stated = content.get("outcomes")
    if not isinstance(stated, dict) or not outcomes.is_file() or sha256_file(outcomes) != stated["sha256"]:
        return None
    return content


def read_units(path: Path) -> dict[str, NDArray[Any]]:
    """The outcomes beside a result's JSON.

    Raises:
        DataError: they are missing or damaged.
    """
    try:
        with path.with_suffix(".npz").open("rb") as file, np.load(file, allow_pickle=False) as found:
            return {key: found[key] for key in found.files}
    except NPZ_DAMAGE as error:
        raise DataError(f"{path.with_suffix('.npz')} cannot be read: {error}.", "Evaluate again.") from error


def find_results(folders: Sequence[Path]) -> list[tuple[Path, dict[str, Any]]]:
    """Every complete result below folders, each once, by path.

    Raises:
        DataError: a folder does not exist or holds none.
    """
    found: dict[Path, tuple[Path, dict[str, Any]]] = {}
    for folder in folders:
        if not folder.exists():
            raise DataError(f"{folder} does not exist.", "Name a folder that `clipworks evaluate` wrote.")
        results = [
            (path, content) for path in _json_files(folder) if (content := read_result(path)) is not None
        ]
        if not results:
            raise DataError(f"{folder} holds no complete result.", "Run `clipworks evaluate` into it.")
        found |= {path.resolve(): (path, content) for path, content in results}
    return list(found.values())


def find_incomplete(folders: Sequence[Path]) -> list[Path]:
    """Results below folders that are cut, or whose outcomes are missing or changed: they do not count."""
    return [
        path
        for folder in folders
        for path in _json_files(folder)
        if read_result(path) is None
        and (path.with_suffix(".npz").is_file() or FORMAT.encode() in path.read_bytes()[:1000])
    ]


def _json_files(folder: Path) -> list[Path]:
    return [folder] if folder.is_file() else sorted(folder.rglob("*.json"))


def _small(column: NDArray[Any]) -> NDArray[Any]:
    """Whole numbers in as few bytes as hold them."""
    if column.dtype.kind not in "iu" or not column.size:
        return column
    return column.astype(np.result_type(np.min_scalar_type(column.min()), np.min_scalar_type(column.max())))


def _plain(value: Any) -> Any:
    """JSON values: no numpy, null for what is not a number."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
