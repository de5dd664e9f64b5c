"""Build the gallery of the demo: clipworks/gallery/ with its pictures, metadata and index.

    python -m scripts.make_gallery --photos FOLDER     everything
    python -m scripts.make_gallery                     the same, photographs kept as they are
    python -m scripts.make_gallery --index-only        only the vectors, after a change of the model

Four kinds of pictures, all free to redistribute:

- emoji: npm @lobehub/fluent-emoji-3d (MIT), without skin tones, country flags
  and most doubles of persons, names from npm
  emojibase-data (MIT). Fetched with `npm pack` unless --emoji and --emoji-names name the files.
- clip art: Debian openclipart-svg (public domain), the drawings of gallery_clipart.tsv, which were
  chosen and named by eye. Fetched with `apt-get download` unless --clipart names the file; needs
  `rsvg-convert` (Debian librsvg2-bin) and `dpkg-deb`.
- icons and drawn emoji: npm @iconify/json, those of gallery_icons.tsv (`gallery_icons.py`), under MIT,
  Apache-2.0 and CC-BY-4.0. Fetched with `npm pack` unless --icons names the file.
- photographs (public domain, CC0, CC-BY): no registry has them. They come from --photos, a folder
  with images/ and metadata.jsonl (file, caption, topic, licence, author, source); gallery_photos.tsv
  gives better captions and leaves out doubles. Without --photos those in the gallery stay.

Every download is checked against its sha256. The same inputs and library versions give the same bytes.
"""

import argparse
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

import clipworks
from clipworks.files import sha256_file
from clipworks.search.build import build_index
from clipworks.search.opening import open_index
from clipworks.search.snapshot import write_index
from scripts import gallery_icons

HERE = Path(__file__).parent
GALLERY = HERE.parent / "clipworks" / "gallery"
EMOJI = ("@lobehub/fluent-emoji-3d@1.1.0", "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58")
EMOJI_NAMES = ("emojibase-data@17.0.0", "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a")
CLIPART = (
    "openclipart-svg=1:0.18+dfsg-19",
    "989712d90d57dfa3230049f553bb43b76c30ee4d4b8c5f6e106e33f7db5cbdc5",
)

DRAWING_SIDE = 128
PHOTO_SIDE = 352
LEFT_OUT = re.compile(r"flag: |grinning cat$|men? |family:|(kiss|couple with heart):|.*-thirty$|Japanese “")
"""Country flags are of another make; the rest repeats the pictures beside it, in full or nearly."""

KINDS = ("emoji", "clipart", "icon", "photo")

LIMIT_BYTES = 20_000_000

Row = dict[str, str]


def main() -> None:
    arguments = _arguments()
    if not arguments.index_only:
        _make_pictures(arguments)
    _make_index(arguments.model)
    size = sum(path.stat().st_size for path in GALLERY.rglob("*") if path.is_file())
    print(f"{GALLERY.name}/ holds {size / 1e6:.1f} MB")
    if size > LIMIT_BYTES:
        sys.exit(f"That is more than {LIMIT_BYTES / 1e6:.0f} MB.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Build the gallery of the demo.")
    parser.add_argument("--photos", type=Path, help="folder with images/ and metadata.jsonl")
    parser.add_argument("--emoji", type=Path, help=f"the packed npm package {EMOJI[0]}")
    parser.add_argument("--emoji-names", type=Path, help=f"the packed npm package {EMOJI_NAMES[0]}")
    parser.add_argument("--clipart", type=Path, help=f"the Debian package {CLIPART[0]}")
    parser.add_argument("--icons", type=Path, help=f"the packed npm package {gallery_icons.SOURCE[0]}")
    parser.add_argument("--index-only", action="store_true", help="keep the pictures, embed them anew")
    parser.add_argument("--model", default="pictogram", help="the model of the index (default: pictogram)")
    return parser.parse_args()


def _make_pictures(arguments: argparse.Namespace) -> None:
    images = GALLERY / "images"
    images.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        rows = [
            *_emoji(
                _fetched(arguments.emoji, EMOJI, work), _fetched(arguments.emoji_names, EMOJI_NAMES, work)
            ),
            *_clipart(_fetched(arguments.clipart, CLIPART, work), work),
            *_icons(_fetched(arguments.icons, gallery_icons.SOURCE, work)),
            *(_photos(arguments.photos) if arguments.photos else _photos_there()),
        ]
    names = {row["file"] for row in rows}
    assert len(names) == len(rows), "two pictures have one name"
    for path in images.iterdir():
        if f"images/{path.name}" not in names:
            path.unlink()
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (GALLERY / "metadata.jsonl").write_text("".join(lines), encoding="utf-8")
    (GALLERY / "ATTRIBUTION.md").write_text(_attribution(rows), encoding="utf-8")
    for kind in KINDS:
        print(f"{sum(row['kind'] == kind for row in rows):6d} {kind}")


