"""Web archives to records: WARC and WAT files, plain or gzipped, read from front to back whatever is in them.

A gzip member or a record that is damaged is counted and left out; reading goes on at the next one that
is whole. What a record holds is read by `responses.py`, `pages.py` and `wat.py`. Small gzip members are
inflated by libdeflate in one go, which takes two thirds of ISA-L's time, others by ISA-L piece by piece,
about twice as fast as zlib; all give the same bytes. The owner of deflate.
"""

from collections import Counter
from collections.abc import Iterator
from os import SEEK_CUR
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

from deflate import DeflateError, gzip_decompress
from isal import isal_zlib

from clipworks.errors import DataError, reason_of

MAX_RECORD_BYTES = 64 << 20
"""Records above this are counted and passed over, so that memory has a limit."""

NO_RECORD = "holds no whole WARC record."
"""What is wrong with a file that is no archive."""

GZIP = b"\x1f\x8b\x08"
_MARK = b"WARC/"
_LENGTH, _KIND = b"\ncontent-length: ", b"\nwarc-type: "
_WINDOW_BYTES = 1 << 20
_CHUNK_BYTES = 4 << 10
_PIECE_BYTES = 4 << 20
_PROBE_BYTES = 1 << 10
_HEAD_BYTES = 64 << 10
_LEAST_MEMBER = 18
"""Bytes of the head and the end of a gzip member."""
_GZIP_WBITS = 31
_BLANK = b"\r\n"
_MOST_DIGITS = 18
"""Of a length that fits into 64 bits."""
_ERRORS: Any = (isal_zlib.error, EOFError)  # isal says that its error is an instance

Gap = Literal["more", "damaged", "oversized"]
"""Why there is no record: more bytes are needed, there is none, or it is too large."""

State = Literal["more", "end", "damaged"]
"""What follows a piece: more of its gzip member, its end, or nothing that can be read."""

Piece = tuple[int, bytes, State]
"""Where the gzip member begins, or the bytes themselves in a plain archive; the bytes; what follows them."""


class Record(NamedTuple):
    """One record of an archive."""

    kind: bytes
    """`WARC-Type` in lower case: `response`, `metadata`, `revisit`, ..."""
    head: bytes
    """The record's header lines, names in lower case."""
    raw_head: bytes
    """The same as they stand in the archive."""
    block: bytes
    """What the record holds, without the two line breaks at its end."""
    offset: int
    """Where the record, or the gzip member that holds it, begins in the archive, bytes."""

    def field(self, name: bytes) -> bytes:
        """The value of a header line, b"" where there is none; `name` in lower case."""
        return field_of(self.head, self.raw_head, name)


def read_records(path: Path, counts: Counter[str]) -> Iterator[Record]:
    """The whole records of an archive, in order.

    Args:
        counts: `damaged_records` (a gzip member or a stretch of bytes without a whole record) and
            `oversized_records` are added here.

    Raises:
        DataError: the file cannot be opened or read.
    """
    counts["damaged_records"] += 0  # that there was none is told, too
    try:
        with path.open("rb", buffering=_WINDOW_BYTES) as file:
            head = file.read(_WINDOW_BYTES)
            is_gzip = head.startswith(GZIP) or (_MARK not in head and GZIP in head)
            file.seek(0)
            yield from _split(_gzip_pieces(file) if is_gzip else _plain_pieces(file), counts, is_gzip)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {reason_of(error)}.") from error


def check_archive(path: Path) -> None:
    """See that a file is an archive.

    Raises:
        DataError: it cannot be read, or holds no record.
    """
    if next(read_records(path, Counter()), None) is None:
        raise DataError(f"{path} {NO_RECORD}", "Name a WARC file.")


