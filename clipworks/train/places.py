"""Where the parts of every sample of a tar lie: looked up in its headers once, then kept in the cache."""

import logging
import os
from collections import Counter
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clipworks.files import NPZ_DAMAGE, atomic_write, cache_folder
from clipworks.shards import IMAGE_EXTENSIONS
from clipworks.tars import DAMAGED, list_groups

logger = logging.getLogger(__name__)

Places = npt.NDArray[np.int64]
"""int64 [samples, 3, 2]: of picture, caption file and json, offset and bytes, -1 where there is none."""

IMAGE, CAPTION, DETAILS = 0, 1, 2

_CUT = -2
"""Stands in a last row where a tar is damaged behind the samples."""


def read_places(path: Path) -> Places:
    """The places in a tar; of a damaged one those before the damage.

    Raises:
        OSError: it cannot be opened.
    """
    return read_sound_places(path)[0]


def read_sound_places(path: Path) -> tuple[Places, bool]:
    """`read_places`, and whether the tar is whole as far as its headers say."""
    rows = _rows(path)
    is_cut = len(rows) > 0 and bool((rows[-1] == _CUT).all())
    return rows[:-1] if is_cut else rows, not is_cut


def _rows(path: Path) -> Places:
    kept = _kept_path(path)
    if kept is not None and kept.exists():
        try:
            found: Places = np.load(kept, allow_pickle=False)
            return found
        except NPZ_DAMAGE as error:
            logger.warning("The places in %s are looked up again: %s", path, error)
    places = _look_up(path)
    if kept is not None:
        _keep(kept, places)
    return places


def _look_up(path: Path) -> Places:
    rows = list[list[tuple[int, int]]]()
    counts = Counter[str]()
    with path.open("rb") as file:
        for members in list_groups(file, os.fstat(file.fileno()).st_size, counts):
            found = {member.suffix: (member.offset, member.num_bytes) for member in members}
            image = next((found[name] for name in IMAGE_EXTENSIONS if name in found), (0, -1))
            rows.append([image, found.get("txt", (0, -1)), found.get("json", (0, -1))])
    if counts[DAMAGED]:
        rows.append([(_CUT, _CUT)] * 3)
    return np.array(rows, np.int64).reshape(-1, 3, 2)


def _keep(kept: Path, places: Places) -> None:
    buffer = BytesIO()
    np.save(buffer, places)
    try:
        with atomic_write(kept) as file:
            file.write(buffer.getvalue())
    except OSError as error:
        logger.warning("The places are not kept for the next time: %s", error)


def _kept_path(path: Path) -> Path | None:
    """Named after path, size and time of the tar; None where there is no cache folder."""
    told = path.stat()
    mark = f"2 {path.resolve()} {told.st_size} {told.st_mtime_ns}"
    try:
        return (
            cache_folder()
            / "shards"
            / f"{sha256(mark.encode(errors='surrogateescape')).hexdigest()[:32]}.npy"
        )
    except OSError:
        return None
