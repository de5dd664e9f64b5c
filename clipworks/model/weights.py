"""Checkpoints on disk: read any family's files, write them, and name the content by one hash.

The package's own ("native") folder is config.json, model.safetensors and, last, manifest.json.
Names and shapes are the work of `formats.py`, config files that of `published.py`. Pickled files
need PyTorch, whose owner is `network.py`: callers that want them pass its `read_pickle`.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from clipworks.errors import CheckpointError, DataError, MissingExtraError
from clipworks.files import (
    MANIFEST,
    atomic_write,
    is_complete,
    read_manifest,
    sha256_file,
    write_json,
    write_manifest,
)
from clipworks.model import formats, published
from clipworks.model.config import Activation, ClipConfig
from clipworks.model.formats import OPEN_CLIP_WEIGHTS, WEIGHT_FILES, WEIGHTS, Array, Family, Tensors

Dtype = Literal["f32", "f16"]
"""How numbers are stored; in memory they are float32."""

ReadPickle = Callable[[Path], dict[str, Array]]
"""`network.read_pickle`: a pickled state dict, read without running code from the file."""

_TOKEN_TABLE = "text.token_embedding.weight"
_TOKEN_ROWS = "text.token_embedding.rows"


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A whole model in memory."""

    config: ClipConfig
    """Shape, activation and pixel normalisation."""
    tensors: Tensors
    """float32 arrays under the names of `network.Clip`'s state dict."""
    fingerprint: str
    """sha256 over config and weights, 64 hex characters; equal for equal models in any file form."""
    family: Family
    """Whose file it came from."""
    path: Path
    """The weights file."""


def read_checkpoint(
    path: Path,
    *,
    config: ClipConfig | None = None,
    activation: Activation | None = None,
    read_pickle: ReadPickle | None = None,
) -> Checkpoint:
    """Read a model from a folder or a weights file of any of the known families.

    Args:
        path: a folder with one of WEIGHT_FILES, or a `.safetensors`, `.bin` or `.pt` file; config
            files are looked for beside the weights.
        config: for files without a config; must not contradict a config that is there.
        activation: for files without a config, whose shape is then read off the tensors.
        read_pickle: reader of `.bin` and `.pt` files; None refuses them.

    Raises:
        CheckpointError: nothing to read, an unfinished or damaged folder, an activation that is
            stated nowhere or twice in different ways, or tensors that are not those of the config.
        MissingExtraError: a pickled file, and no `read_pickle`.
    """
    file = _find_weights(path)
    foreign = formats.unwrap(_read_file(file, read_pickle))
    family = formats.detect(foreign)
    stated = published.read_config(file.parent)
    if family == "native" and (stated is None or not is_complete(file.parent)):
        raise CheckpointError(
            f"{file.parent} lacks {published.CONFIG} or {MANIFEST}, so it is unfinished.",
            "Repeat the command that writes it.",
        )
    stated = _settle_config(stated, config, activation, file)
    if stated is None:
        assert activation is not None
        stated = formats.infer_config(foreign, family, activation=activation)
    try:
        if family == "native":
            _restore_token_table(foreign, stated.text.vocab_size)
        tensors = formats.to_native(foreign, family, stated)
    except CheckpointError as error:
        raise CheckpointError(f"{file}: {error.message}", error.remedy) from error
    content = fingerprint(stated, tensors)
    if family == "native" and _manifest_fingerprint(file.parent) != content:
        raise CheckpointError(f"{file} is not what its {MANIFEST} describes.", "Fetch or export it again.")
    return Checkpoint(config=stated, tensors=tensors, fingerprint=content, family=family, path=file)


def write_checkpoint(
    folder: Path,
    config: ClipConfig,
    tensors: Mapping[str, NDArray[np.float32]],
    *,
    family: Family = "native",
    dtype: Dtype = "f32",
) -> str:
    """Write a model as a folder in a family's form.

    A native folder keeps the token table without its all-zero rows, where these are the majority.
    OpenAI's form has no config file: who reads it must know the activation.

    Args:
        folder: made if it does not exist; files of the same names are replaced.
        config: shape of the model.
        tensors: native names, as in `Checkpoint.tensors`.
        family: whose names and config files to write.
        dtype: how numbers are stored; f16 rounds them.

    Returns:
        The fingerprint of the model as it will be read back.

    Raises:
        CheckpointError: `tensors` is not a whole model of shape `config`.
    """
    native = formats.to_native(tensors, "native", config)
    if dtype == "f16":
        native = {name: _rounded(name, array) for name, array in native.items()}
    stored: dict[str, Array] = dict(formats.from_native(native, config, family))
    if family == "native":
        _thin_token_table(stored)
    if dtype == "f16":
        halves = {name for name, array in stored.items() if array.dtype == np.float32 and array.ndim > 0}
        stored |= {name: stored[name].astype(np.float16) for name in halves}
    if family == "openai":
        numbers = (config.vision.image_size, config.text.context_length, config.text.vocab_size)
        stored |= {name: np.array(n) for name, n in zip(formats.OPENAI_SCALARS, numbers, strict=True)}
    for name, values in _config_files(config, family).items():
        write_json(folder / name, values)
    weights = folder / (OPEN_CLIP_WEIGHTS if family == "open_clip" else WEIGHTS)
    with atomic_write(weights) as file:
        file.write(safetensors.numpy.save(stored, metadata={"format": "pt"}))
    content = fingerprint(config, native)
    if family == "native":
        names = (published.CONFIG, WEIGHTS)
        hashes = {name: sha256_file(folder / name) for name in names}
        write_manifest(folder, {"kind": "checkpoint", "fingerprint": content, "sha256": hashes})
    return content


