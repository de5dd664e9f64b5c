"""What needs no model: the name of the training picture whose pixels are nearest, on `pictogram`'s suites.

`python -m benchmarks.pictogram_nearest --shards DIR --emoji DIR --clip-art DIR --photos DIR` compares every
picture of a suite with every picture of the pool that is no one-colour glyph, as 16 x 16 colours on white
with the mean taken out. A text is as near as the nearest picture that has it for a name; a class of emoji has
the names that its emoji have. What no picture has for a name comes last.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.machine import write_result
from benchmarks.pictogram import clip_art_suite, emoji3d_suites
from benchmarks.suites import Scores, Suite, accuracy, is_flower, photograph_suite, recalls
from clipworks.model.decoder import ImageInput, decode
from clipworks.shards import read_shards

SIDE = 16
LEFT_OUT = ("glyph", "glyph of a thing")
"""Kinds of pictures that are not compared with: black ink is near to nothing of a suite."""
UNKNOWN = -2.0
"""Below every cosine."""


def main() -> None:
    """Measure and write benchmarks/results/pictogram_nearest.json."""
    options = _parse_arguments()
    by_class, by_name = emoji3d_suites(options.emoji)
    suites = [by_class, by_name, clip_art_suite(options.clip_art)]
    if options.photos is not None:
        suites.append(photograph_suite(options.photos, without=is_flower))
    pool, names = read_pool(options.shards)
    of_class = defaultdict[str, set[str]](set)
    for name, label in zip(by_name.texts, by_class.truth, strict=True):
        of_class[by_class.texts[label]].add(name)
    results: Scores = {"pictures": len(pool), "names": len(set(names))}
    for suite in suites:
        meaning = of_class if suite is by_class else {text: {text} for text in suite.texts}
        results |= score(suite, pool, names, meaning)
    write_result("pictogram_nearest", results)


def score(
    suite: Suite, pool: NDArray[np.float32], names: Sequence[str], meaning: Mapping[str, Iterable[str]]
) -> Scores:
    """Accuracy or recall on a suite, under its name.

    Args:
        suite: what is asked.
        pool: float32 [P, D], unit rows.
        names: of the P pictures.
        meaning: names that stand for a text of the suite.
    """
    places = defaultdict[str, list[int]](list)
    for place, name in enumerate(names):
        places[name].append(place)
    cosines = describe(suite.pictures) @ pool.T
    near = np.full((len(suite.pictures), len(suite.texts)), UNKNOWN, dtype=np.float32)
    for column, text in enumerate(suite.texts):
        if known := [place for name in meaning[text] for place in places[name]]:
            near[:, column] = cosines[:, known].max(axis=1)
    found = accuracy(near, suite.truth) if suite.kind == "classes" else recalls(near, suite.truth)
    return {suite.name: found}


def read_pool(shards: Path) -> tuple[NDArray[np.float32], list[str]]:
    """The pictures of the pool, float32 [P, D], and their names."""
    rows, names = list[NDArray[np.float32]](), list[str]()
    for sample in read_shards(shards):
        if sample.details["kind"] not in LEFT_OUT:
            rows.append(describe([sample.image]))
            names.append(sample.texts[0])
    return np.concatenate(rows), names


def describe(pictures: Sequence[ImageInput]) -> NDArray[np.float32]:
    """Colours of small copies, float32 [N, 768], unit rows of mean 0."""
    small = np.stack([_shrink(decode(one, "picture")[0]) for one in pictures]).reshape(len(pictures), -1)
    small = small - small.mean(axis=1, keepdims=True)
    length = np.linalg.norm(small, axis=1, keepdims=True)
    rows: NDArray[np.float32] = small / np.maximum(length, 1e-6)
    return rows


def _shrink(image: Image.Image) -> NDArray[np.float32]:
    whole = Image.new("RGBA", image.size, "white")
    whole.alpha_composite(image.convert("RGBA"))
    return np.asarray(whole.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float32)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=Path, required=True, help="the pool that recipes/pool.sh made")
    parser.add_argument("--emoji", type=Path, required=True, help="npm's fluent-emoji-3d, unpacked")
    parser.add_argument("--clip-art", type=Path, required=True, help="Debian's openclipart-svg, unpacked")
    parser.add_argument("--photos", type=Path, help="folder of photographs with metadata.jsonl")
    return parser.parse_args()


if __name__ == "__main__":
    main()