def _make_index(model: str) -> None:
    engine = clipworks.load(model, precision="f32")
    for path in (GALLERY / "images").iterdir():
        os.utime(path, (0, 0))  # times stand in the index; the same pictures shall give the same bytes
    index = GALLERY / "index"
    shutil.rmtree(index, ignore_errors=True)
    report = build_index(GALLERY, index, engine)
    if report.skipped:
        sys.exit(f"Skipped: {report.skipped}")
    library = open_index(index)
    header, entries, vectors = library.header, list(library.entries()), library.vectors
    library.close()
    shutil.rmtree(index)
    write_index(index, header, entries, vectors.astype(np.float16))
    print(f"{report.count:6d} pictures embedded with {engine.name} {engine.fingerprint[:12]}")


def _fetched(path: Path | None, source: tuple[str, str], work: Path) -> Path:
    name, sha256 = source
    if path is None:
        tool = ["npm", "pack", "--silent"] if "@" in name else ["apt-get", "download"]
        before = set(work.iterdir())
        subprocess.run([*tool, name], cwd=work, check=True, stdout=subprocess.DEVNULL)
        (path,) = set(work.iterdir()) - before
    if sha256_file(path) != sha256:
        sys.exit(f"{path} is not the file of {name} that this script was written for.")
    return path


def _emoji(pictures: Path, names: Path) -> Iterator[Row]:
    (labels,) = _members(names, "/en/data.json").values()
    members = {_bare(Path(name).stem): (name, data) for name, data in _members(pictures, ".webp").items()}
    emojis = json.loads(labels)
    every_label = {emoji["label"] for emoji in emojis}
    for emoji in emojis:
        code = _bare(emoji["hexcode"])
        if code not in members or "group" not in emoji or _is_double(emoji["label"], every_label):
            continue
        original, data = members[code]
        name = f"images/emoji-{code}.webp"
        _write_webp(Image.open(io.BytesIO(data)), GALLERY / name, DRAWING_SIDE)
        yield {
            "file": name,
            "caption": emoji["label"],
            "licence": "MIT",
            "author": "Microsoft (Fluent Emoji)",
            "source": f"npm {EMOJI[0]}, {Path(original).name}",
            "kind": "emoji",
        }


def _is_double(label: str, every_label: set[str]) -> bool:
    """Whether a label is of a kind that is left out, or is the woman of a picture that shows a person."""
    rest = label.removeprefix("woman ").removeprefix("women ")
    is_variant = rest != label and not {rest, f"person {rest}", f"people {rest}"}.isdisjoint(every_label)
    return is_variant or LEFT_OUT.match(label) is not None


def _members(package: Path, ending: str) -> dict[str, bytes]:
    """Files of a packed npm package, in one pass: going back in a compressed archive is slow."""
    with tarfile.open(package) as archive:
        files = ((member.name, archive.extractfile(member)) for member in archive)
        return {name: file.read() for name, file in files if file is not None and name.endswith(ending)}


def _bare(code: str) -> str:
    return code.lower().replace("-fe0f", "")


def _clipart(package: Path, work: Path) -> Iterator[Row]:
    subprocess.run(["dpkg-deb", "-x", str(package), str(work / "clipart")], check=True)
    root = work / "clipart" / "usr" / "share" / "openclipart" / "svg"
    table = (HERE / "gallery_clipart.tsv").read_text(encoding="utf-8").splitlines()
    chosen = [line.split("\t") for line in table]
    with ThreadPoolExecutor(2) as pool:
        pictures = pool.map(_draw, [root / path for path, _ in chosen])
        for (path, caption), picture in zip(chosen, pictures, strict=True):
            text = (root / path).read_text(encoding="utf-8", errors="replace")
            assert not re.search(r"\bGPL\b", text), path
            name = f"images/clipart-{gallery_icons.plain(Path(path).stem)}.webp"
            _write_webp(picture, GALLERY / name, DRAWING_SIDE)
            yield {
                "file": name,
                "caption": caption,
                "licence": "public-domain",
                "author": _creator(text),
                "source": f"Debian {CLIPART[0]}, {path}",
                "kind": "clipart",
            }


def _icons(package: Path) -> Iterator[Row]:
    for icon in gallery_icons.read_icons(package):
        name = f"images/icon-{gallery_icons.plain(icon.name)}.webp"
        _write_webp(icon.picture, GALLERY / name, DRAWING_SIDE)
        yield {
            "file": name,
            "caption": icon.caption,
            "licence": icon.origin.licence,
            "author": f"{icon.origin.author} ({icon.origin.title})",
            "source": f"npm {gallery_icons.SOURCE[0]}, {icon.name}",
            "kind": "icon",
        }


