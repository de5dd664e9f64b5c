"""How close are texts and pictures? Cosines, and the same from the vectors themselves."""

from pathlib import Path

import clipworks

pictures = sorted((Path(__file__).parent / "pictures").glob("*.png"))
texts = ["a fox", "a wake-up call", "something to read"]

engine = clipworks.load("pictogram")
cosines = (
    engine.embed_texts(texts) @ engine.embed_images(pictures).T
)  # equals engine.similarity(pictures, texts).T
for text, row in zip(texts, cosines, strict=True):
    print(f"{text:18} {pictures[row.argmax()].stem:12} {row.max():.2f}")
