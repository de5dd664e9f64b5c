"""Make a folder of pictures searchable, then ask it with words and with a picture."""

import tempfile
from pathlib import Path

import clipworks
from clipworks.search.build import build_index
from clipworks.search.opening import open_index
from clipworks.search.query import search

pictures = Path(__file__).parent / "pictures"
engine = clipworks.load("pictogram")
with tempfile.TemporaryDirectory() as folder:
    build_index(pictures, Path(folder), engine)
    store = open_index(Path(folder))
    for query in ({"text": "brass instrument"}, {"image": pictures / "dog.png"}):
        result = search(store, engine, **query, limit=3)
        print(query, result.is_relevant, [(hit.caption, round(hit.score, 2)) for hit in result.hits])
