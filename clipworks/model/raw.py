"""The finished picture that a camera puts into its RAW file: a JPEG, found without a RAW developer.

Canon CR2, Nikon NEF, Sony ARW, Adobe DNG, Pentax PEF, Samsung SRW, Panasonic RW2 and Olympus ORF are TIFF
files of several pictures; Fujifilm RAF and Canon CR3 have forms of their own. Tags as in the TIFF 6.0,
TIFF/EP and DNG specifications; CR3 as in https://github.com/lclevy/canon_cr3. `decoder.py` opens the
preview, and `search/exif.py` reads what stands beside it.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO

EXTENSIONS = frozenset(
    {".cr2", ".cr3", ".nef", ".nrw", ".arw", ".sr2", ".dng", ".pef", ".srw", ".rw2", ".orf", ".raf"}
)

_TIFF_MARKS = {b"II*\0": "<", b"MM\0*": ">", b"IIU\0": "<", b"IIRO": "<", b"IIRS": "<", b"MMOR": ">"}
"""First bytes of a file -> the order of its bytes; the last four are Panasonic's and Olympus'."""

_ALWAYS_RAW = (b"IIU\0", b"IIRO", b"IIRS", b"MMOR")
_FUJIFILM = b"FUJIFILMCCD-RAW"
_CR3_BRAND = b"ftypcrx "
_CR3_PREVIEWS = bytes.fromhex("eaf42b5e1c984b88b9fbb7dc406e4d16")
_CR3_FACTS = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
_BOXES_WITH_BOXES = (b"moov", b"uuid")

_WIDTH, _HEIGHT, _COMPRESSION, _PHOTOMETRIC, _STRIPS, _ORIENTATION = 0x100, 0x101, 0x103, 0x106, 0x111, 0x112
_STRIP_BYTES, _SUB_FOLDERS, _JPEG, _JPEG_BYTES, _PANASONIC_JPEG = 0x117, 0x14A, 0x201, 0x202, 0x2E
_RAW_PHOTOMETRICS = (32803, 34892)
"""A colour filter array, and linear values made of one."""
_JPEG_COMPRESSIONS = (6, 7)
_TYPES = {3: "H", 4: "I", 13: "I"}
_MOST_FOLDERS = 32
_MOST_ENTRIES = 512
_MOST_VALUES = 32
_SEARCHED_BYTES = 16 << 20
_MOST_BYTES = 64 << 20
"""A larger preview is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RawFile:
    """What a RAW file has for those who do not develop it."""

    preview: bytes
    """The largest JPEG in it; empty where there is none."""
    width: int
    """Pixels of the largest picture that the file names, undeveloped or not."""
    height: int
    orientation: int
    """As EXIF counts, 1..8; for a preview that has none of its own."""
    facts: tuple[bytes, ...]
    """TIFF blocks with tags about the picture, the main one first; empty where the preview has them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Folder:
    """An image file directory of a TIFF file."""

    values: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """Tag -> its numbers, the first few."""
    blobs: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Tag -> place and length of its bytes."""

    def first(self, tag: int) -> int:
        """The first number of a tag; 0 where it is not there."""
        return self.values.get(tag, (0,))[0]


def read_raw(file: IO[bytes]) -> RawFile | None:
    """The preview of a RAW file; None where a file is none.

    Args:
        file: seekable; is read where needed, and left anywhere.

    Raises:
        OSError: it cannot be read.
    """
    head = _part(file, 0, 16)
    try:
        if head.startswith(_FUJIFILM):
            return _fujifilm(file)
        if head[4:12] == _CR3_BRAND:
            return _cr3(file)
        if head[:4] in _TIFF_MARKS:
            return _tiff(file, head)
    except (struct.error, ValueError, OverflowError):  # damaged; its reader says so better
        return None
    return None


def _tiff(file: IO[bytes], head: bytes) -> RawFile | None:
    folders = list(_folders(file, _TIFF_MARKS[head[:4]], 4))
    is_raw = (
        head[:4] in _ALWAYS_RAW
        or head[8:11] == b"CR\2"
        or any(one.first(_PHOTOMETRIC) in _RAW_PHOTOMETRICS for one in folders)
    )
    if not is_raw or not folders:
        return None
    places = [place for one in folders for place in _jpeg_places(one)]
    preview = _largest(file, places) or _largest(file, _anywhere(file))
    sizes = [(one.first(_WIDTH), one.first(_HEIGHT)) for one in folders]
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    plain = (b"II*\0" if head[:1] == b"I" else b"MM\0*") + _part(file, 4, _SEARCHED_BYTES)
    return RawFile(
        preview=preview,
        width=width,
        height=height,
        orientation=folders[0].first(_ORIENTATION) or 1,
        facts=(plain,),
    )


