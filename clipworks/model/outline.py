"""What can be said of a checkpoint on disk without reading its weights.

Its config files, the names and shapes in the head of a safetensors file, and the fingerprint in the
manifest of a native folder. `weights.read_checkpoint` reads, checks and hashes the whole.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from clipworks.errors import CheckpointError, DataError
from clipworks.files import MANIFEST, is_complete, read_manifest
from clipworks.model import formats
from clipworks.model.config import Activation, ClipConfig
from clipworks.model.formats import Family
from clipworks.model.packed import scales_among
from clipworks.model.published import CONFIG, read_config
from clipworks.model.sources import find_weights
from clipworks.model.tensorfiles import read_shapes


@dataclass(frozen=True, kw_only=True, slots=True)
class Outline:
    """A checkpoint from the outside."""

    path: Path
    """The folder or file that was asked for."""
    config: ClipConfig | None
    """Shape of the model, from a config file or else from the tensors' shapes; None if neither tells.

    Where `activation` is None, the one in here means nothing.
    """
    activation: Activation | None
    """None where no file states it: `load` then wants it as an argument."""
    family: Family | None
    """Whose names the weights have; None if they are pickled or not there."""
    weights: Path | None
    """The weights file that would be loaded."""
    fingerprint: str | None
    """As a native folder's manifest states it; None for other families, whose weights must be read for it."""


def outline(path: Path) -> Outline:
    """Look at a folder or weights file of any family.

    Raises:
        CheckpointError: there is nothing at this path, neither a config nor weights, or what there is is
            damaged, unfinished or of another kind of model.
    """
    if not path.exists():
        raise CheckpointError(
            f"There is no model at {path}.", "Give a folder, a weights file or a known name."
        )
    folder = path if path.is_dir() else path.parent
    config = read_config(folder)
    weights = _weights_at(path, may_lack=config is not None)
    seen = Outline(
        path=path,
        config=config,
        activation=config.activation if config is not None else None,
        family=None,
        weights=weights,
        fingerprint=None,
    )
    if weights is None or weights.suffix != ".safetensors":
        return seen
    # An array of this kind has a shape and no content of its own.
    hollow = {name: np.broadcast_to(np.float32(0), shape) for name, shape in read_shapes(weights).items()}
    for name in scales_among(hollow):
        del hollow[name]
    tensors = formats.unwrap(hollow)
    family = formats.detect(tensors)
    if family == "native":
        return replace(seen, family=family, fingerprint=_stated_fingerprint(folder))
    if config is None:
        # Either activation serves to read the shape; none is stated.
        config = formats.infer_config(tensors, family, activation="gelu")
    return replace(seen, family=family, config=config)


def _weights_at(path: Path, *, may_lack: bool) -> Path | None:
    try:
        return find_weights(path)
    except CheckpointError:
        if may_lack and path.is_dir():
            return None
        raise


def _stated_fingerprint(folder: Path) -> str:
    if not is_complete(folder):
        raise CheckpointError(
            f"{folder} lacks {CONFIG} or {MANIFEST}, so it is unfinished.",
            "Repeat the command that writes it.",
        )
    try:
        return str(read_manifest(folder)["fingerprint"])
    except (DataError, KeyError) as error:
        raise CheckpointError(f"The {MANIFEST} in {folder} is damaged.", "Export the model again.") from error
