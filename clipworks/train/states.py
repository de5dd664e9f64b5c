"""The state of a run on disk: enough to go on as if nothing had happened, with any number of processes.

A state is a folder `states/00000200`, named after the steps done:

    part-0-of-2.safetensors   what process 0 held: its rows of weights that are shared out (FSDP), and
    part-1-of-2.safetensors   its share of the weights that every process holds whole
    manifest.json             step, hashes of the files, and which rows of which tensor stand where

It is written beside its place, with the manifest last, and then renamed, so that a run that is killed at
any moment finds its last state whole. What is read back is checked against the hashes; a damaged state is
passed over for the one before. Rows are looked up by number, so two processes can read what four wrote.
"""

import errno
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from clipworks.errors import DataError
from clipworks.files import read_manifest, sha256_file, write_manifest
from clipworks.train.distributed import Processes

logger = logging.getLogger(__name__)

STATES = "states"

_DAMAGE = (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError)


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """What has to be remembered of a run; loading changes it in place."""

    parameters: Mapping[str, nn.Parameter]
    """Every weight by name, whole or this process's part (DTensor)."""
    optimizers: Sequence[torch.optim.Optimizer]
    """What they remember of a weight is tensors."""
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    """Anything else by name, such as averaged weights; whole or parts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Piece:
    """Some rows of a tensor; all of them for one that is not shared out."""

    name: str
    shape: tuple[int, ...]
    start: int
    rows: Tensor


def save_state(
    folder: Path, memory: Memory, step: int, processes: Processes, *, keep: int = 2, keep_every: int = 0
) -> Path:
    """Write the state after `step` steps; every process has to call this.

    Args:
        folder: the run.
        memory: what is written.
        step: steps done.
        processes: who writes.
        keep: newest states that stay, 1 or more; older ones are deleted once this one is whole.
        keep_every: states of steps that this divides stay for good; 0 for none.

    Returns:
        The folder of the state.

    Raises:
        OSError: a process could not write its part; the states before are as they were.
    """
    place = folder / STATES / f"{step:08d}"
    unfinished = place.with_name(f".{place.name}.part")
    processes.once(lambda: _make_empty(unfinished))
    outcomes = processes.collect(_write_part(unfinished, memory, processes))
    errors = [outcome for outcome in outcomes if isinstance(outcome, OSError)]
    if errors:
        processes.once(lambda: _delete([unfinished]))
        raise errors[0]
    parts = [outcome for outcome in outcomes if not isinstance(outcome, OSError)]

    def finish() -> None:
        tensors: dict[str, Any] = {}
        for part in parts:
            for name, (shape, start, rows) in part["tensors"].items():
                described = tensors.setdefault(name, {"shape": shape, "pieces": []})
                described["pieces"].append([part["file"], start, rows])
        files = {part["file"]: part["sha256"] for part in parts}
        write_manifest(unfinished, {"step": step, "files": files, "tensors": tensors})
        _delete([place])
        unfinished.rename(place)
        _flush(place.parent)
        _prune(folder, keep, keep_every)

    processes.once(finish)
    return place


def load_state(folder: Path, memory: Memory, processes: Processes) -> int:
    """Put the newest whole state into the weights and their optimizers; every process has to call this.

    Returns:
        Steps done so far; 0 if nothing was saved yet.

    Raises:
        DataError: there are states and all of them are damaged or of another model.
    """
    problem = ""
    damaged: list[Path] = []
    for place in reversed(processes.once(lambda: list_states(folder))):
        problem = next(filter(None, processes.collect(_damage(place, processes))), "")
        if problem:
            logger.warning("The state %s is passed over: %s", place, problem)
            damaged.append(place)
            continue
        try:
            step = _restore(place, memory, processes)
        except _DAMAGE as error:
            raise DataError(
                f"The state {place} cannot be resumed: {error}.", "Delete the run folder to start again."
            ) from error
        processes.once(lambda: _delete(damaged))
        return step
    if problem:
        raise DataError(
            f"No state of {folder / STATES} can be resumed: {problem}",
            "Delete the run folder to start again.",
        )
    return 0


def list_states(folder: Path) -> list[Path]:
    """The states of a run, oldest first."""
    return sorted((p for p in (folder / STATES).glob("*") if p.name.isdigit()), key=lambda p: int(p.name))


def _write_part(folder: Path, memory: Memory, processes: Processes) -> Any:
    """This process's file, and what the manifest says of it; or the error that prevented it."""
    name = f"part-{processes.rank}-of-{processes.world}.safetensors"
    pieces = list(_pieces(memory, processes))
    tensors = {piece.name: piece.rows.detach().cpu().contiguous() for piece in pieces}
    try:
        safetensors.torch.save_file(tensors, folder / name)  # `save` would make one more copy in memory
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())
        digest = sha256_file(folder / name)
    except OSError as error:
        error.filename = str(folder / name)
        return error
    except safetensors.SafetensorError as error:  # what a full disk is there
        return OSError(errno.EIO, str(error), str(folder / name))
    described = {
        piece.name: (piece.shape, piece.start, len(tensors[piece.name])) if piece.shape else ((), 0, 1)
        for piece in pieces
    }
    return {"file": name, "sha256": digest, "tensors": described}


