"""Features of many pictures before and after the projection, computed once and kept by content.

The cache holds what the image tower gives before the projection; what stands after it is one matrix
product of that. A picture is found again by its bytes, a model by its fingerprint, precision and pixels:
names and places do not matter. Parts are written as they are made, so that an interrupted run goes on.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipworks.errors import DataError, InputError
from clipworks.files import NPZ_DAMAGE, atomic_write, cache_folder
from clipworks.model.engine import Engine
from clipworks.model.linear import Tap
from clipworks.model.pipeline import prepared_batches
from clipworks.train.examples import LARGEST_SKIPPED_SHARE, Example, Skipped

PICTURES_PER_PART = 512
Features = NDArray[np.float32]
"""float32 [N, width]."""

_SMALLEST_NORM = 1e-12


@dataclass(frozen=True, kw_only=True, slots=True)
class Readings:
    """Features of the examples that could be read."""

    examples: tuple[Example, ...]
    """Those that could be read, in their order."""
    hashes: tuple[str, ...]
    """sha256 of each one's bytes, 64 hex characters."""
    before: Features
    """Before the projection: float32 [N, image width], not of unit length."""
    after: Features
    """After it: float32 [N, dim], rows of unit length."""
    skipped: tuple[Skipped, ...]
    """The others."""
    num_computed: int
    """Pictures that were not in the cache."""

    def at(self, tap: Tap) -> Features:
        """The features of a tap."""
        return self.before if tap == "before" else self.after


def read_features(
    engine: Engine,
    projection: NDArray[np.float32],
    examples: Sequence[Example],
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> Readings:
    """The features of pictures, from the cache where they are there.

    Args:
        engine: the model; its precision decides that of the features (see `model/features.py`).
        projection: float32 [dim, image width], the model's `vision.projection.weight`.
        examples: the pictures.
        on_progress: called with (pictures done, pictures in all).

    Raises:
        DataError: more than LARGEST_SKIPPED_SHARE of the pictures cannot be used.
    """
    hashes, skipped = _hash_all(examples)
    kept = _Store(cache_folder() / "features" / _key_of(engine))
    missing: dict[str, int] = {}
    for i, h in enumerate(hashes):
        if h and h not in kept.places:
            missing.setdefault(h, i)
    done = len(examples) - len(missing)
    reasons: dict[str, str] = {}
    for some in _cut(sorted(missing.values()), PICTURES_PER_PART):
        found, failures = _compute(engine, [examples[i] for i in some], [hashes[i] for i in some])
        kept.add(found)
        reasons |= failures
        done += len(some)
        if on_progress is not None:
            on_progress(done, len(examples))
    skipped += [
        Skipped(name=example.name, reason=reasons[h])
        for example, h in zip(examples, hashes, strict=True)
        if h in reasons
    ]
    if len(skipped) > LARGEST_SKIPPED_SHARE * len(examples):
        raise DataError(
            f"{len(skipped)} of {len(examples)} pictures cannot be used; the first: {skipped[0].reason}",
            "Remove or repair them.",
        )
    usable = [i for i, h in enumerate(hashes) if h in kept.places]
    before = kept.rows([hashes[i] for i in usable])
    after = before @ projection.T
    after /= np.maximum(np.linalg.norm(after, axis=1, keepdims=True), np.float32(_SMALLEST_NORM))
    return Readings(
        examples=tuple(examples[i] for i in usable),
        hashes=tuple(hashes[i] for i in usable),
        before=before,
        after=after,
        skipped=tuple(skipped),
        num_computed=len(missing),
    )


class _Store:
    """The features kept of one model: a folder of parts, each written whole."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parts: list[Features] = []
        self.places: dict[str, tuple[int, int]] = {}
        for path in sorted(folder.glob("*.npz")):
            try:
                with path.open("rb") as file, np.load(file, allow_pickle=False) as part:
                    self._keep([bytes(row).hex() for row in part["hashes"]], part["features"])
            except NPZ_DAMAGE:
                path.unlink(missing_ok=True)  # it is made again

    def add(self, found: dict[str, Features]) -> None:
        if not found:
            return
        rows = np.stack(list(found.values()))
        hashes = np.array([list(bytes.fromhex(h)) for h in found], dtype=np.uint8)
        name = hashlib.sha256(hashes.tobytes()).hexdigest()[:32]
        with atomic_write(self._folder / f"{name}.npz") as file:
            np.savez(file, hashes=hashes, features=rows)
        self._keep(list(found), rows)

    def rows(self, hashes: Sequence[str]) -> Features:
        places = [self.places[h] for h in hashes]
        if not places:
            raise DataError("No picture can be used.")
        return np.stack([self._parts[part][row] for part, row in places])

    def _keep(self, hashes: Sequence[str], rows: Features) -> None:
        self.places |= {h: (len(self._parts), row) for row, h in enumerate(hashes)}
        self._parts.append(rows)


def _key_of(engine: Engine) -> str:
    # Hidden features have bfloat16 or float32 only: what an int8 engine gives is that of an f32 one.
    precision = "bf16" if engine.precision == "bf16" else "f32"
    return f"{engine.fingerprint[:32]}-{engine.preprocess}-{precision}"


def _hash_all(examples: Sequence[Example]) -> tuple[list[str], list[Skipped]]:
    hashes: list[str] = []
    skipped: list[Skipped] = []
    for example in examples:
        try:
            hashes.append(hashlib.sha256(example.read()).hexdigest())
        except InputError as error:
            hashes.append("")
            skipped.append(Skipped(name=example.name, reason=str(error)))
    return hashes, skipped


def _compute(
    engine: Engine, examples: Sequence[Example], hashes: Sequence[str]
) -> tuple[dict[str, Features], dict[str, str]]:
    """Features of pictures that are not kept yet, and why others cannot be used, both by hash."""
    with prepared_batches([examples], lambda e: engine.prepare_image(e.read(), e.name)) as batches:
        (prepared,) = batches
    pairs = list(zip(hashes, prepared, strict=True))
    failures = {h: str(pixels) for h, pixels in pairs if isinstance(pixels, InputError)}
    usable = {h: pixels for h, pixels in pairs if not isinstance(pixels, InputError)}
    rows = engine.features.pooled_images(list(usable.values()), batch_size=64)
    return dict(zip(usable, rows, strict=True)), failures


def _cut(places: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    yield from (places[start : start + size] for start in range(0, len(places), size))