def fingerprint(config: ClipConfig, tensors: Mapping[str, NDArray[np.float32]]) -> str:
    """sha256 over a config and the float32 content of its native tensors, 64 hex characters."""
    digest = hashlib.sha256(json.dumps(config.to_json(), sort_keys=True).encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name], dtype=np.float32)
        digest.update(f"\n{name} {list(array.shape)}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()


def read_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a safetensors file; the tensors themselves are not read.

    Raises:
        CheckpointError: the file is damaged or no safetensors file.
    """
    try:
        with safetensors.safe_open(file, framework="np") as opened:
            return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(f"{file} is damaged or no safetensors file: {error}.") from error


def _manifest_fingerprint(folder: Path) -> Any:
    try:
        return read_manifest(folder).get("fingerprint")
    except DataError as error:
        raise CheckpointError(error.message, error.remedy) from error


def _find_weights(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise CheckpointError(
            f"There is no model at {path}.", "Give a folder, a weights file or a known name."
        )
    for name in WEIGHT_FILES:
        if (path / name).is_file():
            return path / name
    raise CheckpointError(f"The folder {path} holds no weights.", f"Looked for: {', '.join(WEIGHT_FILES)}.")


def _settle_config(
    stated: ClipConfig | None, config: ClipConfig | None, activation: Activation | None, file: Path
) -> ClipConfig | None:
    """One config out of the file's and the caller's; None if the shape is to be read off the tensors."""
    given = config if config is not None else stated
    if given is None and activation is None:
        raise CheckpointError(
            f"Nothing beside {file} says whether this model's activation is gelu or quick_gelu.",
            "Pass activation='quick_gelu' for models of OpenAI and MetaCLIP, activation='gelu' for others.",
        )
    wanted = given
    if given is not None and activation is not None:
        wanted = replace(given, activation=activation)
    for one in (given, stated):
        if one is not None and wanted is not None and one != wanted:
            raise CheckpointError(
                f"The config of {file} and the arguments contradict each other: "
                f"{published.differences(one, wanted)}.",
                "Leave config= and activation= out for files that have a config.",
            )
    return wanted


def _read_file(file: Path, read_pickle: ReadPickle | None) -> dict[str, Array]:
    if file.suffix == ".safetensors":
        return _read_safetensors(file)
    if file.suffix not in (".bin", ".pt", ".pth"):
        raise CheckpointError(f"{file} is no weights file.", "Known endings: .safetensors, .bin, .pt, .pth.")
    if read_pickle is None:
        raise MissingExtraError("torch", "train")
    return read_pickle(file)


def _read_safetensors(file: Path) -> dict[str, Array]:
    try:
        with safetensors.safe_open(file, framework="np") as opened:
            names = opened.keys()
            if all(opened.get_slice(name).get_dtype() != "BF16" for name in names):
                return {name: opened.get_tensor(name) for name in names}
        views = safetensors.deserialize(file.read_bytes())  # type: ignore[no-untyped-call]
        return {name: _from_view(view) for name, view in views}
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{file} is damaged or no safetensors file: {error}.") from error


def _from_view(view: dict[str, Any]) -> Array:
    """A tensor of a file that has bfloat16 in it, a type that numpy lacks: the upper half of a float32."""
    shape, data = view["shape"], view["data"]
    if view["dtype"] == "BF16":
        wide = np.frombuffer(data, dtype=np.uint16).astype(np.uint32) << 16
        return wide.view(np.float32).reshape(shape)
    types = {"F32": np.float32, "F16": np.float16, "F64": np.float64, "I64": np.int64, "I32": np.int32}
    return np.frombuffer(data, dtype=types[view["dtype"]]).reshape(shape)


def _restore_token_table(tensors: dict[str, Array], vocab_size: int) -> None:
    """Put the rows of a sparse token table to their places in a whole one, inside `tensors`."""
    rows = tensors.pop(_TOKEN_ROWS, None)
    if rows is None:
        return
    kept = tensors.get(_TOKEN_TABLE)
    if kept is None or rows.ndim != 1 or kept.ndim != 2 or len(kept) != len(rows):
        raise CheckpointError(f"{_TOKEN_TABLE} and {_TOKEN_ROWS} do not have one row for one row.")
    if rows.dtype != np.int32 or (len(rows) and not 0 <= rows.min() <= rows.max() < vocab_size):
        raise CheckpointError(f"{_TOKEN_ROWS} names rows outside of 0..{vocab_size - 1}.")
    table = np.zeros((vocab_size, kept.shape[1]), dtype=np.float32)
    table[rows] = kept
    tensors[_TOKEN_TABLE] = table


def _thin_token_table(tensors: dict[str, Array]) -> None:
    """Leave the all-zero rows of the token table out, where these are the majority."""
    table = tensors[_TOKEN_TABLE]
    rows = np.flatnonzero(table.any(axis=1)).astype(np.int32)
    if 2 * len(rows) < len(table):
        tensors |= {_TOKEN_TABLE: table[rows], _TOKEN_ROWS: rows}


def _rounded(name: str, array: NDArray[np.float32]) -> NDArray[np.float32]:
    if array.ndim == 0:
        return array
    if np.abs(array).max() > np.finfo(np.float16).max:
        raise CheckpointError(f"{name} has values that f16 cannot hold.", "Write with dtype='f32'.")
    return array.astype(np.float16).astype(np.float32)


def _config_files(config: ClipConfig, family: Family) -> dict[str, Any]:
    if family == "native":
        return {published.CONFIG: published.to_native_config(config)}
    if family == "open_clip":
        return {published.OPEN_CLIP_CONFIG: published.to_open_clip_config(config)}
    if family == "hf":
        return {
            published.CONFIG: published.to_hf_config(config),
            published.HF_PROCESSOR: published.to_hf_processor(config),
        }
    return {}
