"""Shards to batches: a batch is a pure function of the data, the seed and the step.

All pictures are decoded once and held in memory, which suits data sets of up to some hundred
thousand small pictures. The order needs no state: each epoch visits every sample as often as its
weight says, in an order drawn from (seed, epoch), so a run resumes at any step exactly.
"""

import logging
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clipworks.errors import DataError, InputError
from clipworks.model.preprocess import prepare_rgba
from clipworks.model.tokenizer import tokenize
from clipworks.shards import Sample, count_samples, read_shards
from clipworks.train.augment import composite, draw_kept_patches, draw_moves, move, normalise
from clipworks.train.config import TrainConfig
from clipworks.train.loss import Captions, pad_captions
from clipworks.train.order import LARGEST_WEIGHT
from clipworks.train.probs import probs_of

logger = logging.getLogger(__name__)

T = TypeVar("T")

LARGEST_DATASET_BYTES = 12 << 30

READ_AHEAD_SAMPLES = 256
"""Encoded pictures that wait for a thread to decode them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """Decoded pictures and tokenised captions. N samples, U different texts."""

    pictures: npt.NDArray[np.uint8]
    """uint8 [N, S, S, 4], colour and alpha."""
    is_glyph: npt.NDArray[np.bool_]
    """bool [N]: one colour, the shape in the alpha channel (`"mono": true` in the sample)."""
    weights: npt.NDArray[np.float64]
    """float64 [N], above 0: how often a sample is visited, relative to the others (`"weight"`)."""
    texts: tuple[tuple[int, ...], ...]
    """Per sample the numbers of its captions, the most exact first."""
    probs: tuple[tuple[float, ...], ...]
    """Per sample how likely each is drawn, not normalised; empty where `first_text_prob` decides."""
    tokens: npt.NDArray[np.int64]
    """int64 [U, T], zero-padded; each token is its place in `token_rows`."""
    token_rows: npt.NDArray[np.int64]
    """int64 [K], rising: the token ids that occur. Only their rows of the token table are trained,
    which is a quarter of the vocabulary in a set of short names. The end-of-text id stays the
    largest and the padding id 0 the smallest."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Samples that are left out since their picture cannot be used, by cause."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """What one step reads."""

    images_BCHW: Tensor
    """float32, normalised."""
    tokens_BT: Tensor
    """int64, cut at the longest text of the batch."""
    captions: Captions | None
    """Which texts describe which pictures; None where each describes its own alone."""
    kept_BT: Tensor | None
    """int64, the patches that are shown; None for all."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Samples that could not be used or were left out by balancing, by cause."""


def read_dataset(folder: Path, config: TrainConfig) -> Dataset:
    """Decode a folder of shards into memory while it is read, some pictures ahead.

    The hashes in its manifest are taken as checked (`hash_shards`), as a run does before this.

    Pictures that cannot be used are left out, with a warning that names the first.

    Raises:
        DataError: no shards, damaged shards, fewer samples than a batch, more than `LARGEST_DATASET_BYTES`
            of decoded pictures, or too many pictures that cannot be used.
    """
    size = config.model.vision.image_size
    num_samples = count_samples(folder)
    _require_room(num_samples, size)
    _require_batch(folder, num_samples, config)
    pictures = np.empty((num_samples, size, size, 4), dtype=np.uint8)
    is_glyph = np.empty(num_samples, dtype=np.bool_)
    weights = np.empty(num_samples, dtype=np.float64)
    numbers: dict[str, int] = {}
    texts: list[tuple[int, ...]] = []
    probs: list[tuple[float, ...]] = []

    faults: dict[int, InputError] = {}

    def decode(place: int, sample: Sample) -> None:
        try:
            pictures[place] = prepare_rgba(sample.image, size, name=f"sample {sample.key}")
        except InputError as error:
            faults[place] = error

    waiting: deque[Future[None]] = deque()
    with ThreadPoolExecutor() as pool:
        for place, sample in enumerate(read_shards(folder, check_hashes=False)):
            is_glyph[place] = bool(sample.details.get("mono", False))
            weights[place] = _weight(sample)
            texts.append(tuple(numbers.setdefault(text, len(numbers)) for text in sample.texts))
            probs.append(tuple(probs_of(sample.texts, sample.details, sample.key) or ()))
            waiting.append(pool.submit(decode, place, sample))
            if len(waiting) > READ_AHEAD_SAMPLES:
                waiting.popleft().result()
        for decoded in waiting:
            decoded.result()
    usable = _usable(folder, num_samples, faults, config)
    for new, old in enumerate(usable if faults else ()):
        pictures[new] = pictures[old]  # where they are: a copy of all would need the memory twice
    tokens = tokenize(list(numbers), context_length=config.model.text.context_length)
    token_rows, places = np.unique(tokens, return_inverse=True)
    return Dataset(
        pictures=pictures[: len(usable)],
        is_glyph=is_glyph[usable],
        weights=weights[usable],
        texts=tuple(texts[place] for place in usable),
        probs=tuple(probs[place] for place in usable),
        tokens=places.reshape(tokens.shape),
        token_rows=token_rows,
        skipped=Counter(error.code for error in faults.values()),
    )


