"""What a pool is cleaned of: the perceptual hashes of an evaluation set's pictures, for `evaluation`."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from clipworks.curate.hashes import perceptual_hash
from clipworks.errors import DataError, InputError
from clipworks.files import atomic_write
from clipworks.shards import read_shards

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"})


def write_hashes(places: Sequence[Path], out: Path) -> Counter[str]:
    """Write the hashes of pictures, uint64 [R], each once, ascending.

    Args:
        places: folders of tar shards, or of picture files at any depth.
        out: the `.npy`.

    Returns:
        `pictures`, `unreadable` and `hashes`.

    Raises:
        DataError: there is no picture, a shard is damaged, or the file cannot be written.
    """
    counts, found = Counter[str](), set[int]()
    for place in places:
        for name, image in _pictures(place):
            try:
                found.add(perceptual_hash(image, label=name))
                counts["pictures"] += 1
            except InputError:
                counts["unreadable"] += 1
    if not found:
        raise DataError(
            f"{', '.join(map(str, places))}: no picture that can be read.",
            "Give folders of shards or of picture files.",
        )
    counts["hashes"] = len(found)
    try:
        with atomic_write(out) as file:
            np.save(file, np.array(sorted(found), np.uint64))
    except OSError as error:
        raise DataError(f"{out} cannot be written: {error.strerror or error}.") from error
    return counts


def _pictures(place: Path) -> Iterator[tuple[str, bytes]]:
    if any(place.glob("*.tar")):
        yield from ((sample.key, sample.image) for sample in read_shards(place))
        return
    for path in sorted(path for path in place.rglob("*") if path.suffix.lower() in EXTENSIONS):
        try:
            yield path.name, path.read_bytes()
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
