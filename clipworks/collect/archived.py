"""Pictures that web archives hold themselves: found by their address, read without asking the web.

An index on disk (SQLite) says where they are, so that memory does not grow with the archives.
"""

import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha224, sha256
from pathlib import Path
from threading import Lock

from clipworks.addresses import parse_address
from clipworks.collect.images import begins_like_a_picture
from clipworks.collect.records import read_record_at, read_records
from clipworks.collect.responses import Response, decode_body, read_response
from clipworks.errors import DataError, NetError, reason_of

_TABLES = (
    "create table if not exists archives (digest text primary key, pictures integer not null)",
    "create table if not exists pictures (address blob primary key, archive text not null,"
    " offset integer not null) without rowid",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchivedPicture:
    """A picture as an archive holds it."""

    data: bytes
    headers: tuple[tuple[str, str], ...]
    """Of the answer that was archived; names in lower case."""


class ArchivedPictures:
    """The pictures of some archives.

    Args:
        archives: WARC files, gzipped or plain; of one address the first picture counts.
        index: a file that is made; what is in it of an earlier run is used.

    Raises:
        DataError: an archive or the index cannot be read.
    """

    def __init__(self, archives: Sequence[Path], index: Path) -> None:
        self._archives = {_digest(path): path for path in archives}
        self.counts: Counter[str] = Counter()
        self._lock = Lock()
        try:
            self._base = sqlite3.connect(index, isolation_level=None, check_same_thread=False)
            for table in _TABLES:
                self._base.execute(table)
            for digest, path in self._archives.items():
                self._add(digest, path)
        except sqlite3.Error as error:
            raise DataError(
                f"{index} cannot be used: {reason_of(error)}.", "Delete it and repeat the command."
            ) from error

    def close(self) -> None:
        """Close the index."""
        self._base.close()

    def find(self, url: str) -> ArchivedPicture | None:
        """The picture of an address, or None where the archives hold none. Any thread may call it.

        Raises:
            DataError: the archive changed since it was indexed, or the index is damaged.
        """
        for key in _keys(url):
            try:
                with self._lock:
                    row = self._base.execute(
                        "select archive, offset from pictures where address = ?", (key,)
                    ).fetchone()
            except sqlite3.Error as error:
                raise DataError(f"The index of the archives cannot be read: {reason_of(error)}.") from error
            if row is not None and row[0] in self._archives:
                return _read(self._archives[row[0]], row[1])
        return None

    def _add(self, digest: str, path: Path) -> None:
        known = self._base.execute("select pictures from archives where digest = ?", (digest,)).fetchone()
        if known is None:
            self._base.execute("begin")
            known = (0,)
            for record in read_records(path, self.counts):
                if record.kind == b"response" and _is_picture(read_response(record)):
                    target = record.field(b"warc-target-uri").strip(b"<> ").decode(errors="replace")
                    rows = [(key, digest, record.offset) for key in _keys(target)]
                    self._base.executemany("insert or ignore into pictures values (?, ?, ?)", rows)
                    known = (known[0] + 1,)
            self._base.execute("insert into archives values (?, ?)", (digest, known[0]))
            self._base.execute("commit")
        self.counts["archived_pictures"] += known[0]


def _read(path: Path, offset: int) -> ArchivedPicture:
    record = read_record_at(path, offset)
    response = read_response(record)
    body = None if response is None else decode_body(response)
    if body is None:
        raise DataError(
            f"{path} has no picture at byte {offset}.", "It changed: delete the output and repeat."
        )
    return ArchivedPicture(data=body, headers=_headers(record.block))


def _is_picture(response: Response | None) -> bool:
    if response is None or response.status != 200 or response.media_type.startswith("text/html"):
        return False
    body = decode_body(response)
    return body is not None and begins_like_a_picture(body[:64])


def _headers(block: bytes) -> tuple[tuple[str, str], ...]:
    head = block.partition(b"\r\n\r\n")[0].decode("latin-1")
    pairs = (line.partition(":") for line in head.splitlines()[1:])
    return tuple((name.strip().lower(), value.strip()) for name, colon, value in pairs if colon)


def _keys(url: str) -> list[bytes]:
    """Hashes of an address as it is written and as it would be sent."""
    texts = {url}
    try:
        address = parse_address(url)
        texts.add(f"{address.scheme}://{address.authority}{address.target}")
    except NetError:
        pass
    return [sha224(text.encode(errors="surrogatepass")).digest()[:12] for text in sorted(texts)]


def _digest(path: Path) -> str:
    """By name, size and time: archives are large, and what is read is checked again."""
    try:
        facts = path.stat()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {reason_of(error)}.") from error
    return sha256(f"{path.resolve()} {facts.st_size} {facts.st_mtime_ns}".encode()).hexdigest()