def _pieces(memory: Memory, processes: Processes) -> Iterator[_Piece]:
    """What this process writes: its rows of shared tensors, and every n-th of the others."""
    for number, (name, tensor) in enumerate(_named_tensors(memory)):
        if isinstance(tensor, DTensor):
            start, count = _own_rows(tensor.shape[0], processes)
            if count:
                yield _Piece(name=name, shape=tuple(tensor.shape), start=start, rows=tensor.to_local())
        elif number % processes.world == processes.rank:
            yield _Piece(name=name, shape=tuple(tensor.shape), start=0, rows=tensor)


def _named_tensors(memory: Memory) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in memory.parameters.items():
        yield f"weight/{name}", parameter
        for optimizer in memory.optimizers:
            for key, value in sorted(optimizer.state.get(parameter, {}).items()):
                yield f"memory/{key}/{name}", value
    for name, tensor in memory.extra.items():
        yield f"extra/{name}", tensor


def _damage(place: Path, processes: Processes) -> str:
    """What is wrong with this process's share of the files; empty for nothing."""
    try:
        files = read_manifest(place)["files"]
        for name, digest in list(files.items())[processes.rank :: processes.world]:
            if sha256_file(place / name) != digest:
                return f"{place / name} is not what was written."
    except (DataError, *_DAMAGE) as error:
        return f"{place}: {error}"
    return ""


def _restore(place: Path, memory: Memory, processes: Processes) -> int:
    manifest = read_manifest(place)
    reader = _Reader(place, manifest["tensors"])
    remembered = [n.split("/", 2)[1:] for n in manifest["tensors"] if n.startswith("memory/")]
    owners = {p: o for o in memory.optimizers for group in o.param_groups for p in group["params"]}
    with torch.no_grad():
        for name, parameter in memory.parameters.items():
            reader.fill(f"weight/{name}", parameter, processes)
            keys = [key for key, of in remembered if of == name]
            if keys:
                owners[parameter].state[parameter] = {
                    key: reader.like(f"memory/{key}/{name}", parameter, processes) for key in keys
                }
        for name, tensor in memory.extra.items():
            reader.fill(f"extra/{name}", tensor, processes)
    return int(manifest["step"])


class _Reader:
    """Rows of tensors out of the files of a state."""

    def __init__(self, place: Path, tensors: Mapping[str, Any]) -> None:
        self._place = place
        self._tensors = tensors
        self._files: dict[str, Any] = {}

    def fill(self, name: str, target: Tensor, processes: Processes) -> None:
        """Overwrite a tensor, or this process's part of one."""
        found = self.like(name, target, processes)
        if found.shape != target.shape:
            raise ValueError(f"{name} has the shape {list(found.shape)}, not {list(target.shape)}")
        target.copy_(found)

    def like(self, name: str, model: Tensor, processes: Processes) -> Tensor:
        """A tensor on the device of `model`, shared out as it is if it has its shape."""
        shape = tuple(self._tensors[name]["shape"])
        if not isinstance(model, DTensor) or shape != tuple(model.shape):
            rows = self._rows(name, 0, shape[0]) if shape else self._whole(name)
            return rows.to(model.device)
        local = self._rows(name, *_own_rows(shape[0], processes)).to(model.to_local().device)
        return DTensor.from_local(
            local,
            model.device_mesh,
            model.placements,
            run_check=False,
            shape=model.shape,
            stride=model.stride(),
        )

    def _whole(self, name: str) -> Tensor:
        tensor: Tensor = self._open(self._tensors[name]["pieces"][0][0]).get_tensor(name)
        return tensor

    def _rows(self, name: str, start: int, count: int) -> Tensor:
        """Rows `start` … `start + count - 1`, from however many pieces."""
        found = []
        for file, first, rows in sorted(self._tensors[name]["pieces"], key=lambda piece: int(piece[1])):
            low, high = max(start, first), min(start + count, first + rows)
            if low < high:
                found.append(self._open(file).get_slice(name)[low - first : high - first])
        if sum(map(len, found)) != count:
            raise ValueError(f"{name} lacks rows")
        return torch.cat(found) if found else torch.empty(0, *self._tensors[name]["shape"][1:])

    def _open(self, name: str) -> Any:
        if name not in self._files:
            self._files[name] = safetensors.safe_open(self._place / name, framework="pt")
        return self._files[name]


def _own_rows(count: int, processes: Processes) -> tuple[int, int]:
    """First row and number of rows of this process's part, as FSDP2 shares rows out."""
    share = -(-count // processes.world)
    start = min(count, processes.rank * share)
    return start, min(count, start + share) - start


def _make_empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _prune(folder: Path, keep: int, keep_every: int) -> None:
    """Delete what is too old, and what killed writers left."""
    old = list_states(folder)[:-keep]
    _delete([state for state in old if not keep_every or int(state.name) % keep_every])
    for left in (folder / STATES).glob(".*"):
        shutil.rmtree(left, ignore_errors=True)


def _delete(states: Sequence[Path]) -> None:
    """So that no half-deleted folder is ever taken for a state."""
    for state in states:
        if state.exists():
            hidden = state.with_name(f".{state.name}.old")
            shutil.rmtree(hidden, ignore_errors=True)
            state.rename(hidden)
            shutil.rmtree(hidden)


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
