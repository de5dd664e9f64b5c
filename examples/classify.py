"""Which of these labels fits each picture best?"""

from pathlib import Path

import clipworks

pictures = sorted((Path(__file__).parent / "pictures").glob("*.png"))
labels = ["an animal", "a musical instrument", "food", "a vehicle", "a flower", "a thing for the house"]

engine = clipworks.load("pictogram")
scores = engine.classify(pictures, labels, templates=["{}", "a drawing of {}"])  # float32 [pictures, labels]
for picture, row in zip(pictures, scores, strict=True):
    print(f"{picture.stem:12} {labels[row.argmax()]:22} {row.max():.2f}")
