"""Ids of rows as two whole numbers each, and draws that hang on them alone.

An id is 32 hex digits; in arrays it is DataComp's `u8,u8`: the first 16 digits and the last 16. All that
curation leaves to chance is drawn here by a hash of seed, id and stream, so that order, sharding, workers and
a second run change nothing: mix(mix(mix(mix(seed) ^ first) ^ last) ^ stream), where mix is a step of
splitmix64. Streams keep apart what is drawn for different ends under one seed; those below 2 ** 32 are the
places of texts in their pair, by which balancing keeps them.
"""

from collections.abc import Sequence
from hashlib import md5
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from clipworks.errors import DataError

UID = np.dtype("u8,u8")
"""DataComp's id: fields f0 and f1, the high and the low half."""

Uids = NDArray[Any]
"""UID [N]."""

RANDOM = int.from_bytes(b"random\0\0")
"""Stream of the filter `random`."""
SAMPLE = int.from_bytes(b"sample\0\0")
"""First stream of samples of a pool; the number of the sample is added."""
SHUFFLE = int.from_bytes(b"shuffle\0")
"""First stream of shuffles; the number of the copy is added."""

_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def uids_of(texts: Sequence[str]) -> Uids:
    """Hex ids as UID [N]; shorter ones are padded with zeros on the left, as DataComp's tools do.

    Raises:
        DataError: one of them is not at most 32 hex digits.
    """
    try:
        digits = "".join(text.zfill(32) for text in texts)
        if len(digits) != 32 * len(texts) or not all(texts) or not (digits.isalnum() or not texts):
            raise ValueError
        halves = np.frombuffer(bytes.fromhex(digits), ">u8").astype("u8").reshape(-1, 2)
    except (ValueError, AttributeError) as error:
        wrong = next((text for text in texts if not _is_uid(text)), "")
        raise DataError(f"The uid {wrong!r} is not 32 hex digits.") from error
    return from_halves(halves[:, 0], halves[:, 1])


def hex_of(uids: Uids) -> list[str]:
    """UID [N] as hex ids of 32 digits."""
    digits = halves_of(uids).astype(">u8").tobytes().hex()
    return [digits[start : start + 32] for start in range(0, len(digits), 32)]


def made_uids(texts: Sequence[str], urls: Sequence[str]) -> Uids:
    """The id that DataComp gives a pair: md5 of its text followed by its address, UID [N]."""
    digests = b"".join(
        md5(f"{text}{url}".encode(errors="surrogatepass"), usedforsecurity=False).digest()
        for text, url in zip(texts, urls, strict=True)
    )
    halves = np.frombuffer(digests, ">u8").astype("u8").reshape(-1, 2)
    return from_halves(halves[:, 0], halves[:, 1])


def from_halves(high: NDArray[np.uint64], low: NDArray[np.uint64]) -> Uids:
    """UID [N] from uint64 [N] twice."""
    uids = np.empty(len(high), UID)
    uids["f0"], uids["f1"] = high, low
    return uids


def halves_of(uids: Uids) -> NDArray[np.uint64]:
    """UID [N] as uint64 [N, 2]."""
    return np.stack([uids["f0"], uids["f1"]], axis=1).astype(np.uint64).reshape(-1, 2)


def order_of(uids: Uids) -> NDArray[np.int64]:
    """Positions that sort ids by their high half, then the low one; equal ones keep their order."""
    return np.lexsort((uids["f1"], uids["f0"]))


def hashes_of(uids: Uids, seed: int, *, stream: npt.ArrayLike = 0) -> NDArray[np.uint64]:
    """uint64 [N], a hash of seed, id and stream.

    Args:
        uids: UID [N].
        seed: any number; its lowest 64 bits count.
        stream: what is drawn, one number or one of each row, 0 .. 2 ** 64 - 1.
    """
    state = _mixed(np.full(len(uids), seed & (1 << 64) - 1, np.uint64))
    for part in (uids["f0"], uids["f1"], np.asarray(stream, np.uint64)):
        state = _mixed(state ^ part)
    return state


def draws_of(uids: Uids, seed: int, *, stream: npt.ArrayLike = 0) -> NDArray[np.float64]:
    """float64 [N] in [0, 1), uniform: the first 53 bits of the hash, whose arguments are the same."""
    draws: NDArray[np.float64] = (hashes_of(uids, seed, stream=stream) >> np.uint64(11)).astype(np.float64)
    return draws * 2.0**-53


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mixed = values + _STEP
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _FIRST
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _SECOND
    return mixed ^ (mixed >> np.uint64(31))


def _is_uid(text: object) -> bool:
    return isinstance(text, str) and 0 < len(text) <= 32 and set(text) <= set("0123456789abcdefABCDEF")
