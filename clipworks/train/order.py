"""Which sample comes when: a pure function of the seed, so that a run resumes at any step with no state.

Shards are visited in runs of neighbouring samples; the runs are shuffled over the epoch, and the samples
of so many runs in a row are mixed, so that reading stays local while a batch comes from many shards.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np
import numpy.typing as npt

RUN_SAMPLES = 1000
"""Longest run of neighbouring samples that is read at a visit of a shard."""

MIXED_RUNS = 16
"""Runs whose samples are mixed."""

LARGEST_WEIGHT = 1e9
"""Of a sample or a source, relative to others; sums of weights stay finite."""

Numbers = npt.NDArray[np.int64]

_EPOCH, _BLOCK = 3, 4
"""What tells the draws of an epoch from those of a block."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Epoch:
    number: int
    shards: Numbers
    starts: Numbers
    ends: Numbers
    """Positions in the epoch behind the last sample of each run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Block:
    number: tuple[int, int]
    first: int
    """Position of its first sample in the epoch."""
    shards: Numbers
    places: Numbers


class Order:
    """The endless sequence of samples, by position; safe to use from several threads.

    Args:
        counts: samples of each shard, 1 or more.
        weights: how often a sample of each shard is visited, relative to others.
        seed: of everything drawn here.
        is_resampled: shards are drawn with replacement, by samples x weight, as open_clip and DataComp do;
            else every sample comes once an epoch, and weights must be equal.
    """

    def __init__(
        self, counts: Sequence[int], weights: Sequence[float], *, seed: int, is_resampled: bool
    ) -> None:
        self._counts = np.asarray(counts, np.int64)
        self._seed = seed
        self._is_resampled = is_resampled
        total = int(self._counts.sum())
        if is_resampled:
            shares = self._counts * np.asarray(weights, np.float64)
            self._edges = shares.cumsum() / shares.sum()
            self._run = max(1, min(RUN_SAMPLES, total // len(self._counts)))
            self._runs = -(-total // self._run)
            self.epoch_samples = self._runs * self._run
        else:
            self._slices = _slices(self._counts)
            self._runs = len(self._slices[0])
            self.epoch_samples = total
        self._epoch: _Epoch | None = None
        self._block: _Block | None = None
        self._lock = Lock()

    def locate(self, start: int, count: int) -> tuple[Numbers, Numbers]:
        """The samples at positions `start` … `start + count - 1`.

        Returns:
            int64 [count], the number of the shard, and int64 [count], the place in it.
        """
        shards, places = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        end = start + count
        with self._lock:
            while start < end:
                block, offset = self._block_at(start)
                here = slice(offset, offset + end - start)
                shards.append(block.shards[here])
                places.append(block.places[here])
                start += len(shards[-1])
        return np.concatenate(shards), np.concatenate(places)

    def substitute(self, position: int, draw: float) -> tuple[int, int]:
        """Another sample from those that are mixed with the one at a position; `draw`, 0..1, says which."""
        with self._lock:
            block, _ = self._block_at(position)
        number = int(draw * len(block.places))
        return int(block.shards[number]), int(block.places[number])

    def _block_at(self, position: int) -> tuple[_Block, int]:
        number, offset = divmod(position, self.epoch_samples)
        epoch = self._epoch
        if epoch is None or epoch.number != number:
            epoch = self._epoch = self._plan(number)
        run = int(epoch.ends.searchsorted(offset, side="right"))
        key = (number, run // MIXED_RUNS)
        block = self._block
        if block is None or block.number != key:
            block = self._block = self._mix(epoch, key[1])
        return block, offset - block.first

    def _plan(self, number: int) -> _Epoch:
        rng = np.random.default_rng([self._seed, _EPOCH, number])
        if self._is_resampled:
            shards = self._edges.searchsorted(rng.random(self._runs), side="right")
            shards = np.minimum(shards, len(self._counts) - 1)
            starts = (rng.random(self._runs) * self._counts[shards]).astype(np.int64)
            lengths = np.full(self._runs, self._run)
        else:
            shuffled = rng.permutation(self._runs)
            shards, starts, lengths = (part[shuffled] for part in self._slices)
        return _Epoch(number=number, shards=shards, starts=starts, ends=lengths.cumsum())

    def _mix(self, epoch: _Epoch, number: int) -> _Block:
        runs = slice(number * MIXED_RUNS, (number + 1) * MIXED_RUNS)
        first = int(epoch.ends[runs.start - 1]) if runs.start else 0
        lengths = np.diff(epoch.ends[runs], prepend=first)
        shards = epoch.shards[runs].repeat(lengths)
        within = np.arange(len(shards)) - (lengths.cumsum() - lengths).repeat(lengths)
        places = (epoch.starts[runs].repeat(lengths) + within) % self._counts[shards]
        rng = np.random.default_rng([self._seed, _BLOCK, epoch.number, number])
        shuffled = rng.permutation(len(shards))
        return _Block(
            number=(epoch.number, number), first=first, shards=shards[shuffled], places=places[shuffled]
        )


def _slices(counts: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Shard, start and length of the runs that hold every sample once."""
    parts = -(-counts // RUN_SAMPLES)
    shards = np.arange(len(counts)).repeat(parts)
    starts = (np.arange(len(shards)) - (parts.cumsum() - parts).repeat(parts)) * RUN_SAMPLES
    return shards, starts, np.minimum(RUN_SAMPLES, counts[shards] - starts)
