"""What a picture file says of itself: size, when, where and with what it was taken, words in it.

Read from its EXIF, XMP and IPTC blocks. Nothing here fails: a broken block says nothing.
"""

import io
import re
import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from html import unescape
from typing import Any

from PIL import ExifTags, Image, ImageFile, IptcImagePlugin

from clipworks.model.decoder import DECODE_ERRORS, no_pillow_warnings, open_header
from clipworks.model.raw import RawFile, read_raw

MAX_WORDS = 2000
"""Longest text taken from a block, characters."""

MAX_TAGS = 100

_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN = 0xDA
_FIRST_MARKER_WITH_LENGTH = 0xC0
_MARKERS_OF_FACTS = frozenset({*range(0xD0, 0xDA), 0xE1, 0xED})
"""APP1 has EXIF or XMP, APP13 IPTC; those from 0xD0 on have no length, and do not come in a header."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Exif:
    """The three directories of an EXIF block."""

    main: dict[int, Any]
    inner: dict[int, Any]
    gps: dict[int, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureFacts:
    """What is known of a picture; empty, None or 0 where it does not say."""

    width: int = 0
    height: int = 0
    taken: int | None = None
    """Seconds since 1970 by the camera's clock, which knows no zone."""
    camera: str = ""
    latitude: float | None = None
    longitude: float | None = None
    place: str = ""
    caption: str = ""
    author: str = ""
    tags: tuple[str, ...] = ()


def read_facts(content: bytes) -> PictureFacts:
    """What the bytes of a picture file say."""
    bare = bare_jpeg_size(content)
    if bare is not None:
        return PictureFacts(width=bare[0], height=bare[1])
    raw = read_raw(io.BytesIO(content))
    preview = raw.preview if raw is not None else content
    try:
        # Only the header and the blocks are read.
        picture = open_header(io.BytesIO(preview), preview[:16])
        if raw is None and _says_nothing(picture):
            return PictureFacts(width=picture.size[0], height=picture.size[1])
        with no_pillow_warnings():
            exif = picture.getexif()
    except (*DECODE_ERRORS, Image.DecompressionBombError):
        return PictureFacts()
    with no_pillow_warnings():
        said = _Exif(
            main=dict(exif), inner=_block(exif, ExifTags.IFD.Exif), gps=_block(exif, ExifTags.IFD.GPSInfo)
        )
        if raw is not None:
            said = _beside_raw(raw, said)
        iptc = _iptc(picture)
    xmp = xmp_facts(_xmp_of(picture))
    taken = said.inner.get(ExifTags.Base.DateTimeOriginal) or said.main.get(ExifTags.Base.DateTime)
    names = (said.main.get(ExifTags.Base.Make), said.main.get(ExifTags.Base.Model))
    size = max(picture.size, (raw.width, raw.height) if raw is not None else (0, 0))
    return PictureFacts(
        width=size[0],
        height=size[1],
        taken=read_time(taken) or xmp.taken,
        camera=_camera(*(_text(name) for name in names)),
        latitude=_degrees(said.gps, 2, 1, 90) if said.gps else xmp.latitude,
        longitude=_degrees(said.gps, 4, 3, 180) if said.gps else xmp.longitude,
        place=xmp.place or iptc.place,
        caption=xmp.caption or iptc.caption or _text(said.main.get(ExifTags.Base.ImageDescription)),
        author=xmp.author or _text(said.main.get(ExifTags.Base.Artist)),
        tags=tuple(dict.fromkeys((*xmp.tags, *iptc.tags)))[:MAX_TAGS],
    )


def bare_jpeg_size(content: bytes) -> tuple[int, int] | None:
    """Width and height of a JPEG whose header has no block of facts; None of every other file.

    Most pictures of the web are such; for these this takes a tenth of the time that Pillow needs.
    Format: ITU-T T.81, annex B.
    """
    size, at = None, 2
    if content[:2] != b"\xff\xd8":
        return None
    while len(content) >= at + 9 and content[at] == 0xFF:
        marker, length = content[at + 1], int.from_bytes(content[at + 2 : at + 4])
        if marker == _START_OF_SCAN:
            return size
        if marker in _MARKERS_OF_FACTS or marker < _FIRST_MARKER_WITH_LENGTH or length < 2:
            return None
        if marker in _START_OF_FRAME:
            height, width = struct.unpack(">HH", content[at + 5 : at + 9])
            size = (width, height)
        at += 2 + length
    return None


def _says_nothing(picture: ImageFile.ImageFile) -> bool:
    """Whether a file has no block of facts by what its header lists; to look for each takes as long again."""
    return picture.format in ("JPEG", "WEBP") and not picture.info.keys() & {"exif", "xmp", "photoshop"}