def read_record_at(path: Path, offset: int) -> Record:
    """The record that begins at an offset which `read_records` gave.

    Raises:
        DataError: there is no whole record.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            is_gzip = file.read(len(GZIP)) == GZIP
            file.seek(offset)
            pieces = _gzip_pieces(file) if is_gzip else _plain_pieces(file, offset)
            for record in _split(pieces, Counter(), is_gzip):
                if record.offset == offset:
                    return record
                break
    except OSError as error:
        raise DataError(f"{path} cannot be read: {reason_of(error)}.") from error
    raise DataError(
        f"{path} holds no whole record at byte {offset:,}.", "It changed: delete the output and repeat."
    )


def field_of(head: bytes, raw_head: bytes, name: bytes) -> bytes:
    """The value of the first header line of this name in header lines, b"" where there is none.

    Args:
        head: the lines in lower case.
        raw_head: the same lines as they are.
        name: in lower case.
    """
    at = head.find(b"\n" + name + b":")
    if at < 0:
        return b""
    at += len(name) + 2
    end = raw_head.find(b"\n", at)
    return raw_head[at : len(raw_head) if end < 0 else end].strip()


def _gzip_pieces(file: IO[bytes]) -> Iterator[Piece]:
    window, at = b"", 0  # bytes of the file, and how far they are read
    base = file.tell()  # where they begin
    while True:
        if at >= len(window):
            base += len(window)
            window, at = file.read(_WINDOW_BYTES), 0
            if not window:
                return
        if not window[at]:  # padding between members
            at += 1
            continue
        offset = base + at
        end = window.find(GZIP, at + _LEAST_MEMBER)
        if end < 0 and at:
            file.seek(offset)
            window, base, at = file.read(_WINDOW_BYTES), offset, 0
            end = window.find(GZIP, _LEAST_MEMBER)
        if end >= 0 or len(window) < _WINDOW_BYTES:
            end = end if end >= 0 else len(window)
            data = _inflate_member(window[at:end])
            if data is not None:
                yield offset, data, "end"
                at = end
                continue
        file.seek(offset)
        try:
            yield from _member(file, offset)
        except _ERRORS:
            yield offset, b"", "damaged"
            file.seek(_next_member(file, offset + 1))
        window, base, at = b"", file.tell(), 0


def _inflate_member(packed: bytes) -> bytes | None:
    """What a small gzip member holds; None where these bytes may be anything else than one whole member."""
    size = int.from_bytes(packed[-4:], "little")  # a member ends with it
    if not 0 < size < _PIECE_BYTES:
        return None
    try:
        data = bytes(gzip_decompress(packed, size))
    except DeflateError:
        return None
    return data if len(data) == size else None


def _member(file: IO[bytes], offset: int) -> Iterator[Piece]:
    """The gzip member at which the file stands, in one piece if it is small; the file ends up behind."""
    decoder = isal_zlib.decompressobj(_GZIP_WBITS)
    parts: list[bytes] = []
    size, chunk_bytes = 0, _CHUNK_BYTES
    while not decoder.eof:
        chunk = decoder.unconsumed_tail or file.read(chunk_bytes)
        chunk_bytes = min(4 * chunk_bytes, _WINDOW_BYTES)
        parts.append(decoder.decompress(chunk, _PIECE_BYTES))
        if not chunk and not parts[-1] and not decoder.eof:
            raise EOFError
        size += len(parts[-1])
        if size >= _PIECE_BYTES:
            yield offset, b"".join(parts), "more"
            parts, size = [], 0
    file.seek(-len(decoder.unused_data), SEEK_CUR)
    yield offset, parts[0] if len(parts) == 1 else b"".join(parts), "end"


def _next_member(file: IO[bytes], start: int) -> int:
    """Where the next gzip member begins that starts with a record; the end of the file if there is none."""
    file.seek(start)
    window, base = file.read(_WINDOW_BYTES), start
    while True:
        at = window.find(GZIP)
        while at >= 0:
            if len(window) - at < _PROBE_BYTES:
                window += file.read(_WINDOW_BYTES)
            if _begins_record(window[at : at + _PROBE_BYTES]):
                return base + at
            at = window.find(GZIP, at + 1)
        fresh = file.read(_WINDOW_BYTES)
        if not fresh:
            return base + len(window)
        kept = len(GZIP) - 1
        base, window = base + len(window) - kept, window[-kept:] + fresh


def _begins_record(data: bytes) -> bool:
    try:
        return isal_zlib.decompressobj(_GZIP_WBITS).decompress(data, len(_MARK)) == _MARK
    except _ERRORS:
        return False


def _plain_pieces(file: IO[bytes], start: int = 0) -> Iterator[Piece]:
    while data := file.read(_WINDOW_BYTES):
        yield start, data, "more"
        start += len(data)
    yield start, b"", "end"


def _split(pieces: Iterator[Piece], counts: Counter[str], is_gzip: bool) -> Iterator[Record]:
    """Records out of pieces; a stretch of damage counts once."""
    data, offset, skipped, is_lost = b"", 0, 0, False
    for start, piece, state in pieces:
        is_alone = is_gzip and state == "end" and not data and not skipped
        record = _only(piece, start) if is_alone else None
        if record is not None:
            is_lost = False
            yield record
            continue
        cut = min(skipped, len(piece))
        skipped -= cut
        if not data:
            offset = start if is_gzip else start + cut
        data = data + piece[cut:] if data else piece[cut:] if cut else piece
        at = 0
        while True:
            while data[at : at + 1] in (b"\r", b"\n"):
                at += 1
            found, end = _take(data, at, offset if is_gzip else offset + at, is_last=state != "more")
            if found == "more":
                break
            at = min(end, len(data))
            if isinstance(found, Record):
                is_lost = False
                yield found
            elif found == "oversized":
                counts["oversized_records"] += 1
                skipped = end - at
            else:
                counts["damaged_records"] += not is_lost
                is_lost = True
        data, offset = data[at:], offset if is_gzip else offset + at
        if state != "more":
            counts["damaged_records"] += state == "damaged" and not is_lost
            data, skipped, is_lost = b"", 0, False


def _only(data: bytes, offset: int) -> Record | None:
    """The record that a gzip member holds, as nearly all do; None where it may hold anything else."""
    end = data.find(b"\r\n\r\n", 0, _HEAD_BYTES) + 4
    if end < 4 or not data.startswith(_MARK):
        return None
    raw_head = data[:end]
    head = raw_head.lower()
    at = head.find(_LENGTH) + len(_LENGTH)
    is_whole = head.startswith(b"%d\r\n" % (len(data) - end - 4), at) and data.endswith(b"\r\n\r\n")
    if at < len(_LENGTH) or not is_whole:
        return None
    at = head.find(_KIND) + len(_KIND)
    kind = (
        head[at : head.find(b"\r\n", at)].strip() if at >= len(_KIND) else field_of(head, head, b"warc-type")
    )
    return Record(kind, head, raw_head, data[end:-4], offset)


def _take(data: bytes, at: int, offset: int, *, is_last: bool) -> tuple[Record | Gap, int]:
    """The record at `at`, or why there is none; and where the bytes after it begin."""
    if at >= len(data) or (len(data) - at < len(_MARK) and not is_last):
        return "more", at
    if not data.startswith(_MARK, at):
        return _lost(data, at, is_last)
    end = data.find(b"\r\n\r\n", at, at + _HEAD_BYTES)
    if end < 0:
        is_short = len(data) - at < _HEAD_BYTES
        return ("more", at) if is_short and not is_last else _lost(data, at, is_last)
    end += 4
    raw_head = data[at:end]
    head = raw_head.lower()
    digits = field_of(head, raw_head, b"content-length")
    size = _size_of(digits)
    if size is None:
        return _lost(data, at, is_last)
    if size > MAX_RECORD_BYTES:
        return "oversized", end + size
    if len(data) < end + size + 4 and not is_last:
        return "more", at
    tail = data[end + size : end + size + 4]
    if len(data) < end + size or tail.strip(_BLANK):
        return _lost(data, at, is_last)
    kind = field_of(head, raw_head, b"warc-type").lower()
    block = data[end : end + size]
    return Record(kind=kind, head=head, raw_head=raw_head, block=block, offset=offset), end + size


def _size_of(digits: bytes) -> int | None:
    """The number in a header line; None for what is none, or none that a file can have."""
    return int(digits) if digits.isdigit() and len(digits) <= _MOST_DIGITS else None


def _lost(data: bytes, at: int, is_last: bool) -> tuple[Gap, int]:
    """The bytes up to the next record."""
    end = data.find(b"\n" + _MARK, at + 1)
    if end >= 0:
        return "damaged", end + 1
    return "damaged", len(data) if is_last else max(at + 1, len(data) - len(_MARK))
