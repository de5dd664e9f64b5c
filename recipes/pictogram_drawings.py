"""Clip art of Debian's `openclipart-svg` and folders of photographs as `Picture`s.

The clip art's titles are noisy: many drawings share the title of their collection; those are named
by their file. A fixed part of the rest is held out to test with.
"""

import hashlib
import html
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from recipes.pictogram_captions import Captions, Origin, Picture, Tally, digest, picture_key

NUM_HELD_OUT = 500
"""Drawings kept for the test: picture and title, of those whose title stands once."""

MAX_SAME_TITLE = 12
"""A title that more drawings share is the name of a collection."""

PHOTOGRAPH_LICENCES = frozenset({"CC-BY-4.0", "CC0-1.0"})

_CLIP_ART = "openclipart"
_NOISE_TITLES = frozenset(
    {"", "untitled", "unnamed", "drawing", "clipart", "image", "picture", "test", "icon"}
)
_NOISE_KEYWORDS = frozenset(
    {"", "unsorted", "clip art", "clipart", "image", "hash", "icon", "icons", "theme"}
)
_FILE_NAME_NOISE = frozenset(
    "gnome stock mime kde text mount unmount bb fldr contour gtk svg icon iconset".split()
)
_MAX_TITLE_LETTERS = 60
_MAX_KEYWORDS = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOut:
    """A drawing that no training set contains."""

    path: str
    """Below the package's `svg` folder."""
    title: str
    sha256: str

    def to_json(self) -> dict[str, str]:
        """A row of the held-out list."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Drawing:
    path: Path
    title: str
    keywords: tuple[str, ...]


def read_clip_art(folder: Path, captions: Captions, tally: Tally) -> tuple[list[Picture], list[HeldOut]]:
    """The usable drawings of a folder of SVG files, sorted by path.

    Returns:
        Pictures for training, and the drawings held out: NUM_HELD_OUT of them, or a quarter of a
        small collection. Neither their files, nor copies of them, nor their titles are in training.
    """
    tally.origins[_CLIP_ART] = Origin(
        title="Open Clip Art Library",
        author="the contributors of openclipart.org",
        url="https://openclipart.org",
        licence="CC-PDDC",
    )
    drawings = _name_drawings(list(_read_drawings(folder, tally)), captions, tally)
    often = Counter(drawing.title for drawing in drawings)
    once = sorted((d for d in drawings if often[d.title] == 1), key=lambda d: digest("held out", d.path.name))
    chosen = once[: min(NUM_HELD_OUT, len(once) // 4)]
    held_out = [
        HeldOut(path=d.path.relative_to(folder).as_posix(), title=d.title, sha256=_sha256(d.path))
        for d in chosen
    ]
    held_files = {drawing.path.name for drawing in chosen}
    held_hashes = {row.sha256 for row in held_out}
    pictures = [
        Picture(
            key=picture_key(_CLIP_ART, drawing.path.name),
            texts=captions.of_name(drawing.title, drawing.keywords),
            source=_CLIP_ART,
            licence="CC-PDDC",
            kind="clip art",
            form="svg file",
            content=str(drawing.path),
        )
        for drawing in drawings
        if drawing.path.name not in held_files and _sha256(drawing.path) not in held_hashes
    ]
    return _without_copies(pictures), held_out


def read_photographs(folder: Path, captions: Captions, tally: Tally) -> Iterator[Picture]:
    """The training split of a folder with `metadata.jsonl`, as far as it is credited and permissive."""
    for line in (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["split"] != "train" or row["licence"] not in PHOTOGRAPH_LICENCES:
            tally.left_out[f"photograph: {row['split']} split, {row['licence']}"] += 1
            continue
        source = row["source"].rsplit("/", 1)[-1].lower()
        tally.origins.setdefault(
            source, Origin(title=row["source"], author=row["source"], url="", licence=row["licence"])
        )
        yield Picture(
            key=picture_key(source, row["file"]),
            texts=captions.of_name(row["label"], ("photograph",)),
            source=source,
            licence=row["licence"],
            kind="photograph",
            form="photograph",
            content=str(folder / row["file"]),
        )


def _read_drawings(folder: Path, tally: Tally) -> Iterator[_Drawing]:
    for path in sorted(folder.rglob("*.svg")):
        text = path.read_bytes().decode("utf-8", "replace")
        title = re.search(r"<dc:title>(.*?)</dc:title>", text, re.DOTALL)
        if re.search("licenses/GPL|General Public Licen", text):
            tally.left_out["clip art: says GPL"] += 1
        elif title is None:
            tally.left_out["clip art: no title"] += 1
        else:
            words = [_plain(word) for word in re.findall(r"<rdf:li>(.*?)</rdf:li>", text, re.DOTALL)]
            keywords = tuple(word for word in words if word not in _NOISE_KEYWORDS)[:_MAX_KEYWORDS]
            yield _Drawing(path=path, title=_plain(title.group(1)), keywords=keywords)


def _name_drawings(drawings: list[_Drawing], captions: Captions, tally: Tally) -> list[_Drawing]:
    """Drawings under a title of their own, or words of their file name; the others are left out."""
    often = Counter(drawing.title for drawing in drawings)
    named = list[_Drawing]()
    for drawing in drawings:
        title = re.sub("^clipart by nicu buculei - | - rpg map elements$", "", drawing.title)
        if often[title] > MAX_SAME_TITLE or len(title) > _MAX_TITLE_LETTERS:
            title = _name_of_file(drawing.path, captions)
        title = title.removeprefix("contour ")
        if title in _NOISE_TITLES:
            tally.left_out["clip art: title of no meaning"] += 1
        else:
            named.append(_Drawing(path=drawing.path, title=title, keywords=drawing.keywords))
    return named


def _name_of_file(path: Path, captions: Captions) -> str:
    words = re.sub(r"[_\d\W]+", " ", path.stem.lower()).split()
    words = [word for word in words if len(word) > 2 and word not in _FILE_NAME_NOISE]
    return " ".join(words) if 0 < len(words) <= 3 and captions.is_noun(words[-1]) else ""


def _plain(text: str) -> str:
    """Lower case, no markup, no number at the end."""
    text = html.unescape(html.unescape(re.sub("<[^>]*>", " ", text)))
    text = re.sub(r"[_\s]+", " ", text).strip(" .-").lower()
    return re.sub(r"\s*\(?#?\d+\)?$", "", text)


def _without_copies(pictures: list[Picture]) -> list[Picture]:
    """One picture of each file name: the package keeps some drawings in two folders."""
    return list({picture.key: picture for picture in reversed(pictures)}.values())[::-1]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
