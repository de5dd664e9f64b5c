"""Checkpoints on disk: read any family's files, write them, and name the content by one hash.

The package's own ("native") folder is config.json, model.safetensors and, last, manifest.json.
Names and shapes are the work of `formats.py`, config files that of `published.py`, the forms of weights
files that of `sources.py`.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clipworks.errors import CheckpointError, DataError
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
from clipworks.model.archives import read_pickled, write_pickled
from clipworks.model.config import Activation, ClipConfig
from clipworks.model.converted import read_converted
from clipworks.model.formats import Array, Family, Tensors
from clipworks.model.packed import SCALE, is_packable, pack, unpack
from clipworks.model.releases import released_activation
from clipworks.model.resize import resized
from clipworks.model.sources import (
    OPEN_CLIP_WEIGHTS,
    OPENAI_WEIGHTS,
    WEIGHTS,
    find_weights,
    read_weights,
)
from clipworks.model.tensorfiles import safetensors_bytes
from clipworks.model.tokenizer_files import require_clip_vocabulary

Dtype = Literal["f32", "f16", "i8"]
"""How numbers are stored; in memory they are float32. `i8` is a native folder's only: `packed.py`."""

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
    image_size: int | None = None,
    keep_copy: bool = True,
) -> Checkpoint:
    """Read a model from a folder or a weights file of any of the known families.

    Args:
        path: a folder, or a weights file or index (see `sources.find_weights`); config files are
            looked for beside the weights.
        config: for files without a config; must not contradict a config that is there.
        activation: for files without a config, whose shape is then read off the tensors.
        image_size: side in pixels to which the image tower's table of places is brought; None leaves it.
        keep_copy: whether a pickled file is converted once into the cache.

    Raises:
        ConfigError: image_size is no multiple of the patch size.
        CheckpointError: nothing to read, an unfinished or damaged folder, a pickle with code in it, an
            activation that is stated nowhere or twice in different ways, tensors that are not those of
            the config, or numbers that are not finite.
    """
    file = find_weights(path)
    read = formats.unwrap(read_weights(file, read_converted if keep_copy else read_pickled))
    try:
        foreign = unpack(read)
        family = formats.detect(foreign)
    except CheckpointError as error:
        raise CheckpointError(f"{file}: {error.message}", error.remedy) from error
    stated = published.read_config(file.parent)
    if family == "native" and (stated is None or not is_complete(file.parent)):
        raise CheckpointError(
            f"{file.parent} lacks {published.CONFIG} or {MANIFEST}, so it is unfinished.",
            "Repeat the command that writes it.",
        )
    if stated is not None:
        require_clip_vocabulary(file.parent)
    if stated is None and config is None and activation is None:
        activation = released_activation(file)
    stated = _settle_config(stated, config, activation, file)
    try:
        if stated is None:
            assert activation is not None
            stated = formats.infer_config(foreign, family, activation=activation)
        if family == "native":
            _restore_token_table(foreign, stated.text.vocab_size)
        tensors = formats.to_native(foreign, family, stated)
        _require_finite(tensors)
    except CheckpointError as error:
        raise CheckpointError(f"{file}: {error.message}", error.remedy) from error
    content = fingerprint(stated, tensors)
    if family == "native" and _manifest_fingerprint(file.parent) != content:
        raise CheckpointError(f"{file} is not what its {MANIFEST} describes.", "Fetch or export it again.")
    if image_size is not None:
        stated, tensors = resized(stated, tensors, image_size)
        content = fingerprint(stated, tensors)
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
    OpenAI's form is a pickled state dict, as OpenAI's own code reads it, without a config file: who
    reads it must know the activation.

    Args:
        folder: made if it does not exist; files of the same names are replaced.
        config: shape of the model.
        tensors: native names, as in `Checkpoint.tensors`.
        family: whose names and config files to write.
        dtype: how numbers are stored; f16 and i8 round them.

    Returns:
        The fingerprint of the model as it will be read back.

    Raises:
        CheckpointError: `tensors` is not a whole model of shape `config`, or i8 is asked for in another
            family's form.
    """
    if dtype == "i8" and family != "native":
        raise CheckpointError(
            f"The form of {family} has no weights in eight bits.", "Write --to native, or with --dtype f16."
        )
    native = formats.to_native(tensors, "native", config)
    if dtype != "f32":
        native = {name: _rounded(name, array, dtype) for name, array in native.items()}
    stored = _stored(native, config, family, dtype)
    for name, values in _config_files(config, family).items():
        write_json(folder / name, values)
    names = {"openai": OPENAI_WEIGHTS, "open_clip": OPEN_CLIP_WEIGHTS}
    with atomic_write(folder / names.get(family, WEIGHTS)) as opened:
        if family == "openai":
            write_pickled(opened, stored)
        else:
            opened.write(safetensors_bytes(stored))
    content = fingerprint(config, native)
    if family == "native":
        hashes = {name: sha256_file(folder / name) for name in (published.CONFIG, WEIGHTS)}
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


def _manifest_fingerprint(folder: Path) -> Any:
    try:
        return read_manifest(folder).get("fingerprint")
    except DataError as error:
        raise CheckpointError(error.message, error.remedy) from error


def _settle_config(
    stated: ClipConfig | None, config: ClipConfig | None, activation: Activation | None, file: Path
) -> ClipConfig | None:
    """One config out of the file's and the caller's; None if the shape is to be read off the tensors."""
    given = config if config is not None else stated
    if given is None and activation is None:
        raise CheckpointError(
            f"Nothing beside {file} says whether this model's activation is gelu or quick_gelu.",
            "Pass activation='quick_gelu' (--activation of `clipworks convert`) for models of OpenAI and "
            "MetaCLIP, activation='gelu' for others.",
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


def _stored(native: Tensors, config: ClipConfig, family: Family, dtype: Dtype) -> dict[str, Array]:
    """The tensors of the file, by their names in it; rounding them loses nothing any more."""
    stored: dict[str, Array] = dict(formats.from_native(native, config, family))
    if family == "native":
        _thin_token_table(stored)
    if dtype == "i8":
        for name in [name for name, array in stored.items() if is_packable(array)]:
            stored |= pack(name, stored[name])
    if dtype != "f32":
        halves = {name for name, array in stored.items() if _is_half(name, array)}
        stored |= {name: stored[name].astype(np.float16) for name in halves}
    if family == "openai":
        numbers = (config.vision.image_size, config.text.context_length, config.text.vocab_size)
        stored |= {name: np.array(n) for name, n in zip(formats.OPENAI_SCALARS, numbers, strict=True)}
    return stored


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


def _require_finite(tensors: Tensors) -> None:
    for name, array in tensors.items():
        count = array.size - np.count_nonzero(np.isfinite(array))
        if count:
            raise CheckpointError(
                f"{name} holds {count} of {array.size} values that are not finite numbers (NaN or infinity).",
                "The file is damaged, or the training diverged: fetch it again, or take an earlier one.",
            )


def _thin_token_table(tensors: dict[str, Array]) -> None:
    """Leave the all-zero rows of the token table out, where these are the majority."""
    table = tensors[_TOKEN_TABLE]
    rows = np.flatnonzero(table.any(axis=1)).astype(np.int32)
    if 2 * len(rows) < len(table):
        tensors |= {_TOKEN_TABLE: table[rows], _TOKEN_ROWS: rows}


def _is_half(name: str, array: Array) -> bool:
    """Whether a tensor that was not packed is stored in float16."""
    return array.dtype == np.float32 and array.ndim > 0 and not name.endswith(SCALE)


def _rounded(name: str, array: NDArray[np.float32], dtype: Dtype) -> NDArray[np.float32]:
    if array.ndim == 0:
        return array
    if dtype == "i8" and is_packable(array):
        return unpack(pack(name, array))[name]
    if np.abs(array).max() > np.finfo(np.float16).max:
        raise CheckpointError(f"{name} has values that f16 cannot hold.", "Write with dtype='f32'.")
    # Adding zero makes -0.0 to 0.0: a row of zeros that is not stored is read back so.
    return array.astype(np.float16).astype(np.float32) + np.float32(0)


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
