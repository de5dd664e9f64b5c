"""Lists of what is not to be collected or kept: hosts, addresses and pictures, in files of their owners.

A list is a text file. A line is a host name (all names below it included), a web address, or a hash in hex:
of an address or of a picture's file, sha256 (64 digits), sha1 (40), md5 (32) or the first 12 bytes of sha224
(24); or a picture's perceptual hash of 64 bits (16). `#` begins a comment. The same reader serves opt-outs
and blocklists of harmful material, where pictures are fetched and where they are chosen.

What lists hold is sorted once into files of digests in the cache folder, under a hash of the lists, and is
looked up in these files: neither memory nor time grows with the length of a list.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import md5, sha1, sha224, sha256
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from clipworks.addresses import WebAddress, parse_address
from clipworks.errors import DataError, NetError
from clipworks.files import (
    cache_folder,
    exclusive_lock,
    is_complete,
    read_manifest,
    sha256_file,
    write_manifest,
)

PICTURE_KINDS = ("sha256", "md5", "phash")
"""Hashes by which pictures are known; the columns that hold them are called so."""

DIGESTS_PER_RUN = 1 << 20
"""Digests that are sorted in memory while a list is read."""

_BYTES = {"host": 16, "address": 32, "sha256": 32, "sha1": 20, "md5": 16, "sha224": 12, "phash": 8}
_KIND_OF_DIGITS = {64: "sha256", 40: "sha1", 32: "md5", 24: "sha224", 16: "phash"}
_HASH = re.compile(r"[0-9a-fA-F]+", re.ASCII)
_HOST = re.compile(r"(?:\*\.|\.)?(?P<name>[a-z0-9_-]+(?:\.[a-z0-9_-]+)*)\.?", re.ASCII)

Digests = NDArray[np.bytes_]
"""Bytes of one length, ascending, each once."""
Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Blocklist:
    """What must not be asked for or kept."""

    digests: Mapping[str, Digests] = field(default_factory=dict)
    """By kind; only those that some line is of."""

    def has_address(self, url: str, address: WebAddress) -> bool:
        """Whether an address is listed: its host, or a hash of it as it was written or as it is sent."""
        return bool(self.digests) and bool(self._listed([_names_of(url, address)])[0])

    def have_addresses(self, urls: Sequence[str]) -> Mask:
        """The same of many, bool [N]; what is no address is looked up as it was written."""
        if not self.digests:
            return np.zeros(len(urls), np.bool_)
        return self._listed([_names_of(url, _parsed(url)) for url in urls])

    def has_picture(self, md5_hex: str, sha256_hex: str) -> bool:
        """Whether a picture's file is listed, by its hashes in hex."""
        found = self.have_pictures("md5", [md5_hex]) | self.have_pictures("sha256", [sha256_hex])
        return bool(found[0])

    def have_pictures(self, kind: str, hashes: Sequence[str]) -> Mask:
        """Which pictures are listed, bool [N].

        Args:
            kind: one of PICTURE_KINDS.
            hashes: in hex; where one is empty, nothing is known of the picture.
        """
        return self._any(kind, [[bytes.fromhex(one)] if one else [] for one in hashes])

    def _listed(self, names: Sequence[tuple[list[str], set[str]]]) -> Mask:
        listed = self._any("host", [[_DIGEST["host"](host) for host in hosts] for hosts, _ in names])
        for kind in ("address", "sha256", "sha1", "md5", "sha224"):
            if kind in self.digests:
                listed |= self._any(kind, [[_DIGEST[kind](text) for text in texts] for _, texts in names])
        return listed

    def _any(self, kind: str, wanted: Sequence[Sequence[bytes]]) -> Mask:
        """Of which groups a digest is listed, bool [groups]."""
        listed = np.zeros(len(wanted), np.bool_)
        known = self.digests.get(kind)
        owners = [row for row, some in enumerate(wanted) for _ in some]
        if known is not None and owners:
            looked = np.array([one for some in wanted for one in some], known.dtype)
            at = np.minimum(np.searchsorted(known, looked), len(known) - 1)
            listed[np.array(owners)[known[at] == looked]] = True
        return listed


def read_blocklist(paths: Iterable[Path]) -> Blocklist:
    """Read lists from files, or from all files of folders.

    Raises:
        DataError: a file cannot be read, a folder has none, a line is no entry, or there is no room to sort
            what they hold; a list that is read wrongly protects nobody.
    """
    files = [file for path in paths for file in _files_at(path)]
    if not files:
        return Blocklist()
    try:
        name = sha256("\n".join(sha256_file(file) for file in files).encode()).hexdigest()[:32]
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror or error}.") from error
    try:
        folder = cache_folder() / "blocklists" / name
        with exclusive_lock(folder.with_name(f".{name}.lock")):
            if not is_complete(folder):
                rmtree(folder, ignore_errors=True)
                _sort_lists(files, folder)
        return _opened(folder)
    except OSError:
        pass  # no place to keep it: it is sorted for this process alone
    try:
        with TemporaryDirectory() as place:
            _sort_lists(files, Path(place) / name)
            return _opened(Path(place) / name)  # what is mapped stays when the files are gone
    except OSError as error:
        raise DataError(f"{files[0]} cannot be sorted: {error.strerror or error}.", "Make room.") from error


