"""What a fine-tuned model still knows: captions of the package's gallery, found by their pictures.

The gallery is in every installation, so that forgetting can be measured offline and compared between runs.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipworks.model.config import ClipConfig
from clipworks.model.preprocess import prepare
from clipworks.model.tokenizer import tokenize
from clipworks.train.tuned import Tuned, image_vectors, text_vectors

GALLERY = Path(__file__).parent.parent / "gallery"
NUM_PICTURES = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """Pictures with captions of which no two are equal."""

    pixels: NDArray[np.uint8]
    """uint8 [N, S, S, 3]."""
    tokens: NDArray[np.int64]
    """int64 [N, T]."""
    config: ClipConfig
    """Of the models to measure."""

    def measure(self, tuned: Tuned) -> float:
        """Share of the pictures whose own caption is nearest among all, 0..1."""
        images = image_vectors(tuned, self.config, self.pixels, "f32")
        texts = text_vectors(tuned, self.tokens, "f32")
        nearest = (images @ texts.T).argmax(dim=1).numpy()
        return float((nearest == np.arange(len(nearest))).mean())


def read_kept(config: ClipConfig, *, gallery: Path = GALLERY) -> Kept:
    """Pictures of the gallery at even distances, NUM_PICTURES in all."""
    lines = (gallery / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    rows = {row["caption"].lower(): row for row in map(json.loads, lines) if row.get("caption")}
    chosen = list(rows.values())[:: max(1, len(rows) // NUM_PICTURES)][:NUM_PICTURES]
    pixels = [prepare(gallery / row["file"], config.vision.image_size) for row in chosen]
    tokens = tokenize([row["caption"] for row in chosen], context_length=config.text.context_length)
    return Kept(pixels=np.stack(pixels), tokens=tokens, config=config)