def read_batches(
    dataset: Dataset, config: TrainConfig, first_step: int = 0, *, rows: slice = slice(None)
) -> Iterator[Batch]:
    """The batches of the steps `first_step` … `config.steps - 1`; the next is drawn while one is used.

    Args:
        dataset: what to draw from.
        config: sizes, seed and how samples are drawn.
        first_step: number of the first step.
        rows: the rows of each batch that are made; they are the same in whatever parts a batch is made.
    """
    visits = _Visits(dataset.weights, config.seed)
    for drawn in ahead(
        lambda step: _draw(dataset, visits, config, step, rows), range(first_step, config.steps)
    ):
        yield _finish(drawn, config)


def ahead(draw: Callable[[int], T], steps: range) -> Iterator[T]:
    """What is drawn for each step, by a thread; the next is drawn while one is used.

    Args:
        draw: leaves PyTorch alone: two teams of its threads on the same cores would wait for each other at
            every barrier.
        steps: of which each is drawn once.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting = [pool.submit(draw, step) for step in steps[:1]]
        for following in steps[1:]:
            drawn = waiting.pop().result()
            waiting.append(pool.submit(draw, following))
            yield drawn
        yield from (last.result() for last in waiting)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Drawn:
    """A batch before PyTorch touches it."""

    pixels: npt.NDArray[np.float32]
    moves: npt.NDArray[np.float32]
    tokens: npt.NDArray[np.int64]
    captions: npt.NDArray[np.int64]
    chosen: npt.NDArray[np.int64]
    kept: npt.NDArray[np.int64] | None


def _draw(dataset: Dataset, all_visits: "_Visits", config: TrainConfig, step: int, rows: slice) -> _Drawn:
    rng = np.random.default_rng([config.seed, 1, step])
    visits = all_visits.take(step * config.batch_size, config.batch_size)
    texts = [dataset.texts[visit] for visit in visits]
    probs = [dataset.probs[visit] for visit in visits]
    chosen = _draw_texts(texts, probs, config.first_text_prob, rng)
    tokens = dataset.tokens[chosen[rows]]
    dropout = 0.0 if step >= config.steps - config.unmasked_steps else config.patch_dropout
    patches = config.model.vision.grid**2
    pixels = composite(
        dataset.pictures[visits[rows]],
        dataset.is_glyph[visits],
        rng,
        recolour=config.recolour,
        jitter=config.jitter,
        rows=rows,
    )
    moves = draw_moves(len(visits), rng, zoom=config.zoom, shift=config.shift)[rows]
    return _Drawn(
        pixels=pixels,
        moves=moves,
        tokens=tokens[:, : int(tokens.argmax(axis=1).max()) + 1],
        captions=pad_captions(texts[rows]),
        chosen=np.array(chosen[rows], dtype=np.int64),
        kept=draw_kept_patches(len(visits), patches, dropout, rng, rows=rows) if dropout else None,
    )


def _finish(drawn: _Drawn, config: TrainConfig) -> Batch:
    images_BCHW = torch.from_numpy(drawn.pixels).permute(0, 3, 1, 2)
    if config.zoom or config.shift:
        images_BCHW = move(images_BCHW, torch.from_numpy(drawn.moves))
    return Batch(
        images_BCHW=normalise(images_BCHW, config.model.preprocess).contiguous(),
        tokens_BT=torch.from_numpy(drawn.tokens),
        captions=Captions(
            of_image_BK=torch.from_numpy(drawn.captions), chosen_B=torch.from_numpy(drawn.chosen)
        ),
        kept_BT=None if drawn.kept is None else torch.from_numpy(drawn.kept),
    )


def _require_room(num_samples: int, size: int) -> None:
    num_bytes = num_samples * size * size * 4
    if num_bytes > LARGEST_DATASET_BYTES:
        raise DataError(
            f"{num_samples} pictures of {size} pixels need {num_bytes / 2**30:.1f} GiB of memory; "
            f"the loader holds up to {LARGEST_DATASET_BYTES / 2**30:.0f} GiB.",
            "Train on fewer shards or smaller pictures.",
        )


def _require_batch(folder: Path, num_samples: int, config: TrainConfig) -> None:
    if num_samples < config.batch_size:
        raise DataError(
            f"{folder} holds {num_samples} samples, fewer than one batch of {config.batch_size}.",
            "Give more data or --set batch_size=N.",
        )


def _usable(folder: Path, num_samples: int, faults: dict[int, InputError], config: TrainConfig) -> list[int]:
    """The samples without a fault, rising."""
    if faults:
        first = faults[min(faults)]
        told = f"{len(faults)} of the {num_samples} samples of {folder} cannot be used; the first: {first}"
        if len(faults) > config.most_skipped * num_samples:
            raise DataError(
                f"{told} The limit is {config.most_skipped:.0%}.",
                "Mend or filter the shards; or --set most_skipped=1.",
            )
        logger.warning("%s", told)
    usable = [place for place in range(num_samples) if place not in faults]
    _require_batch(folder, len(usable), config)
    return usable


def _weight(sample: Sample) -> float:
    weight = sample.details.get("weight")
    if weight is None:  # a table of rows of which some have one
        return 1.0
    if not isinstance(weight, int | float) or not 0 < weight <= LARGEST_WEIGHT:
        raise DataError(
            f"Sample {sample.key} has the weight {weight!r}; it must be above 0, at most {LARGEST_WEIGHT:g}."
        )
    return float(weight)


class _Visits:
    """The endless sequence of samples, epoch after epoch; the order of the last epoch asked for is kept."""

    def __init__(self, weights: npt.NDArray[np.float64], seed: int) -> None:
        self._weights = weights
        self._seed = seed
        self._epoch = -1
        self._order = np.empty(0, dtype=np.int64)

    def take(self, start: int, count: int) -> list[int]:
        """Samples number `start` … `start + count - 1`."""
        visits: list[int] = []
        while len(visits) < count:
            epoch, offset = divmod(start + len(visits), len(self._weights))
            if epoch != self._epoch:
                self._epoch, self._order = epoch, _epoch_order(self._weights, self._seed, epoch)
            visits.extend(self._order[offset : offset + count - len(visits)].tolist())
        return visits


def _epoch_order(weights: npt.NDArray[np.float64], seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """int64 [N]: each sample as often as its share of the weight says, rounded up or down, shuffled."""
    rng = np.random.default_rng([seed, 0, epoch])
    edges = weights.cumsum() / weights.sum()
    points = (np.arange(len(weights)) + rng.random()) / len(weights)
    order: npt.NDArray[np.int64] = np.minimum(edges.searchsorted(points, side="right"), len(weights) - 1)
    rng.shuffle(order)
    return order


def _draw_texts(
    texts: Sequence[tuple[int, ...]],
    probs: Sequence[tuple[float, ...]],
    first_text_prob: float,
    rng: np.random.Generator,
) -> list[int]:
    takes_first = rng.random(len(texts)) < first_text_prob
    places = rng.random(len(texts))
    return [
        choices[_place_in(shares, place)]
        if shares
        else choices[0]
        if first or len(choices) == 1
        else choices[1 + int(place * (len(choices) - 1))]
        for choices, shares, first, place in zip(texts, probs, takes_first, places, strict=True)
    ]


def _place_in(shares: tuple[float, ...], point: float) -> int:
    """Which share a point of [0, 1) falls into."""
    edges = list(accumulate(shares))
    return min(bisect_right(edges, point * edges[-1]), len(shares) - 1)