def _files_at(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    if not files:
        raise DataError(f"{path} holds no blocklist.", "Put text files into it: docs/fetch.md.")
    return files


def _opened(folder: Path) -> Blocklist:
    counts = read_manifest(folder)["counts"]
    digests: dict[str, Digests] = {
        kind: np.memmap(folder / kind, f"S{_BYTES[kind]}", "r", shape=(count,))
        for kind, count in counts.items()
    }
    return Blocklist(digests=digests)


def _sort_lists(files: Iterable[Path], folder: Path) -> None:
    """Write each kind's digests, ascending and each once, by way of sorted runs."""
    folder.mkdir(parents=True)
    gathered: dict[str, list[bytes]] = {kind: [] for kind in _BYTES}
    runs: dict[str, list[Path]] = {kind: [] for kind in _BYTES}

    def put_down(kind: str) -> None:
        runs[kind].append(folder / f"{kind}.{len(runs[kind])}")
        np.unique(np.array(gathered[kind], f"S{_BYTES[kind]}")).tofile(runs[kind][-1])
        gathered[kind].clear()

    for file in files:
        for kind, digest in _entries_of(file):
            gathered[kind].append(digest)
            if len(gathered[kind]) == DIGESTS_PER_RUN:
                put_down(kind)
    for kind in _BYTES:
        if gathered[kind]:
            put_down(kind)
    counts = {kind: _merge(paths, folder / kind, _BYTES[kind]) for kind, paths in runs.items() if paths}
    write_manifest(folder, {"counts": counts})


def _merge(runs: Sequence[Path], target: Path, size: int) -> int:
    """Write what sorted runs hold, each digest once, by its first byte; how many there are."""
    mapped = [np.memmap(path, f"S{size}", "r") for path in runs]
    firsts = np.array([bytes([byte]).ljust(size, b"\0") for byte in range(256)], f"S{size}")
    bounds = [[*np.searchsorted(run, firsts), len(run)] for run in mapped]
    count = 0
    with target.open("wb") as file:
        for byte in range(256):
            parts = [run[ends[byte] : ends[byte + 1]] for run, ends in zip(mapped, bounds, strict=True)]
            kept = np.unique(np.concatenate(parts))
            file.write(kept.tobytes())
            count += len(kept)
    for path in runs:
        path.unlink()
    return count


def _entries_of(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                entry = line.partition("#")[0].strip()
                if entry:
                    yield from _read_entry(entry, f"{path}, line {number}")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not text in UTF-8.") from error


def _read_entry(entry: str, place: str) -> Iterator[tuple[str, bytes]]:
    if len(entry) in _KIND_OF_DIGITS and _HASH.fullmatch(entry):
        yield _KIND_OF_DIGITS[len(entry)], bytes.fromhex(entry)
    elif "://" in entry:
        try:
            address = parse_address(entry)
        except NetError as error:
            raise DataError(f"{place}: {entry[:80]!r} is no address: {error.message}") from error
        for text in {entry, _sent(address)}:
            yield "address", _DIGEST["address"](text)
    elif host := _HOST.fullmatch(entry.lower()):
        yield "host", _DIGEST["host"](host["name"])
    else:
        digits = ", ".join(map(str, sorted(_KIND_OF_DIGITS)))
        raise DataError(
            f"{place}: {entry[:80]!r} is no host, address or hash.", f"Hashes have {digits} hex digits."
        )


def _names_of(url: str, address: WebAddress | None) -> tuple[list[str], set[str]]:
    """The hosts that an address is of, the widest last, and the texts that it may be listed as."""
    host = _loose_host(url) if address is None else address.host
    labels = host.split(".") if host else []
    texts = {url} if address is None else {url, _sent(address)}
    return [".".join(labels[n:]) for n in range(len(labels))], texts


def _parsed(url: str) -> WebAddress | None:
    try:
        return parse_address(url)
    except NetError:
        return None


def _sent(address: WebAddress) -> str:
    return f"{address.scheme}://{address.authority}{address.target}"


def _loose_host(url: str) -> str:
    """The host of what is not quite an address, such as one with a space."""
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""


def _hashed(function: Callable[[bytes], bytes]) -> Callable[[str], bytes]:
    return lambda text: function(text.encode(errors="surrogatepass"))


_DIGEST: dict[str, Callable[[str], bytes]] = {
    "host": _hashed(lambda data: md5(data, usedforsecurity=False).digest()),
    "address": _hashed(lambda data: sha256(data).digest()),
    "sha256": _hashed(lambda data: sha256(data).digest()),
    "sha1": _hashed(lambda data: sha1(data, usedforsecurity=False).digest()),
    "md5": _hashed(lambda data: md5(data, usedforsecurity=False).digest()),
    "sha224": _hashed(lambda data: sha224(data).digest()[:12]),
}
"""How a host or an address becomes a digest of a kind."""
