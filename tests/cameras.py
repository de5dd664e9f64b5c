"""Files as cameras and phones write them, around a picture of one's own; raw values are invented."""

import base64
import io
import struct
from collections.abc import Mapping, Sequence

from PIL import Image

Value = int | bytes | Sequence[int]


def jpeg(width: int, height: int, colour: str = "red", orientation: int = 0) -> bytes:
    """A JPEG file of one colour; its left half is white, so that turning shows."""
    picture = Image.new("RGB", (width, height), colour)
    picture.paste("white", (0, 0, width // 2, height))
    exif, file = Image.Exif(), io.BytesIO()
    if orientation:
        exif[0x112] = orientation
    picture.save(file, "JPEG", exif=exif)
    return file.getvalue()


class Tiff:
    """A TIFF file that is put together: directories point to blobs behind them."""

    def __init__(self, order: str = "<", mark: bytes = b"II*\0", head: bytes = b"") -> None:
        self._order = order
        self._content = bytearray(mark + bytes(4) + head)

    def blob(self, data: bytes) -> int:
        """Append bytes; where they lie."""
        self._content += bytes(len(self._content) % 2)
        self._content += data
        return len(self._content) - len(data)

    def folder(self, values: Mapping[int, Value], following: int = 0) -> int:
        """Append a directory; where it lies. Bytes are of type 7, texts of type 2, numbers LONG."""
        entries = b""
        for tag in sorted(values):
            value = values[tag]
            if isinstance(value, bytes):
                kind, count = (2 if value.endswith(b"\0") else 7), len(value)
                data = (
                    value.ljust(4, b"\0") if count <= 4 else struct.pack(f"{self._order}I", self.blob(value))
                )
            else:
                numbers = [value] if isinstance(value, int) else list(value)
                kind, count = 4, len(numbers)
                packed = struct.pack(f"{self._order}{count}I", *numbers)
                data = packed if count == 1 else struct.pack(f"{self._order}I", self.blob(packed))
            entries += struct.pack(f"{self._order}HHI", tag, kind, count) + data
        head = struct.pack(f"{self._order}H", len(values))
        return self.blob(head + entries + struct.pack(f"{self._order}I", following))

    def done(self, first: int) -> bytes:
        """The file, whose first directory lies there."""
        self._content[4:8] = struct.pack(f"{self._order}I", first)
        return bytes(self._content)


FACTS = {0x10F: b"Maker\0", 0x110: b"Maker One\0"}
EXIF = {0x9003: b"2024:05:17 14:03:59\0"}
RAW_VALUES = b"\xff\xd8\xff\xc3" + bytes(60)
"""Raw values are lossless JPEG in many files, which no ordinary decoder reads."""


def nef(orientation: int = 1, order: str = "<") -> bytes:
    """Nikon NEF, Sony ARW and Adobe DNG are of this form: previews and raw values in inner directories."""
    file = Tiff(order, b"II*\0" if order == "<" else b"MM\0*")
    large, small = jpeg(320, 240), jpeg(32, 24)
    preview = file.folder({0xFE: 1, 0x103: 6, 0x201: file.blob(large), 0x202: len(large)})
    values = {
        0xFE: 0,
        0x100: 4000,
        0x101: 3000,
        0x103: 7,
        0x106: 32803,
        0x111: file.blob(RAW_VALUES),
        0x117: 64,
    }
    inner = (preview, file.folder(values))
    exif = file.folder(EXIF)
    thumbnail = {0x103: 6, 0x201: file.blob(small), 0x202: len(small)}
    return file.done(file.folder({**FACTS, **thumbnail, 0x112: orientation, 0x14A: inner, 0x8769: exif}))


def cr2() -> bytes:
    """Canon CR2: the preview is the strip of the first directory, raw values that of the last."""
    file = Tiff(head=b"CR\2\0")
    large = jpeg(320, 240)
    last = file.folder({0x103: 6, 0x111: file.blob(RAW_VALUES), 0x117: 64})
    exif = file.folder(EXIF)
    strip = {0x100: 320, 0x101: 240, 0x103: 6, 0x111: file.blob(large), 0x117: len(large)}
    return file.done(file.folder({**FACTS, **strip, 0x112: 6, 0x8769: exif}, following=last))


def rw2() -> bytes:
    """Panasonic RW2: the preview is a value of the first directory."""
    file = Tiff(mark=b"IIU\0")
    return file.done(file.folder({**FACTS, 0x2E: jpeg(320, 240), 0x112: 1, 0x8769: file.folder(EXIF)}))


def orf() -> bytes:
    """Olympus ORF: no directory names the preview."""
    file = Tiff(mark=b"IIRO")
    file.blob(jpeg(320, 240))
    return file.done(file.folder({**FACTS, 0x112: 1, 0x8769: file.folder(EXIF)}))


def raf() -> bytes:
    """Fujifilm RAF: place and length of a JPEG with facts of its own."""
    exif, content = Image.Exif(), io.BytesIO()
    exif[0x10F], exif[0x110], exif[0x112] = "Maker", "Maker One", 1
    exif.get_ifd(0x8769)[0x9003] = "2024:05:17 14:03:59"
    Image.open(io.BytesIO(jpeg(320, 240))).save(content, "JPEG", exif=exif)
    head = b"FUJIFILMCCD-RAW 0201FF000000Fujifilm Camera".ljust(84, b"\0")
    return head + struct.pack(">II", 148, len(content.getvalue())) + bytes(56) + content.getvalue()


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def cr3() -> bytes:
    """Canon CR3: boxes within boxes."""
    main, exif = Tiff(), Tiff()
    facts = _box(b"CMT1", main.done(main.folder({**FACTS, 0x112: 6}))) + _box(
        b"CMT2", exif.done(exif.folder(EXIF))
    )
    preview = _box(b"PRVW", bytes(6) + struct.pack(">HHHI", 1, 320, 240, 1) + jpeg(320, 240))
    return (
        _box(b"ftyp", b"crx \0\0\0\1crx isom")
        + _box(b"moov", _box(b"uuid", bytes.fromhex("85c0b687820f11e08111f4ce462b6a48") + facts))
        + _box(b"uuid", bytes.fromhex("eaf42b5e1c984b88b9fbb7dc406e4d16") + bytes(8) + preview)
        + _box(b"mdat", bytes(64))
    )


KINDS = {"nef": nef, "cr2": cr2, "rw2": rw2, "orf": orf, "raf": raf, "cr3": cr3}

HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAchtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAA"
    "ADRpbG9jAAAAAERAAAIAAQAAAAAB7AABAAAAAAAAAEkAAgAAAAACNQABAAAAAAAAAGwAAAA4aWluZgAAAAAAAgAAABVpbmZlAgAA"
    "AAABAABodmMxAAAAABVpbmZlAgAAAQACAABFeGlmAAAAAA5waXRtAAAAAAABAAABB2lwcnAAAADmaXBjbwAAAHZodmNDAQNwAAAA"
    "kAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq"
    "5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xh"
    "cAAAAEAAAAABAAAAMAAAAAEAAAAAAAAAAv////AAAAACAAAAEHBpeGkAAAAAAwgICAAAAAlpcm90AwAAABlpcG1hAAAAAAAAAAEA"
    "AQaBAgMFhIYAAAAaaXJlZgAAAAAAAAAOY2RzYwACAAEAAQAAAL1tZGF0AAAARSgBr1jmBaB6HSelq5mQ668u9F8rqecekNFSEFmh"
    "Niz3MwQZIQ9fL0+FjojGD8LlfZYY/AOvnKjJmZB/J5h0LTpAVcPQyAAAAAZFeGlmAABNTQAqAAAACAAEAQ8AAgAAAAYAAAA+ARAA"
    "AgAAAAoAAABEARIAAwAAAAEABgAAATIAAgAAABQAAABOAAAAAEFwcGxlAGlQaG9uZSAxNQAyMDI0OjA1OjE3IDE0OjAzOjU5AA=="
)
"""48 x 64 pixels when turned, grey rings; made with pillow-heif from Pillow's radial gradient."""