def _folders(file: IO[bytes], order: str, start: int) -> Iterator[_Folder]:
    """Every directory, those inside others too; each once, in the order of the file."""
    (first,) = struct.unpack(f"{order}I", _part(file, start, 4))
    todo, seen = [first], set[int]()
    while todo and len(seen) < _MOST_FOLDERS:
        place = todo.pop(0)
        if not place or place in seen:
            continue
        seen.add(place)
        count = struct.unpack(f"{order}H", _part(file, place, 2) or b"\0\0")[0]
        if count > _MOST_ENTRIES:
            continue
        entries = _part(file, place + 2, 12 * count + 4)
        found = _Folder()
        for number in range(len(entries) // 12):
            _read_entry(file, order, entries[12 * number : 12 * number + 12], place + 2 + 12 * number, found)
        yield found
        todo += found.values.get(_SUB_FOLDERS, ())
        if len(entries) == 12 * count + 4:
            todo += struct.unpack(f"{order}I", entries[-4:])


def _read_entry(file: IO[bytes], order: str, entry: bytes, place: int, found: _Folder) -> None:
    tag, kind, count = struct.unpack(f"{order}HHI", entry[:8])
    letter = _TYPES.get(kind)
    if letter is None:
        if kind == 7 and count > 4:
            found.blobs[tag] = (struct.unpack(f"{order}I", entry[8:])[0], count)
        return
    num_bytes = count * struct.calcsize(f"={letter}")
    start = place + 8 if num_bytes <= 4 else struct.unpack(f"{order}I", entry[8:])[0]
    count = min(count, _MOST_VALUES)
    data = _part(file, start, count * struct.calcsize(f"={letter}"))
    values = struct.unpack(f"{order}{len(data) // struct.calcsize(f'={letter}')}{letter}", data)
    if values:
        found.values[tag] = values


def _jpeg_places(folder: _Folder) -> Iterator[tuple[int, int]]:
    """Where a directory may have a JPEG: place and length."""
    if folder.first(_JPEG):
        yield folder.first(_JPEG), folder.first(_JPEG_BYTES)
    strips = folder.values.get(_STRIPS, ())
    if len(strips) == 1 and folder.first(_COMPRESSION) in _JPEG_COMPRESSIONS:
        yield strips[0], folder.first(_STRIP_BYTES)
    if _PANASONIC_JPEG in folder.blobs:
        yield folder.blobs[_PANASONIC_JPEG]


def _anywhere(file: IO[bytes]) -> list[tuple[int, int]]:
    """JPEG files that no directory names, as Olympus hides them in notes of its own."""
    content = _part(file, 0, _SEARCHED_BYTES)
    places, start = list[tuple[int, int]](), content.find(b"\xff\xd8\xff")
    while start >= 0 and len(places) < _MOST_FOLDERS:
        places.append((start, len(content) - start))
        start = content.find(b"\xff\xd8\xff", start + 3)
    return places


def _largest(file: IO[bytes], places: list[tuple[int, int]]) -> bytes:
    """The JPEG with the most pixels; those that hold raw values are of the lossless kind and left out."""
    best, most = (0, 0), 0
    for place, length in places:
        pixels = _jpeg_pixels(file, place) if 0 < length <= _MOST_BYTES else 0
        if pixels > most:
            best, most = (place, length), pixels
    return _part(file, *best) if most else b""


def _jpeg_pixels(file: IO[bytes], place: int) -> int:
    """Width x height of a JPEG that ordinary decoders read; 0 where there is none at this place."""
    if _part(file, place, 3) != b"\xff\xd8\xff":
        return 0
    place += 2
    for _ in range(64):
        mark = _part(file, place, 9)
        if len(mark) < 9 or mark[0] != 0xFF:
            return 0
        if mark[1] in (0xC0, 0xC1, 0xC2):
            height, width = struct.unpack(">HH", mark[5:9])
            return int(height * width)
        if mark[1] in (0xC3, 0xD9, 0xDA):
            return 0
        place += 2 + struct.unpack(">H", mark[2:4])[0]
    return 0


def _fujifilm(file: IO[bytes]) -> RawFile:
    place, length = struct.unpack(">II", _part(file, 84, 8))
    preview = _largest(file, [(place, length)])
    return RawFile(preview=preview, width=0, height=0, orientation=1, facts=())


def _cr3(file: IO[bytes]) -> RawFile:
    """Boxes within boxes, as in MP4: facts in `CMT1` (main), `CMT2` (EXIF) and `CMT4` (position)."""
    found = {kind: (start, length) for kind, start, length in _boxes(file, 0, _size_of(file))}
    facts = tuple(_part(file, *found[kind]) for kind in (b"CMT1", b"CMT2", b"CMT4") if kind in found)
    orientation = 1
    if facts:
        order = _TIFF_MARKS.get(facts[0][:4], "<")
        orientation = next(_folders(io.BytesIO(facts[0]), order, 4), _Folder()).first(_ORIENTATION) or 1
    places = list[tuple[int, int]]()
    if b"PRVW" in found:
        start, length = found[b"PRVW"]
        inside = _part(file, start, min(length, 256)).find(b"\xff\xd8\xff")
        if inside >= 0:
            places.append((start + inside, length - inside))
    preview = _largest(file, places)
    return RawFile(preview=preview, width=0, height=0, orientation=orientation, facts=facts)


def _boxes(file: IO[bytes], start: int, end: int, depth: int = 0) -> Iterator[tuple[bytes, int, int]]:
    """Kind, place and length of what is in each box."""
    for _ in range(_MOST_ENTRIES):
        head = _part(file, start, 16)
        if start + 8 > end or len(head) < 8:
            return
        length, kind, inner = struct.unpack(">I", head[:4])[0], head[4:8], start + 8
        if length == 1 and len(head) == 16:
            length, inner = struct.unpack(">Q", head[8:16])[0], start + 16
        length = length or end - start
        if length < inner - start or start + length > end:
            return
        yield kind, inner, start + length - inner
        if kind == b"uuid":
            name = _part(file, inner, 16)
            inner += 24 if name == _CR3_PREVIEWS else 16
            kind = kind if name in (_CR3_PREVIEWS, _CR3_FACTS) else b""
        if kind in _BOXES_WITH_BOXES and depth < 4:
            yield from _boxes(file, inner, start + length, depth + 1)
        start += length


def _part(file: IO[bytes], start: int, length: int) -> bytes:
    file.seek(start)
    return file.read(length)


def _size_of(file: IO[bytes]) -> int:
    return file.seek(0, io.SEEK_END)
