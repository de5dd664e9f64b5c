"""One sample of the stream: its bytes, its caption as tokens, its pixels. No PyTorch, so that processes
that only decode start fast and stay small.

A sample that cannot be used, and one that balancing leaves out, gives way to another of those that are
mixed with it; which one depends on nothing but seed and position.
"""

import os
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from clipworks.errors import DataError, InputError
from clipworks.model.decoder import MAX_PIXELS, count_pixels
from clipworks.model.preprocess import prepare_part
from clipworks.model.tokenizer import tokenize
from clipworks.train.captions import Captions
from clipworks.train.config import TrainConfig
from clipworks.train.crops import draw_crop
from clipworks.train.order import Order
from clipworks.train.places import CAPTION, DETAILS, IMAGE, read_places

if TYPE_CHECKING:
    from clipworks.train.sources import Source

ATTEMPTS = 2000
"""Samples that are tried for one position; balancing may leave out all but one in some hundreds."""

OPEN_SHARDS = 64

BALANCED_OUT = "balanced_out"
"""Why a sample gives way that is not at fault."""

_SAMPLE = 2
"""What tells the draws of a sample from those of the order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """One sample as training sees it."""

    pixels: npt.NDArray[np.uint8]
    """uint8 [S, S, 3], RGB."""
    tokens: npt.NDArray[np.int64]
    """int64 [context length], zero-padded."""
    skipped: Counter[str]
    """Samples that gave way to this one, by cause."""


class Reader:
    """Reads samples by position; safe to use from several threads.

    Args:
        sources: what to read.
        config: seed, sizes and how captions and crops are drawn.

    Raises:
        DataError: a table of balancing cannot be read.
    """

    def __init__(self, sources: "Sequence[Source]", config: TrainConfig) -> None:
        self._config = config
        self._captions = [Captions(source, config.first_text_prob) for source in sources]
        self._shards = [(shard, number) for number, one in enumerate(sources) for shard in one.shards]
        self._order = Order(
            [shard.samples for shard, _ in self._shards],
            [sources[number].weight for _, number in self._shards],
            seed=config.seed,
            is_resampled=config.resampled,
        )
        self._open: OrderedDict[int, _OpenShard] = OrderedDict()
        self._lock = Lock()

    def read(self, position: int) -> Drawn:
        """The sample at a position of the endless sequence.

        Raises:
            DataError: nothing near it can be used.
        """
        rng = np.random.default_rng([self._config.seed, _SAMPLE, position])
        shards, places = self._order.locate(position, 1)
        shard, place = int(shards[0]), int(places[0])
        skipped = Counter[str]()
        for _ in range(ATTEMPTS):
            found = self.try_sample(shard, place, rng)
            if not isinstance(found, str):
                pixels, tokens = found
                return Drawn(pixels=pixels, tokens=tokens, skipped=skipped)
            skipped[found] += 1
            shard, place = self._order.substitute(position, rng.random())
        causes = ", ".join(f"{cause} {count}" for cause, count in skipped.most_common())
        raise DataError(
            f"{ATTEMPTS} samples around {self._shards[shard][0].path} cannot be used: {causes}.",
            "Look at the shards, or at the probabilities of balancing.",
        )

    def try_sample(
        self, shard: int, place: int, rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]] | str:
        """Pixels and tokens of a sample, or why it cannot be used; the caption comes before the picture."""
        try:
            return self._try_sample(shard, place, rng)
        except OSError:  # a disk that fails at one place, a shard that was moved
            return "unreadable_shard"

    def _try_sample(
        self, shard: int, place: int, rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]] | str:
        source = self._shards[shard][1]
        opened = self._opened(shard)
        if place >= len(opened.places):
            return "damaged_shard"
        text = self._captions[source].choose(opened.read(place, CAPTION), opened.read(place, DETAILS), rng)
        if text is None:
            return BALANCED_OUT
        if not text:
            return "no_caption"
        tokens = tokenize([text], context_length=self._config.model.text.context_length)[0]
        pixels = self._pixels(opened.read(place, IMAGE), rng)
        return pixels if isinstance(pixels, str) else (pixels, tokens)

    def texts(self, shard: int, place: int) -> list[str]:
        """All captions of a sample, as they come."""
        opened = self._opened(shard)
        if place >= len(opened.places):
            return []
        captions = self._captions[self._shards[shard][1]]
        return captions.all(opened.read(place, CAPTION), opened.read(place, DETAILS))

    def _pixels(self, image: bytes | None, rng: np.random.Generator) -> npt.NDArray[np.uint8] | str:
        if image is None:
            return "no_picture"
        if self._config.largest_pixels < MAX_PIXELS and count_pixels(image) > self._config.largest_pixels:
            return "image_too_large"
        try:
            return prepare_part(
                image,
                self._config.model.vision.image_size,
                lambda width, height: draw_crop(width, height, rng, least=self._config.crop_least),
            )
        except InputError as error:
            return error.code

    def _opened(self, number: int) -> "_OpenShard":
        with self._lock:
            if number in self._open:
                self._open.move_to_end(number)
                return self._open[number]
        opened = _OpenShard(self._shards[number][0].path)
        with self._lock:
            self._open[number] = opened
            while len(self._open) > OPEN_SHARDS:
                self._open.popitem(last=False)
        return opened


class _OpenShard:
    """A tar and where the parts of its samples lie."""

    def __init__(self, path: Path) -> None:
        self.places = read_places(path)
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def read(self, place: int, part: int) -> bytes | None:
        """The bytes of a part of a sample; None if it has none."""
        offset, num_bytes = self.places[place, part].tolist()
        return os.pread(self._descriptor, num_bytes, offset) if num_bytes >= 0 else None
