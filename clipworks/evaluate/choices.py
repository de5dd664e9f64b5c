"""Choosing: the pictures that belong to a cue (WinoGAViL), the caption that is true (SugarCrepe)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipworks.evaluate.store import Vectors
from clipworks.evaluate.zipped import Cue, Selection

_VOWELS = "aeiou"


def cue_prompt(cue: str) -> str:
    """What WinoGAViL's cue is asked as: `A tree`, `An apple`, in lower case."""
    words = cue.lower()
    return f"{'An' if words[:1] and words[0] in _VOWELS else 'A'} {words}"


def association_units(
    images: Vectors, cues: Sequence[Cue], prompts: Vectors
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The Jaccard index of what is chosen with what belongs, cue by cue.

    As many candidates are chosen as belong to the cue; of equal cosines the first.

    Args:
        images: float32 [N, D].
        cues: one instance each.
        prompts: float32 [len(cues), D].

    Returns:
        Columns `jaccard` and `candidates`, one value per cue, and how many cues had a tie at the boundary.
    """
    jaccards, num_tied = np.empty(len(cues)), 0
    for number, (cue, prompt) in enumerate(zip(cues, prompts, strict=True)):
        rows = np.array(cue.candidates)
        cosines = images[rows] @ prompt
        order = np.argsort(-cosines, kind="stable")
        count = len(cue.associations)
        chosen = {cue.candidates[place] for place in order[:count]}
        jaccards[number] = len(chosen & cue.associations) / len(chosen | cue.associations)
        if count < len(order):
            num_tied += bool(cosines[order[count - 1]] == cosines[order[count]])
    candidates = np.array([len(cue.candidates) for cue in cues], dtype=np.int64)
    return {"jaccard": jaccards, "candidates": candidates}, {"tied_cues": num_tied}


def selection_units(
    images: Vectors, found: Sequence[Selection], right: Vectors, wrong: Vectors
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Whether the true caption scores above the wrong one, pair by pair.

    CLIP_benchmark takes the first of equal scores, which is the true one, so that a model that says nothing
    is always right there; strictly, it never is.
    """
    own = images[[one.picture for one in found]]
    above, below = (own * right).sum(axis=1), (own * wrong).sum(axis=1)
    units = {"is_above": (above > below).astype(np.int64), "is_as_high": (above >= below).astype(np.int64)}
    return units, {"tied_pairs": int((above == below).sum())}
