"""A model written in another family's form, read back, and compared while it is written.

The folder appears whole or not at all: it is filled under another name and moved into place only when
what was read back from it is what went in. Equal input gives equal bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clipworks.errors import CheckpointError, ConfigError
from clipworks.files import atomic_folder, atomic_write, sha256_file, write_json
from clipworks.model.cards import CARD, model_card
from clipworks.model.config import HEAD_WIDTH, ClipConfig, PreprocessConfig
from clipworks.model.formats import Family, Tensors
from clipworks.model.published import CONFIG, HF_PROCESSOR, OPEN_CLIP_CONFIG
from clipworks.model.sources import OPEN_CLIP_WEIGHTS, OPENAI_WEIGHTS, WEIGHTS
from clipworks.model.tokenizer_files import (
    MERGES,
    TOKENIZER_CONFIG,
    VOCABULARY,
    merges_text,
    tokenizer_config,
    vocabulary,
)
from clipworks.model.weights import Checkpoint, Dtype, read_checkpoint, write_checkpoint

WRITTEN = frozenset(
    {
        CARD,
        CONFIG,
        OPEN_CLIP_CONFIG,
        HF_PROCESSOR,
        WEIGHTS,
        OPEN_CLIP_WEIGHTS,
        OPENAI_WEIGHTS,
        VOCABULARY,
        MERGES,
        TOKENIZER_CONFIG,
        "manifest.json",
    }
)
"""Every name that `convert` gives to a file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversion:
    """What was written, and how far it is from its source."""

    folder: Path
    """Where it is."""
    family: Family
    """Whose form it has."""
    dtype: Dtype
    """How its numbers are stored."""
    fingerprint: str
    """Of the model that was read back; in f32 that of its source."""
    source_fingerprint: str
    """Of the model that was converted."""
    max_difference: float
    """Largest absolute difference between a weight and what was read back; 0 in f32."""
    files: Mapping[str, str]
    """File name -> sha256."""


def convert(
    checkpoint: Checkpoint,
    folder: Path,
    *,
    to: Family,
    dtype: Dtype = "f32",
    source: str,
    licence: str | None = None,
    replace: bool = False,
) -> Conversion:
    """Write a model as a folder in another family's form, with a model card.

    Args:
        checkpoint: the model.
        folder: must not exist, or be empty, unless `replace` is set.
        to: whose form: `hf`, `open_clip`, `openai` or `native`.
        dtype: how numbers are stored; f16 and i8 round them.
        source: what the card calls the model that this one was made of.
        licence: of the weights, for the card; None where nobody states it.
        replace: take the place of an earlier conversion; a folder with other files in it is kept.

    Raises:
        ConfigError: the folder is there and may not be replaced, or OpenAI's form cannot say what the
            model is.
        CheckpointError: it cannot be written, f16 cannot hold a value, or what was read back differs.
    """
    _require_free(folder, replace)
    if to == "openai":
        _require_expressible(checkpoint.config)
    try:
        with atomic_folder(folder) as new:
            written = write_checkpoint(new, checkpoint.config, checkpoint.tensors, family=to, dtype=dtype)
            if to == "hf":
                _write_tokenizer(new)
            card = model_card(
                checkpoint.config, family=to, dtype=dtype, source=source, licence=licence, fingerprint=written
            )
            with atomic_write(new / CARD) as opened:
                opened.write(card.encode())
            expected = checkpoint.fingerprint if dtype == "f32" else written
            back = _read_back(new, checkpoint.config, to, expected, folder)
            files = {file.name: sha256_file(file) for file in sorted(new.iterdir())}
            _require_free(folder, replace)  # another process may have been quicker
    except OSError as error:
        raise CheckpointError(
            f"{folder} cannot be written: {error.strerror or error}.", "Make room, or write elsewhere."
        ) from error
    return Conversion(
        folder=folder,
        family=to,
        dtype=dtype,
        fingerprint=back.fingerprint,
        source_fingerprint=checkpoint.fingerprint,
        max_difference=_max_difference(checkpoint.tensors, back.tensors),
        files=files,
    )


def _read_back(new: Path, config: ClipConfig, family: Family, expected: str, folder: Path) -> Checkpoint:
    """The model that was written, if it is the one with the fingerprint expected."""
    back = read_checkpoint(new, config=config if family == "openai" else None, keep_copy=False)
    if back.fingerprint != expected or back.config != config:
        raise CheckpointError(
            f"What was written for {folder} reads back as another model "
            f"({back.fingerprint[:12]} instead of {expected[:12]}); it was removed.",
            "Check the disk, and report this if it happens again.",
        )
    return back


def _require_free(folder: Path, may_replace: bool) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ConfigError(f"{folder} is a file.", "Name a folder that does not exist yet.")
    others = sorted(file.name for file in folder.iterdir())
    if others and not may_replace:
        raise ConfigError(f"{folder} is not empty.", "Write elsewhere, or pass --force to replace it.")
    is_ours = (folder / CARD).is_file() and "clipworks convert" in _text(folder / CARD)
    foreign = [name for name in others if name not in WRITTEN or not is_ours]
    if foreign:
        raise ConfigError(
            f"{folder} holds {foreign[0]}, which `clipworks convert` did not write, so it is not replaced.",
            "Move that away yourself, or write elsewhere.",
        )


def _require_expressible(config: ClipConfig) -> None:
    """OpenAI's reader has no config: it takes heads and MLP from the widths, and knows one normalisation."""
    problems = [
        f"{name} tower has {tower.heads} heads and an MLP of {tower.mlp_width} at width {tower.width}"
        for name, tower in (("the image", config.vision), ("the text", config.text))
        if (tower.heads, tower.mlp_width) != (tower.width // HEAD_WIDTH, 4 * tower.width)
    ]
    if config.preprocess != PreprocessConfig():
        problems.append(f"it was trained on pixels of mean {config.preprocess.mean}")
    if problems:
        raise ConfigError(
            f"OpenAI's form cannot say that {' and that '.join(problems)}.", "Use --to hf or --to open_clip."
        )


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")


def _write_tokenizer(folder: Path) -> None:
    write_json(folder / VOCABULARY, vocabulary())
    write_json(folder / TOKENIZER_CONFIG, tokenizer_config())
    with atomic_write(folder / MERGES) as opened:
        opened.write(merges_text().encode())


def _max_difference(one: Tensors, other: Tensors) -> float:
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)
