"""The coloured icons and drawn emoji of the gallery: those of gallery_icons.tsv, out of npm @iconify/json.

The table has a line `SET:ICON<tab>caption` per picture; captions are the cleaned names of the recipes. The
pictures of these sets are also in the built-in model's training, unlike the 3-D emoji and the photographs.
"""

import io
import json
import re
import subprocess
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from recipes.pictogram_icons import draw_icon, why_left_out

SOURCE = ("@iconify/json@2.2.535", "1a545f86fa224d6531d8fb101dcbe83aac2b28689a21cbed6fc68318a5af4d91")
"""The package and its sha256."""
TABLE = Path(__file__).parent / "gallery_icons.tsv"
SIDE = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class IconSet:
    """Where icons come from, for who is thanked."""

    title: str
    author: str
    url: str
    licence: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Icon:
    """One picture."""

    name: str
    """`SET:ICON`."""
    caption: str
    origin: IconSet
    picture: Image.Image
    """RGBA, transparent where nothing is drawn."""


def read_icons(package: Path) -> Iterator[Icon]:
    """The pictures of the table, in its order; `package` is the file that npm packs."""
    wanted = [line.split("\t") for line in TABLE.read_text(encoding="utf-8").splitlines()]
    by_set = defaultdict[str, list[str]](list)
    for name, _ in wanted:
        by_set[name.partition(":")[0]].append(name.partition(":")[2])
    origins, drawings = _read_sets(package, by_set)
    with ThreadPoolExecutor(2) as pool:
        pictures = pool.map(_draw, [drawings[name] for name, _ in wanted])
        for (name, caption), picture in zip(wanted, pictures, strict=True):
            yield Icon(name=name, caption=caption, origin=origins[name.partition(":")[0]], picture=picture)


def plain(name: str) -> str:
    """A name for a file."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _read_sets(package: Path, by_set: dict[str, list[str]]) -> tuple[dict[str, IconSet], dict[str, str]]:
    """Origin by set, and SVG document by name."""
    origins, drawings = dict[str, IconSet](), dict[str, str]()
    with tarfile.open(package) as archive:
        infos: dict[str, Any] = json.loads(_member(archive, "package/collections.json"))
        for name, icons in by_set.items():
            info = infos[name]
            assert not why_left_out(name, info), name
            origins[name] = IconSet(
                title=info["name"],
                author=info["author"]["name"],
                url=info["author"].get("url", ""),
                licence=info["license"]["spdx"],
            )
            icon_set = json.loads(_member(archive, f"package/json/{name}.json"))
            for icon in icons:
                drawings[f"{name}:{icon}"] = draw_icon(icon_set["icons"][icon], icon_set)[0]
    return origins, drawings


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None, name
    return file.read()


def _draw(svg: str) -> Image.Image:
    command = ["rsvg-convert", "-w", str(SIDE), "-h", str(SIDE), "--keep-aspect-ratio"]
    done = subprocess.run(command, input=svg.encode(), check=True, capture_output=True, timeout=60)
    return Image.open(io.BytesIO(done.stdout)).convert("RGBA")
