"""What pictures and files beside them say: dates, cameras, places, words; broken blocks say nothing."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from cameras import KINDS
from PIL import ExifTags, Image

from clipworks.search.exif import PictureFacts, bare_jpeg_size, read_facts, read_time
from clipworks.search.sidecars import Sidecar, read_sidecars

XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description photoshop:City="Rome"
 photoshop:Country="Italy" exif:DateTimeOriginal="2023-04-05T06:07:08+02:00">
 <dc:subject><rdf:Bag><rdf:li>Anna</rdf:li><rdf:li>cake &amp; tea</rdf:li></rdf:Bag></dc:subject>
 <dc:description><rdf:Alt><rdf:li xml:lang="x-default">Anna's birthday</rdf:li></rdf:Alt></dc:description>
 <dc:creator><rdf:Seq><rdf:li>Bob</rdf:li></rdf:Seq></dc:creator>
 </rdf:Description></rdf:RDF></x:xmpmeta>"""


def photo(extension: str = "JPEG", *, xmp: str = "") -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = "Canon", "Canon EOS R5"
    exif[ExifTags.Base.ImageDescription] = "a description"
    inner = exif.get_ifd(ExifTags.IFD.Exif)
    inner[ExifTags.Base.DateTimeOriginal] = "2024:05:17 14:03:59"
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    gps.update({1: "S", 2: (41.0, 53.0, 24.0), 3: "E", 4: (12.0, 29.0, 32.0)})
    file = io.BytesIO()
    more = {"xmp": xmp.encode()} if xmp else {}
    Image.new("RGB", (40, 30), "red").save(file, extension, exif=exif, **more)
    return file.getvalue()


@pytest.mark.parametrize("extension", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_date_camera_position_and_size_are_read_from_every_format(extension: str) -> None:
    facts = read_facts(photo(extension))
    assert (facts.width, facts.height, facts.camera) == (40, 30, "Canon EOS R5")
    assert facts.taken == read_time("2024-05-17T14:03:59") == 1_715_954_639
    assert facts.latitude == pytest.approx(-41.89) and facts.longitude == pytest.approx(12.492222)


@pytest.mark.parametrize("kind", KINDS)
def test_date_and_camera_of_raw_files_are_read(kind: str) -> None:
    facts = read_facts(KINDS[kind]())
    assert (facts.camera, facts.taken) == ("Maker One", read_time("2024-05-17T14:03:59"))
    assert (facts.width, facts.height) == ((4000, 3000) if kind == "nef" else (320, 240))


def test_words_of_xmp_win_over_those_of_exif() -> None:
    facts = read_facts(photo(xmp=XMP))
    assert (facts.caption, facts.author, facts.place) == ("Anna's birthday", "Bob", "Rome, Italy")
    assert facts.tags == ("Anna", "cake & tea")


@pytest.mark.parametrize("text", ["0000:00:00 00:00:00", "2024:13:40 99:00:00", "", "soon", None, 7])
def test_a_date_that_is_none_is_no_date(text: object) -> None:
    assert read_time(text) is None


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"dpi": (72, 72)}, {"comment": b"made by hand"}]
)
def test_a_jpeg_without_facts_is_known_by_its_header(options: dict[str, Any]) -> None:
    file = io.BytesIO()
    Image.new("RGB", (300, 20), "red").save(file, "JPEG", **options)
    content = file.getvalue()
    assert bare_jpeg_size(content) == (300, 20) and read_facts(content) == PictureFacts(width=300, height=20)
    assert all(bare_jpeg_size(content[:end]) in (None, (300, 20)) for end in range(len(content)))


@pytest.mark.parametrize(
    "content", [photo(), photo(xmp=XMP), photo("PNG"), b"", b"\xff\xd8", b"\xff\xd8" + b"\xff" * 40]
)
def test_every_other_file_is_left_to_pillow(content: bytes) -> None:
    assert bare_jpeg_size(content) is None


def test_no_damage_of_a_file_is_an_error() -> None:
    good = photo(xmp=XMP)
    for place in range(2, len(good), 3):
        read_facts(good[:place])
        read_facts(good[:place] + bytes([good[place] ^ 0xFF]) + good[place + 1 :])
    assert read_facts(b"") == PictureFacts()


def test_files_beside_a_picture_win_over_the_picture(tmp_path: Path) -> None:
    (tmp_path / "a.jpg.txt").write_text("a caption\nof two lines")
    (tmp_path / "a.jpg.xmp").write_text(XMP)
    takeout = {
        "photoTakenTime": {"timestamp": "1700000000"},
        "geoData": {"latitude": 48.1, "longitude": 11.5},
        "people": [{"name": "Carl"}, "x"],
    }
    (tmp_path / "a.jpg.json").write_text(json.dumps(takeout))
    (tmp_path / "a.json").write_text("no json")
    beside = [Sidecar(path=path, mtime_ns=0) for path in sorted(tmp_path.iterdir(), reverse=True)]
    facts = read_sidecars([*beside, Sidecar(path=tmp_path / "gone.txt", mtime_ns=0)], read_facts(photo()))
    assert (facts.place, facts.taken) == ("Rome, Italy", 1_700_000_000)
    assert facts.caption in ("a caption of two lines", "Anna's birthday")
    assert (facts.latitude, facts.camera, facts.tags) == (
        48.1,
        "Canon EOS R5",
        ("Anna", "cake & tea", "Carl"),
    )
