"""What the loop is fed with: batches of tensors on its device, from memory or from a stream.

Both kinds give the same batches whatever step a run begins at, and the same rows however they are shared.
"""

import os
from collections.abc import Generator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from clipworks.errors import ConfigError, DataError
from clipworks.train.augment import draw_kept_patches, normalise
from clipworks.train.batches import Raw, stream_batches
from clipworks.train.config import TrainConfig
from clipworks.train.loader import Batch, Dataset, read_batches, read_dataset
from clipworks.train.loss import Captions
from clipworks.train.sources import Source, is_list, read_sources, require_shards


@dataclass(frozen=True, kw_only=True, slots=True)
class Feed:
    """Opened training data."""

    token_rows: npt.NDArray[np.int64]
    """int64 [K], rising: the ids whose rows of the token table are trained; tokens are places in it."""
    dataset: Dataset | None = None
    """The data in memory, or None in a stream."""
    sources: tuple[Source, ...] = ()
    """What a stream reads."""

    @property
    def samples(self) -> int:
        """How many there are."""
        if self.dataset is not None:
            return len(self.dataset.weights)
        return sum(shard.samples for source in self.sources for shard in source.shards)

    def batches(
        self,
        config: TrainConfig,
        first_step: int = 0,
        *,
        rows: slice = slice(None),
        device: torch.device | None = None,
        processes: int = 0,
    ) -> Generator[Batch, None, None]:
        """The batches of the steps `first_step` … `config.steps - 1`; some are made while one is used.

        Args:
            config: of the run.
            first_step: number of the first step.
            rows: the rows of each batch that are made.
            device: where the tensors are wanted; None is the CPU.
            processes: that decode a stream; 0 decodes in threads of this one.

        Raises:
            DataError: the data cannot be read.
        """
        if self.dataset is not None:
            yield from read_batches(self.dataset, config, first_step, rows=rows)
            return
        steps = range(first_step, config.steps)
        threads = min(16, os.cpu_count() or 1)
        stream = stream_batches(
            self.sources,
            config,
            steps,
            rows=rows,
            threads=threads,
            processes=processes,
        )
        for step, raw in zip(steps, stream, strict=True):
            yield _finish(raw, config, step, rows, device or torch.device("cpu"))


def open_feed(data: Path, config: TrainConfig) -> Feed:
    """Open the data that `--data` names.

    Raises:
        ConfigError: several sources are to be held in memory, or weighted without resampling.
        DataError: the data cannot be read, or is less than a batch.
    """
    require_shards(data)
    if config.reading == "memory":
        if is_list(data):
            raise ConfigError(f"{data} lists sources, which are only streamed.", "Set reading=stream.")
        dataset = read_dataset(data, config)
        return Feed(token_rows=dataset.token_rows, dataset=dataset)
    sources = read_sources(data)
    if not config.resampled and len({source.weight for source in sources}) > 1:
        raise ConfigError("Sources of different weight are only resampled.", "Set resampled=true.")
    feed = Feed(token_rows=np.arange(config.model.text.vocab_size), sources=sources)
    if feed.samples < config.batch_size:
        raise DataError(
            f"{data} holds {feed.samples} samples, fewer than one batch of {config.batch_size}.",
            "Give more data or --set batch_size=N.",
        )
    return feed


def _finish(raw: Raw, config: TrainConfig, step: int, rows: slice, device: torch.device) -> Batch:
    """Bytes go to the device and become numbers there."""
    pixels_BHWC = torch.from_numpy(raw.pixels).to(device, non_blocking=True)
    # In this order and in place: this is what a step waits for, where its data are there already.
    images_BCHW = pixels_BHWC.permute(0, 3, 1, 2).float().contiguous().div_(255)
    kept = _kept_patches(config, step, rows)
    captions = None
    if config.shared_captions != "negative":
        numbers = torch.from_numpy(_number_texts(raw.tokens)).to(device, non_blocking=True)
        captions = Captions(of_image_BK=numbers[:, None], chosen_B=numbers)
    return Batch(
        images_BCHW=normalise(images_BCHW, config.model.preprocess),
        tokens_BT=torch.from_numpy(raw.tokens).to(device, non_blocking=True),
        captions=captions,
        kept_BT=None if kept is None else torch.from_numpy(kept).to(device, non_blocking=True),
        skipped=raw.skipped,
    )


def _number_texts(tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """int64 [B], 0 or more: a number of 63 bits for each text, the same in every process and batch."""
    digests = [blake2b(row[: row.argmax() + 1].tobytes(), digest_size=8).digest() for row in tokens]
    return np.array([int.from_bytes(digest) >> 1 for digest in digests], np.int64)


def _kept_patches(config: TrainConfig, step: int, rows: slice) -> npt.NDArray[np.int64] | None:
    """The patches that some rows show; drawn for the whole batch, so that sharing it changes nothing."""
    if not config.patch_dropout or step >= config.steps - config.unmasked_steps:
        return None
    rng = np.random.default_rng([config.seed, 1, step])
    patches = config.model.vision.grid**2
    return draw_kept_patches(config.batch_size, patches, config.patch_dropout, rng, rows=rows)
