"""Lists of addresses, pictures and hosts that are never kept: sorted digests in memory-mapped files.

A list is `KIND.npy`, uint64 [N, W] in ascending order, where KIND is url_md5, url_sha1, url_sha256,
image_md5, image_sha256 or domain (the md5 of a host in lower case; it covers every host below it).
`write_blocklist` makes one from a text file of hex digests, addresses or hosts, in pieces.
"""

import hashlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from clipworks.errors import ConfigError, DataError
from clipworks.files import atomic_write

DIGEST_BYTES = {
    "url_md5": 16,
    "url_sha1": 20,
    "url_sha256": 32,
    "image_md5": 16,
    "image_sha256": 32,
    "domain": 16,
}
ROWS_PER_PIECE = 1 << 20

Digests = NDArray[np.uint64]
"""uint64 [N, W]: digests in big-endian words, padded with zeros, sorted."""


def write_blocklist(lines: Iterable[str], kind: str, folder: Path) -> int:
    """Make `folder/KIND.npy` from lines: hex digests, or addresses or hosts that are hashed here.

    Empty lines and those that begin with `#` are passed over. How many different entries it holds.

    Raises:
        ConfigError: the kind is unknown.
        DataError: a line is neither a digest of this kind nor an address.
        OSError: the disk is full or cannot be written.
    """
    if kind not in DIGEST_BYTES:
        raise ConfigError(f"There is no kind of blocklist {kind!r}.", f"Known: {', '.join(DIGEST_BYTES)}.")
    entries = (line.strip() for line in lines)
    wanted = (line for line in entries if line and not line.startswith("#"))
    known = np.empty((0, _width(kind)), np.uint64)
    while piece := list(islice(wanted, ROWS_PER_PIECE)):
        known = np.unique(
            np.concatenate([known, _packed([_digest_of(kind, e) for e in piece], kind)]), axis=0
        )
    with atomic_write(folder / f"{kind}.npy") as file:
        np.save(file, known)
    return len(known)


@lru_cache(maxsize=4)
def open_blocklists(folder: Path) -> dict[str, Digests]:
    """The lists of a folder by kind, memory-mapped.

    Raises:
        DataError: there is none, or one is damaged.
    """
    lists = {}
    for path in sorted(folder.glob("*.npy")):
        try:
            digests = np.load(path, mmap_mode="r", allow_pickle=False)
            if digests.dtype != np.uint64 or digests.shape[1:] != (_width(path.stem),):
                raise ValueError(f"it is {digests.dtype} {list(digests.shape)}")
        except (OSError, ValueError, EOFError, KeyError) as error:
            raise DataError(f"{path} is no blocklist: {error}.", "Make it with write_blocklist.") from error
        lists[path.stem] = digests
    if not lists:
        raise DataError(f"{folder} holds no blocklist.", f"Known kinds: {', '.join(DIGEST_BYTES)}.")
    return lists


def is_listed(kind: str, words: Sequence[str], digests: Digests) -> NDArray[np.bool_]:
    """Which addresses (of a url kind) or hex digests (of an image kind) are in a list, bool [N]."""
    empty = bytes(DIGEST_BYTES[kind])
    values = [_digest_of(kind, word) if word else empty for word in words]
    found = _contains(digests, _packed(values, kind))
    return found & np.array([bool(word) for word in words], np.bool_)


def domains_of(urls: Sequence[str], digests: Digests) -> NDArray[np.bool_]:
    """Which addresses have a listed host, or one below a listed host, bool [N]."""
    names, owners = [], []
    for row, url in enumerate(urls):
        parts = _host(url).split(".")
        for start in range(len(parts)):
            names.append(".".join(parts[start:]))
            owners.append(row)
    listed = np.zeros(len(urls), np.bool_)
    if names:
        hits = _contains(digests, _packed([_digest_of("domain", name) for name in names], "domain"))
        listed[np.array(owners)[hits]] = True
    return listed


def _contains(digests: Digests, wanted: Digests) -> NDArray[np.bool_]:
    """Which rows stand among sorted rows, by bisection of all at once, bool [N]."""
    low, high = np.zeros(len(wanted), np.int64), np.full(len(wanted), len(digests), np.int64)
    active = np.arange(len(wanted)) if len(digests) else np.empty(0, np.int64)
    while len(active):
        middle = (low[active] + high[active]) // 2
        below = _is_below(np.asarray(digests[middle]), wanted[active])
        low[active] = np.where(below, middle + 1, low[active])
        high[active] = np.where(below, high[active], middle)
        active = active[low[active] < high[active]]
    inside = low < len(digests)
    inside[inside] = (np.asarray(digests[low[inside]]) == wanted[inside]).all(axis=1)
    return inside


def _is_below(first: Digests, second: Digests) -> NDArray[np.bool_]:
    below, equal = np.zeros(len(first), np.bool_), np.ones(len(first), np.bool_)
    for column in range(first.shape[1]):
        below |= equal & (first[:, column] < second[:, column])
        equal &= first[:, column] == second[:, column]
    return below


def _digest_of(kind: str, word: str) -> bytes:
    """A line's digest: the line itself where it is one, else the hash of the address or host."""
    size = DIGEST_BYTES[kind]
    if kind == "domain":
        host = _host(word) if "/" in word else word.lower().strip(".")
        return hashlib.md5(host.encode(), usedforsecurity=False).digest()
    try:
        digest = bytes.fromhex(word)
        if len(digest) == size:
            return digest
    except ValueError:
        pass
    if kind.startswith("image_"):
        raise DataError(f"{word!r} is no {kind.removeprefix('image_')} of {2 * size} hex digits.")
    algorithm = kind.removeprefix("url_")
    return hashlib.new(algorithm, word.encode(errors="surrogatepass"), usedforsecurity=False).digest()


def _packed(digests: Sequence[bytes], kind: str) -> Digests:
    width = 8 * _width(kind)
    joined = b"".join(digest.ljust(width, b"\0") for digest in digests)
    return np.frombuffer(joined, ">u8").astype(np.uint64).reshape(-1, _width(kind))


def _width(kind: str) -> int:
    return -(-DIGEST_BYTES[kind] // 8)


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""
