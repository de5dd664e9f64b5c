"""What precisions are fitted to and measured on: pictures and captions of the package.

Half of the pictures are photographs, the rest clip art and emoji; captions stand alone, in sentences
and in lists, so that lengths are those of real captions. The choice is fixed: it depends on the files
of the gallery and on nothing else. Every second picture and text is held out of the fit.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipworks.errors import DataError
from clipworks.model import buckets
from clipworks.model.config import ClipConfig
from clipworks.model.preprocess import prepare
from clipworks.model.tokenizer import tokenize

GALLERY = Path(__file__).parent.parent / "gallery"
"""Where the package keeps its pictures and `metadata.jsonl`."""

_PICTURES = {"photo": 32, "clipart": 16, "emoji": 16}
_SENTENCES = (
    "{0}",
    "a photo of {0}.",
    "{0} next to {1}, seen from above",
    "a small picture that shows {0}, {1} and {2} in front of a white background",
)
_NUM_TEXTS = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class Samples:
    """Inputs of both towers."""

    pixels: NDArray[np.uint8]
    """uint8 [N, S, S, 3] RGB."""
    texts: tuple[NDArray[np.int64], ...]
    """int64 [B, T] each, token ids of like length."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """Inputs that share no picture and no text."""

    fitted: Samples
    """What scales are chosen by."""
    held_out: Samples
    """What vectors are compared on."""


def read_calibration(config: ClipConfig, *, gallery: Path = GALLERY) -> Calibration:
    """The pictures and texts that a model's precisions are fitted to and measured on.

    Raises:
        DataError: the package's gallery is damaged or missing.
    """
    rows = _chosen(gallery)
    pictures = [_read(gallery / row["file"]) for kind in _PICTURES for row in rows[kind]]
    pixels = np.stack([prepare(data, config.vision.image_size) for data in pictures])
    tokens = tokenize(_sentences(rows), context_length=config.text.context_length)
    one_in_two = np.arange(_NUM_TEXTS) // len(_SENTENCES) % 2 == 0
    return Calibration(
        fitted=_samples(pixels[::2], tokens[one_in_two]),
        held_out=_samples(pixels[1::2], tokens[~one_in_two]),
    )


def samples_hash(*, gallery: Path = GALLERY) -> str:
    """sha256 over the files and sentences behind `read_calibration`, 64 hex characters.

    Raises:
        DataError: the package's gallery is damaged or missing.
    """
    rows = _chosen(gallery)
    digest = sha256("\n".join(_sentences(rows)).encode())
    for row in (row for kind in _PICTURES for row in rows[kind]):
        digest.update(sha256(_read(gallery / row["file"])).digest())
    return digest.hexdigest()


def _samples(pixels: NDArray[np.uint8], tokens: NDArray[np.int64]) -> Samples:
    texts = tuple(bucket.tokens for bucket in buckets.cut(tokens, len(tokens)))
    return Samples(pixels=np.ascontiguousarray(pixels), texts=texts)


def _chosen(gallery: Path) -> dict[str, list[dict[str, Any]]]:
    """Evenly spaced rows of the gallery's metadata, by kind."""
    try:
        rows = [json.loads(line) for line in _read(gallery / "metadata.jsonl").splitlines()]
        by_kind = {kind: [row for row in rows if row["kind"] == kind] for kind in _PICTURES}
        return {
            kind: [by_kind[kind][i * len(by_kind[kind]) // count] for i in range(count)]
            for kind, count in _PICTURES.items()
        }
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise DataError(f"{gallery / 'metadata.jsonl'} is damaged.", "Install clipworks again.") from error


def _sentences(rows: dict[str, list[dict[str, Any]]]) -> list[str]:
    captions = [row["caption"] for kind in _PICTURES for row in rows[kind]]

    def fill(n: int) -> Iterator[str]:
        return (captions[(n + step) % len(captions)] for step in (0, 5, 11))

    # The captions go round; each round puts them into other sentences.
    forms = (_SENTENCES[(n + n // len(captions)) % len(_SENTENCES)] for n in range(_NUM_TEXTS))
    return [form.format(*fill(n)) for n, form in enumerate(forms)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", "Install clipworks again.") from error