def read_time(value: object) -> int | None:
    """`2024:05:17 14:03:59`, or as ISO 8601 writes it -> seconds since 1970 as if it were UTC."""
    text = _text(value)
    found = re.match(r"(\d{4})\D(\d\d)\D(\d\d)(?:\D(\d\d)\D(\d\d)(?:\D(\d\d))?)?", text)
    if found is None:
        return None
    try:
        moment = datetime(*(int(part or 0) for part in found.groups()), tzinfo=UTC)  # type: ignore[misc, arg-type]
    except ValueError:  # 0000:00:00 is what many cameras write
        return None
    return int(moment.timestamp())


def xmp_facts(packet: str) -> PictureFacts:
    """What an XMP packet says, in a picture or in a file beside it; empty where there is none."""
    if not packet:
        return PictureFacts()
    where = ("photoshop:City", "Iptc4xmpCore:Location", "photoshop:State", "photoshop:Country")
    places = [found for name in where if (found := _xmp_value(packet, name))]
    return PictureFacts(
        taken=read_time(_xmp_value(packet, "exif:DateTimeOriginal") or _xmp_value(packet, "xmp:CreateDate")),
        place=", ".join(dict.fromkeys(places)),
        caption=(_xmp_list(packet, "dc:description") or [""])[0],
        author=(_xmp_list(packet, "dc:creator") or [""])[0],
        tags=tuple(_xmp_list(packet, "dc:subject"))[:MAX_TAGS],
    )


def _xmp_of(picture: Image.Image) -> str:
    raw = picture.info.get("xmp") or picture.info.get("XML:com.adobe.xmp") or b""
    if isinstance(raw, bytes):
        raw = raw.decode("utf-8", "replace")
    return raw if isinstance(raw, str) else ""


def _xmp_value(packet: str, name: str) -> str:
    """An attribute, or an element of its own."""
    found = re.search(rf"""\b{name}\s*=\s*["']([^"'<]*)["']|<{name}>\s*([^<]*?)\s*</{name}>""", packet)
    return _text(unescape(found.group(1) or found.group(2) or "")) if found else ""


def _xmp_list(packet: str, name: str) -> list[str]:
    found = re.search(rf"<{name}\b[^>]*>(.*?)</{name}>", packet, re.DOTALL)
    if found is None:
        return []
    texts = (_text(unescape(one)) for one in re.findall(r"<rdf:li[^>]*>([^<]*)</rdf:li>", found.group(1)))
    return [text for text in texts if text]


def _iptc(picture: ImageFile.ImageFile) -> PictureFacts:
    try:
        found: dict[Any, Any] = IptcImagePlugin.getiptcinfo(picture) or {}
    except DECODE_ERRORS:
        return PictureFacts()

    def texts(number: int) -> list[str]:
        value = found.get((2, number), [])
        return [text for one in (value if isinstance(value, list) else [value]) if (text := _text(one))]

    return PictureFacts(
        caption=" ".join(texts(120)),
        place=", ".join([*texts(90), *texts(101)]),
        tags=tuple(texts(25)),
    )


def _block(exif: Image.Exif, number: int) -> dict[int, Any]:
    try:
        return dict(exif.get_ifd(number))
    except DECODE_ERRORS:
        return {}


def _beside_raw(raw: RawFile, said: _Exif) -> _Exif:
    """What a RAW file says outside of its preview, which wins."""
    for number, block in enumerate(raw.facts):
        exif = Image.Exif()
        try:
            exif.load(b"Exif\0\0" + block)
            found = dict(exif)
        except DECODE_ERRORS:
            continue
        # CR3 has the three directories in blocks of their own.
        inner = _block(exif, ExifTags.IFD.Exif) | (found if number == 1 else {})
        gps = _block(exif, ExifTags.IFD.GPSInfo) | (found if number == 2 else {})
        main = found if number == 0 else {}
        said = _Exif(main=said.main | main, inner=said.inner | inner, gps=said.gps | gps)
    return said


def _camera(maker: str, model: str) -> str:
    """`Canon EOS R5` and not `Canon Canon EOS R5`."""
    if model.lower().startswith(maker.split(" ")[0].lower()) or not maker:
        return model
    return f"{maker} {model}".strip()


def _degrees(gps: dict[int, Any], number: int, reference: int, most: float) -> float | None:
    try:
        parts = [float(part) for part in gps[number]]
        degrees = parts[0] + parts[1] / 60 + parts[2] / 3600
        sign = -1 if _text(gps.get(reference)).upper() in ("S", "W") else 1
    except (*DECODE_ERRORS, KeyError):
        return None
    return round(sign * degrees, 7) if 0 <= degrees <= most else None


def _text(value: object) -> str:
    """One line without zero bytes, or nothing."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return ""
    return " ".join(value.replace("\0", " ").split())[:MAX_WORDS]
