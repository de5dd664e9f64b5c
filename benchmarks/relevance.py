"""How honest a search of the gallery is; writes benchmarks/results/relevance.json.

Three kinds of questions are asked with the built-in model: the names of the gallery's 3-D emoji, whose
pictures the model has not seen in training (the share called relevant, of all and of those whose own
picture is among the first ten; flat emoji do not count), things that can be seen but are not in it, and
words for what cannot be seen. None of them is in the list that the threshold was measured with, which is
asked last, as `background`. Joined questions are asked, too: a name
with another name for it or against it, and the same of words for what cannot be seen.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import clipworks
from benchmarks.machine import write_result
from clipworks.model.engine import Engine
from clipworks.search.answer import Ask, Part, answer
from clipworks.search.library import Library
from clipworks.search.opening import open_index
from clipworks.search.relevance import BACKGROUND_TEXTS
from clipworks.search.store import Result, Vectors

UNSEEN_KIND = "emoji"
"""3-D emoji: pictures of the gallery that no training has seen."""

UNSEEN = (
    "Reykjavik",
    "Angela Merkel",
    "qwzx blorf",
    "asdfgh jkl",
    "tax form 1040",
    "SELECT name FROM users WHERE id = 7",
    "lorem ipsum dolor sit amet",
    "my grandmother's opinion",
    "how do I reset my router",
    "Q3 earnings call transcript",
    "democracy",
    "justice",
    "the meaning of life",
    "boredom",
    "Thursday afternoon",
    "x squared plus one",
    "a bill of lading",
    "copyright infringement lawsuit",
    "Norwegian grammar",
    "the Schrödinger equation",
    "the price of oil in 1973",
    "a poem about nothing",
    "stock exchange listing requirements",
    "university admission criteria",
    "cholesterol",
    "insomnia treatment",
    "regular expression",
    "blockchain consensus",
    "Kubernetes cluster",
    "Bach cantata number 140",
    "the Treaty of Westphalia",
    "Gaussian noise",
    "tomorrow maybe",
    "sociology",
    "hermeneutics",
    "rental agreement",
    "thermal efficiency",
    "gluten intolerance",
    "an unfair dismissal claim",
    "the Pythagorean theorem",
)

ABSENT = (
    "an electron microscope",
    "an oscilloscope",
    "a combine harvester",
    "a dishwasher",
    "a chainsaw",
    "a hovercraft",
    "bagpipes",
    "a bread maker",
    "a zipper",
    "a forklift",
    "a concrete mixer",
    "a platypus",
    "an armadillo",
    "a chandelier",
    "a hammock",
    "a trampoline",
    "a lawn mower",
    "a parking meter",
    "handcuffs",
    "a tuning fork",
    "a snow plough",
    "a vending machine",
    "a pomegranate",
    "asparagus",
    "a pipe organ",
    "a sewing machine",
    "a wheelbarrow",
    "a grain silo",
    "a scarecrow",
    "a suspension bridge cable",
)


WEIGHTS = {"plus": 1.0, "plus_half": 0.5, "minus_half": -0.5, "minus": -1.0}
"""Of the second term of a question."""


def main() -> None:
    engine = clipworks.load("pictogram")
    store = open_index(Path(clipworks.__file__).parent / "gallery" / "index")
    relevance = store.relevance
    assert relevance.text_threshold is not None and relevance.text_margin is not None
    captions = sorted({item.caption for item, _ in store.entries() if item.details["kind"] == UNSEEN_KIND})
    places = _places(store, captions)
    # Flat drawings of the same emoji are in the gallery too, and those were trained on.
    is_unseen = np.array([item.details["kind"] == UNSEEN_KIND for item, _ in store.entries()])
    vectors = engine.embed_texts(captions)
    cosines = np.where(is_unseen, vectors @ store.vectors.T, np.float32(-1))
    best = np.array([row[place].max() for row, place in zip(cosines, places, strict=True)])
    is_found = (cosines > best[:, None]).sum(axis=1) < 10
    is_relevant = cosines.max(axis=1) >= _levels(store, vectors)
    results: dict[str, Any] = {
        "threshold": round(relevance.text_threshold, 4),
        "margin": round(relevance.text_margin, 4),
        "emoji": {"n": len(captions), "found_in_10": _share(is_found), "relevant": _share(is_relevant)},
        "emoji_found": {"n": int(is_found.sum()), "relevant": _share(is_relevant[is_found])},
    }
    for name, texts in (("absent", ABSENT), ("unseen", UNSEEN), ("background", BACKGROUND_TEXTS)):
        vectors = engine.embed_texts(texts)
        scores = (vectors @ store.vectors.T).max(axis=1)
        results[name] = {"n": len(texts), "relevant": _share(scores >= _levels(store, vectors))}
    results["joined"] = joined(store, engine, captions, places, count=400)
    write_result("relevance", results)


def joined(
    store: Library, engine: Engine, captions: Sequence[str], places: list[list[int]], count: int
) -> dict[str, Any]:
    """Questions of two terms: how many count as found of those that find a picture they name, and of those
    whose wanted terms cannot be seen."""
    random, ids = np.random.default_rng(0), [item.id for item, _ in store.entries()]
    names, unseen = engine.embed_texts(captions), engine.embed_texts(UNSEEN)
    rows: dict[str, Any] = {}
    for name, weight in WEIGHTS.items():
        found = []
        for one, shift in random.integers(1, len(captions), (count, 2)):
            two = (one + shift) % len(captions)
            own = {ids[place] for place in places[one] + (places[two] if weight > 0 else [])}
            result = _ask(store, names[one], names[two], weight)
            if own & {hit.id for hit in result.hits}:
                found.append(result.is_relevant)
        others = unseen if weight > 0 else names
        pairs = zip(
            random.integers(0, len(unseen), count), random.integers(0, len(others), count), strict=True
        )
        senseless = [_ask(store, unseen[one], others[two], weight).is_relevant for one, two in pairs]
        rows[name] = {
            "found": {"n": len(found), "relevant": _share(np.array(found))},
            "unseen": {"n": count, "relevant": _share(np.array(senseless))},
        }
    return rows


def _ask(store: Library, first: Vectors, second: Vectors, weight: float) -> Result:
    parts = [
        Part(label="first", vector=first, kind="text"),
        Part(label="second", vector=second, kind="text", weight=weight),
    ]
    return answer(store, parts, Ask(limit=10))


def _levels(store: Library, vectors: Vectors) -> Vectors:
    """The cosine that the best hit of each text must reach, float32 [N]."""
    return np.array([store.relevance.level("text", vector) for vector in vectors], dtype=np.float32)


def _places(store: Library, captions: list[str]) -> list[list[int]]:
    """For each caption the rows of the unseen pictures that have it."""
    rows: dict[str, list[int]] = {caption: [] for caption in captions}
    for row, (item, _) in enumerate(store.entries()):
        if item.details["kind"] == UNSEEN_KIND:
            rows.get(item.caption, []).append(row)
    return [rows[caption] for caption in captions]


def _share(flags: npt.NDArray[np.bool_]) -> float:
    return round(float(flags.mean()), 3)


if __name__ == "__main__":
    main()
