"""The state of a run on disk: enough to go on as if nothing had happened.

`state.safetensors` holds the weights, what the optimizers remember of each and the step; it is
replaced atomically, so a run that is killed at any moment goes on from the last state that was whole.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from clipworks.errors import DataError
from clipworks.files import atomic_write, read_json, write_json
from clipworks.model.config import ClipConfig
from clipworks.model.weights import write_checkpoint
from clipworks.train.config import TrainConfig

STATE = "state.safetensors"
CONFIG = "train.json"
METRICS = "metrics.jsonl"

_MEMORY: dict[type[torch.optim.Optimizer], tuple[str, ...]] = {
    torch.optim.AdamW: ("step", "exp_avg", "exp_avg_sq"),
    torch.optim.Muon: ("momentum_buffer",),
}
"""By optimizer, what it remembers of a parameter, under the names that PyTorch gives."""


def open_run(folder: Path, config: TrainConfig, data_sha256: str) -> None:
    """Make a run folder, or check that the one that is there is of the same run.

    Raises:
        DataError: the folder holds a run with another configuration or other data, or holds files
            and no run, or is a file.
    """
    wanted = json.loads(json.dumps({"config": config.to_json(), "data_sha256": data_sha256}))
    path = folder / CONFIG
    if not path.exists():
        _require_empty(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, wanted)
        return
    found = read_json(path)
    if found == wanted:
        return
    differing = [k for k, v in wanted["config"].items() if found.get("config", {}).get(k) != v]
    if found.get("data_sha256") != data_sha256:
        differing.append("the data")
    raise DataError(
        f"{folder} holds another run; it differs in {', '.join(differing)}.",
        "Choose another --out, or repeat the command with the first settings to resume.",
    )


def save_state(
    folder: Path, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], step: int
) -> None:
    """Write the state after `step` steps, atomically."""
    tensors: dict[str, Tensor] = {}
    for name, parameter, optimizer in _owners(model, optimizers):
        tensors[f"weight.{name}"] = parameter.detach()
        for key in _MEMORY[type(optimizer)]:
            tensors[f"{key}.{name}"] = optimizer.state[parameter][key]
    with atomic_write(folder / STATE) as file:
        file.write(safetensors.torch.save(tensors, metadata={"step": str(step)}))


def load_state(folder: Path, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> int:
    """Put a saved state into the model and its optimizers.

    Returns:
        Steps done so far; 0 if nothing was saved yet.

    Raises:
        DataError: the state file is damaged or is of another model.
    """
    path = folder / STATE
    if not path.exists():
        return 0
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            step = int(file.metadata()["step"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        with torch.no_grad():
            for name, parameter, optimizer in _owners(model, optimizers):
                parameter.copy_(tensors[f"weight.{name}"])
                optimizer.state[parameter] = {
                    key: tensors[f"{key}.{name}"] for key in _MEMORY[type(optimizer)]
                }
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"The state {path} cannot be resumed: {error}.", "Delete the run folder to start again."
        ) from error
    return step


def cut_metrics(folder: Path, steps: int) -> None:
    """Drop the lines of `metrics.jsonl` that are past the resumed state or were cut short."""
    path = folder / METRICS
    if path.exists():
        lines = path.read_bytes().splitlines(keepends=True)[:steps]
        with atomic_write(path) as file:
            file.writelines(lines)


def export(folder: Path, model: nn.Module, config: ClipConfig, token_rows: npt.NDArray[np.int64]) -> None:
    """End a run: `config.json`, `model.safetensors` and the manifest that `clipworks.load` reads.

    The token table gets its full height again; rows of tokens that no caption held are zero.
    """
    tensors = {name: p.detach().float().numpy() for name, p in model.named_parameters()}
    table = np.zeros((config.text.vocab_size, config.text.width), dtype=np.float32)
    table[token_rows] = tensors["text.token_embedding.weight"]
    tensors["text.token_embedding.weight"] = table
    write_checkpoint(folder, config, tensors)


def _require_empty(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file.", "Choose another --out.")
    # Names with a dot are no content: what a killed writer left, what desktops add.
    names = sorted(p.name for p in folder.glob("*") if not p.name.startswith("."))
    if names:
        raise DataError(
            f"{folder} holds {names[0]} and no {CONFIG}, so it is not a run.",
            "Choose an empty folder or a new one for --out.",
        )


def _owners(
    model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]
) -> Iterator[tuple[str, nn.Parameter, torch.optim.Optimizer]]:
    """Every parameter with its name and the optimizer that trains it."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                yield names[parameter], parameter, optimizer
