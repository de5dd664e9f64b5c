"""A run folder: whose it is, its lines of metrics, and its end as a checkpoint."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clipworks.errors import DataError
from clipworks.files import atomic_write, read_json, write_json
from clipworks.model.config import ClipConfig
from clipworks.model.weights import write_checkpoint
from clipworks.train.config import FREE_SETTINGS, TrainConfig
from clipworks.train.folders import require_empty
from clipworks.train.metrics import EVALUATIONS, METRICS

CONFIG = "train.json"


def open_run(folder: Path, config: TrainConfig, hash_data: Callable[[], str]) -> None:
    """Make a run folder, or check that the one that is there is of the same run.

    Another value of one of `FREE_SETTINGS` makes no other run.

    Args:
        folder: of the run.
        config: what is asked for.
        hash_data: what the data are known by; called last, as it may read all of them.

    Raises:
        DataError: the folder holds a run with another configuration or other data, or holds files
            and no run, or is a file.
    """
    path = folder / CONFIG
    refuse_other_run(folder, config)
    data_sha256 = hash_data()
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, {"config": config.to_json(), "data_sha256": data_sha256})
    elif read_json(path).get("data_sha256") != data_sha256:
        raise _another(folder, ["the data"])


def refuse_other_run(folder: Path, config: TrainConfig) -> None:
    """See that a run with this configuration can be made or resumed in a folder; nothing is written.

    Raises:
        DataError: as in `open_run`, but for the data.
    """
    path = folder / CONFIG
    if not path.exists():
        require_empty(folder, CONFIG)
        return
    wanted = json.loads(json.dumps(config.to_json()))
    # A run of an older version lacks settings that came later; they are at what was done then.
    before = {**_defaults(), **read_json(path).get("config", {})}
    differing = [k for k, v in wanted.items() if k not in FREE_SETTINGS and before.get(k) != v]
    differing += [k for k in before if k not in wanted]
    if differing:
        raise _another(folder, differing)


def _another(folder: Path, differing: Sequence[str]) -> DataError:
    return DataError(
        f"{folder} holds another run; it differs in {', '.join(differing)}.",
        "Choose another --out, or repeat the command with the first settings to resume.",
    )


def cut_metrics(folder: Path, steps: int) -> None:
    """Drop the lines of `metrics.jsonl` that are past the resumed state or were cut short."""
    path = folder / METRICS
    if path.exists():
        lines = path.read_bytes().splitlines(keepends=True)[:steps]
        with atomic_write(path) as file:
            file.writelines(lines)


def cut_evaluations(folder: Path, steps: int) -> None:
    """Drop the lines of `evaluations.jsonl` of steps that will be done again."""
    path = folder / EVALUATIONS
    if path.exists():
        lines = path.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if line.endswith(b"\n") and json.loads(line)["step"] <= steps]
        with atomic_write(path) as file:
            file.writelines(kept)


def export(
    folder: Path,
    weights: Mapping[str, npt.NDArray[np.float32]],
    config: ClipConfig,
    token_rows: npt.NDArray[np.int64],
    table: npt.NDArray[np.float32] | None = None,
) -> None:
    """End a run: `config.json`, `model.safetensors` and the manifest that `clipworks.load` reads.

    The token table gets its full height again; rows of tokens that no caption held are those of `table`,
    the one that training started from, or zero.
    """
    write_checkpoint(folder, config, whole_weights(weights, config, token_rows, table))


def whole_weights(
    weights: Mapping[str, npt.NDArray[np.float32]],
    config: ClipConfig,
    token_rows: npt.NDArray[np.int64],
    table: npt.NDArray[np.float32] | None = None,
) -> dict[str, npt.NDArray[np.float32]]:
    """The weights with a token table of full height; arguments as in `export`."""
    shape = (config.text.vocab_size, config.text.width)
    table = np.zeros(shape, dtype=np.float32) if table is None else table.copy()
    table[token_rows] = weights["text.token_embedding.weight"]
    return {**weights, "text.token_embedding.weight": table}


def _defaults() -> dict[str, Any]:
    values = {f.name: f.default for f in fields(TrainConfig) if f.default is not MISSING}
    defaults: dict[str, Any] = json.loads(json.dumps(values))
    return defaults
