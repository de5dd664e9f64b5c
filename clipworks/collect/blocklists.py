"""Lists of what is not to be collected: hosts, addresses and pictures, read from files of their owners.

A line is a host name (all names below it included), a web address, or the hash of an address or of a
picture's file in hex: sha256 (64 digits), md5 (32) or the first 12 bytes of sha224 (24). `#` begins a
comment. The same reader serves opt-outs and blocklists of harmful material.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import md5, sha224, sha256
from pathlib import Path

from clipworks.addresses import WebAddress, parse_address
from clipworks.errors import DataError, NetError

_HASH = re.compile(r"[0-9a-f]{24}|[0-9a-f]{32}|[0-9a-f]{64}", re.ASCII)
_HOST = re.compile(r"(?:\*\.|\.)?(?P<name>[a-z0-9_-]+(?:\.[a-z0-9_-]+)*)\.?", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class Blocklist:
    """What must not be asked for or kept."""

    hosts: frozenset[str] = frozenset()
    """Names in lower case; those below them are meant too."""
    hashes: frozenset[bytes] = frozenset()
    """sha256, md5, or 12 bytes of sha224."""
    num_lines: int = field(default=0, compare=False)

    def has_address(self, url: str, address: WebAddress) -> bool:
        """Whether an address is listed: its host, or a hash of it as it was written or as it is sent."""
        labels = address.host.split(".")
        if self.hosts and any(".".join(labels[i:]) in self.hosts for i in range(len(labels))):
            return True
        if not self.hashes:
            return False
        sent = f"{address.scheme}://{address.authority}{address.target}"
        return any(not self.hashes.isdisjoint(_hashes(text)) for text in {url, sent})

    def has_picture(self, md5_hex: str, sha256_hex: str) -> bool:
        """Whether a picture's file is listed, by its hashes in hex."""
        if not self.hashes:
            return False
        return bytes.fromhex(md5_hex) in self.hashes or bytes.fromhex(sha256_hex) in self.hashes


def read_blocklist(paths: Iterable[Path]) -> Blocklist:
    """Read lists from files, one entry a line.

    Raises:
        DataError: a file cannot be read, or a line is no entry; a list that is read wrongly protects nobody.
    """
    hosts, hashes = set[str](), set[bytes]()
    num_lines = 0
    for path in paths:
        try:
            with path.open(encoding="utf-8-sig") as file:
                for number, line in enumerate(file, start=1):
                    entry = line.partition("#")[0].strip()
                    if entry:
                        num_lines += 1
                        _add(entry, hosts, hashes, f"{path}, line {number}")
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is not text in UTF-8.") from error
    return Blocklist(hosts=frozenset(hosts), hashes=frozenset(hashes), num_lines=num_lines)


def _add(entry: str, hosts: set[str], hashes: set[bytes], place: str) -> None:
    low = entry.lower()
    if _HASH.fullmatch(low):
        hashes.add(bytes.fromhex(low))
    elif "://" in entry:
        try:
            address = parse_address(entry)
        except NetError as error:
            raise DataError(f"{place}: {entry[:80]!r} is no address: {error.message}") from error
        hashes.add(sha256(entry.encode()).digest())
        hashes.add(sha256(f"{address.scheme}://{address.authority}{address.target}".encode()).digest())
    elif host := _HOST.fullmatch(low):
        hosts.add(host["name"])
    else:
        raise DataError(
            f"{place}: {entry[:80]!r} is no host, address or hash.",
            "Hashes have 24, 32 or 64 hex digits.",
        )


def _hashes(text: str) -> tuple[bytes, bytes, bytes]:
    data = text.encode(errors="surrogatepass")
    return (
        sha224(data).digest()[:12],
        md5(data, usedforsecurity=False).digest(),
        sha256(data).digest(),
    )