def _draw(path: Path) -> Image.Image:
    """Render an SVG, cut to what is drawn, on transparent ground."""
    command = ["rsvg-convert", "-w", "640", "-h", "640", "--keep-aspect-ratio", str(path)]
    done = subprocess.run(command, check=True, capture_output=True, timeout=60)
    picture = Image.open(io.BytesIO(done.stdout)).convert("RGBA")
    box = picture.getchannel("A").point(lambda alpha: 255 * (alpha > 8)).getbbox()
    assert box is not None, path
    return picture.crop(box)


def _creator(svg: str) -> str:
    found = re.search(r"<dc:creator.*?<dc:title[^>]*>([^<]*)</dc:title>", svg, re.DOTALL)
    name = " ".join(found[1].split()) if found else ""
    return name or "an author of the Open Clip Art Library"


def _photos(folder: Path) -> Iterator[Row]:
    table = (HERE / "gallery_photos.tsv").read_text(encoding="utf-8").splitlines()
    captions = dict(line.split("\t") for line in table)
    for line in (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        original = Path(row["file"])
        caption = captions.get(original.name, row["caption"])
        if caption == "-":
            continue
        name = f"images/photo-{original.stem.removeprefix('e_').replace('_', '-')}.webp"
        _write_webp(Image.open(folder / original), GALLERY / name, PHOTO_SIDE)
        yield {
            "file": name,
            "caption": caption,
            "licence": row["licence"],
            "author": row["author"],
            "source": row["source"] or "",
            "kind": "photo",
        }


def _photos_there() -> list[Row]:
    path = GALLERY / "metadata.jsonl"
    rows = (
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    )
    photos = [row for row in rows if row["kind"] == "photo"]
    if not photos:
        sys.exit("The gallery has no photographs yet; give their folder with --photos.")
    return photos


def _write_webp(picture: Image.Image, path: Path, side: int) -> None:
    picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    shrink = min(1.0, side / max(picture.size))
    width, height = (max(1, round(length * shrink)) for length in picture.size)
    small = picture.resize((width, height), Image.Resampling.LANCZOS)
    small.save(path, "WEBP", quality=70, alpha_quality=60, method=4)


def _attribution(rows: list[Row]) -> str:
    counts = {kind: sum(row["kind"] == kind for row in rows) for kind in KINDS}
    head = ATTRIBUTION.format(
        emoji=EMOJI[0],
        names=EMOJI_NAMES[0],
        clipart=CLIPART[0],
        mit=MIT.replace("\n", "\n> "),
        count=counts,
        icons=gallery_icons.SOURCE[0],
        sets=_sets(rows),
    )
    lines = []
    for row in rows:
        if row["kind"] == "photo":
            cells = [row[key].replace("|", "/") for key in ("file", "caption", "author", "licence", "source")]
            lines.append(f"| {' | '.join(cells)} |\n")
    return head + "".join(lines)


def _sets(rows: list[Row]) -> str:
    """A line of a table for each set of icons."""
    found = Counter((row["author"], row["licence"]) for row in rows if row["kind"] == "icon")
    return "".join(
        f"| {author} | {licence} | {count} |\n" for (author, licence), count in sorted(found.items())
    )


ATTRIBUTION = """\
# Where the pictures of the gallery come from

Written by `scripts/make_gallery.py`. `metadata.jsonl` gives file, caption, licence, author and source of
every single picture. All were made smaller and stored as WebP; the clip art was drawn from SVG and cut to
its content.

## 3-D emoji

{count[emoji]} pictures of Fluent Emoji by Microsoft, from the npm package `{emoji}`, packaged by
LobeHub (MIT). Their names are from `{names}` (MIT, Copyright (c) 2017-2019 Miles Johnson; Unicode CLDR).

MIT License, Copyright (c) Microsoft Corporation.

> {mit}

## Clip art

{count[clipart]} drawings of the Open Clip Art Library, dedicated to the public domain by their authors, from
the Debian package `{clipart}`.

## Icons and drawn emoji

{count[icon]} pictures of the npm package `{icons}`, drawn from its SVG; licences at https://spdx.org/licenses/.

| set | licence | pictures |
|---|---|---|
{sets}
## Photographs

{count[photo]} photographs, in the public domain or CC0 except for those marked CC-BY-2.0, whose licence is at
https://creativecommons.org/licenses/by/2.0/.

| file | caption | author | licence | source |
|---|---|---|---|---|
"""

MIT = """\
Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
associated documentation files (the "Software"), to deal in the Software without restriction,
including without limitation the rights to use, copy, modify, merge, publish, distribute,
sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or
substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM,
DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT
OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE."""


if __name__ == "__main__":
    main()
