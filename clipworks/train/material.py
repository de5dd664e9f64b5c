"""A small data set in memory, ready to train on: pixels, and labels or tokens.

Suits what fine-tuning is for, some thousands of pictures; more is the work of `loop.py` and shards.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from clipworks.errors import DataError, InputError
from clipworks.model.config import ClipConfig
from clipworks.model.pipeline import prepared_batches
from clipworks.model.preprocess import prepare
from clipworks.model.tokenizer import tokenize
from clipworks.train.examples import LARGEST_SKIPPED_SHARE, Example, Skipped

LARGEST_MATERIAL_BYTES = 8 << 30
_PICTURES_PER_CALL = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """Pictures that could be read."""

    examples: tuple[Example, ...]
    """N of them, in their order."""
    hashes: tuple[str, ...]
    """sha256 of each one's bytes."""
    pixels: NDArray[np.uint8]
    """uint8 [N, S, S, 3], as inference prepares them."""
    skipped: tuple[Skipped, ...]
    """The others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Captions:
    """The texts of a material: U different ones."""

    texts: tuple[tuple[int, ...], ...]
    """Per example the numbers of its captions."""
    tokens: NDArray[np.int64]
    """int64 [U, T], zero-padded."""

    def draw(self, places: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """The number of one caption per example, at random."""
        chosen = [self.texts[i][int(rng.integers(len(self.texts[i])))] for i in places.tolist()]
        return np.array(chosen, dtype=np.int64)

    def shared(self, places: NDArray[np.int64], chosen: NDArray[np.int64]) -> NDArray[np.bool_]:
        """bool [B, B]: whether the text chosen for example j is a caption of example i as well."""
        return np.stack([np.isin(chosen, self.texts[i]) for i in places.tolist()])


def read_material(
    examples: Sequence[Example], config: ClipConfig, *, on_progress: Callable[[int, int], None] | None = None
) -> Material:
    """Read and decode pictures.

    Raises:
        DataError: they do not fit into LARGEST_MATERIAL_BYTES, or too many cannot be used.
    """
    size = config.vision.image_size
    num_bytes = len(examples) * size * size * 3
    if num_bytes > LARGEST_MATERIAL_BYTES:
        raise DataError(
            f"{len(examples)} pictures of {size} pixels need {num_bytes / 2**30:.1f} GiB of memory; "
            f"fine-tuning holds up to {LARGEST_MATERIAL_BYTES / 2**30:.0f} GiB.",
            "Take fewer pictures, or train from shards with `clipworks train`.",
        )
    starts = range(0, len(examples), _PICTURES_PER_CALL)
    hashes = dict[int, str]()
    pixels: list[NDArray[np.uint8]] = []
    usable: list[int] = []
    skipped: list[Skipped] = []

    def decode(place: int) -> NDArray[np.uint8]:
        example = examples[place]
        content = example.read()
        hashes[place] = sha256(content).hexdigest()
        return prepare(content, size, name=example.name)

    numbered = (range(start, min(start + _PICTURES_PER_CALL, len(examples))) for start in starts)
    with prepared_batches(numbered, decode) as prepared:
        place = 0
        for batch in prepared:
            for one in batch:
                if isinstance(one, InputError):
                    skipped.append(Skipped(name=examples[place].name, reason=str(one)))
                else:
                    usable.append(place)
                    pixels.append(one)
                place += 1
            if on_progress is not None:
                on_progress(place, len(examples))
    if len(skipped) > LARGEST_SKIPPED_SHARE * len(examples):
        raise DataError(
            f"{len(skipped)} of {len(examples)} pictures cannot be used; the first: {skipped[0].reason}",
            "Remove or repair them.",
        )
    return Material(
        examples=tuple(examples[i] for i in usable),
        hashes=tuple(hashes[i] for i in usable),
        pixels=np.stack(pixels),
        skipped=tuple(skipped),
    )


def read_captions(examples: Sequence[Example], config: ClipConfig) -> Captions:
    """The captions of examples, tokenised.

    Raises:
        DataError: an example has none, or all have the same one.
    """
    numbers: dict[str, int] = {}
    texts: list[tuple[int, ...]] = []
    for example in examples:
        if not example.texts:
            raise DataError(f"{example.name} has no caption.", "Give every picture one, or leave it out.")
        texts.append(tuple(numbers.setdefault(text, len(numbers)) for text in example.texts))
    if len(numbers) < 2:
        raise DataError(f"All pictures have the caption {examples[0].texts[0]!r}.", "Give them their own.")
    tokens = tokenize(list(numbers), context_length=config.text.context_length)
    return Captions(texts=tuple(texts), tokens=tokens)
