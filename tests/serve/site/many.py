"""A gallery that is longer than a page, with dates, cameras, tags and folders to narrow it."""

from pathlib import Path

import numpy as np

from clipworks.search.library import Library
from clipworks.search.opening import open_index
from clipworks.search.snapshot import stamp_of, write_index
from clipworks.search.store import IndexHeader, Item, Relevance
from tests.serve.colours import ColourEngine, picture


def write_many(folder: Path, engine: ColourEngine, count: int = 60) -> Library:
    """Pictures that are less red from one to the next; the last ten are blue."""
    entries = []
    for number in range(count):
        colour = (220 - number, 30 + number // 2, 30) if number < count - 10 else (30, 30, 220 - number)
        name = f"{'trips/rome' if number % 2 else 'home'}/{number:03d}.png"
        path = folder / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(colour))
        item = Item(
            id=name,
            path=str(path),
            caption=f"picture {number}",
            taken=f"2024-{1 + number // 28:02d}-{1 + number % 28:02d}T12:00:00",
            camera="Canon EOS R5" if number % 3 else "Apple iPhone 15",
            tags=("Anna",) if number % 10 == 0 else (),
            width=4000,
            height=3000,
            licence="CC0-1.0",
            details={"Mood": "calm"},
        )
        entries.append((item, stamp_of(path)))
    pixels = np.stack([engine.prepare_image(Path(item.path)) for item, _ in entries])
    header = IndexHeader(
        model=engine.name,
        fingerprint=engine.fingerprint,
        precision="f32",
        preprocess="standard",
        dim=engine.dim,
        root="../pictures",
        relevance=Relevance(text_threshold=0.5, image_threshold=0.5),
    )
    write_index(folder / "index", header, entries, engine.embed_pixels(pixels))
    return open_index(folder / "index")
