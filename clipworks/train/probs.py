"""How likely each caption of a sample is drawn, where its json says so.

    "texts": ["fox", "animal"], "probs": [{"text": "fox", "prob": 0.7}, {"text": "animal", "prob": 0.3}]

Probabilities go by the text, so that they still fit when curation has taken texts away.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from clipworks.errors import DataError

PROBS = "probs"
"""Field of a sample's json."""


def probs_of(texts: Sequence[str], details: Mapping[str, Any], name: str) -> list[float] | None:
    """One number per text, not normalised; None where nothing is said of any of them.

    Args:
        texts: the captions of a sample.
        details: its json.
        name: what errors call the sample.

    Raises:
        DataError: the field is not in its form, or a number is below 0 or not finite.
    """
    rows = details.get(PROBS)
    if rows is None:
        return None
    try:
        told = {str(row["text"]): float(row["prob"]) for row in rows}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"Sample {name} has {PROBS} in a form that is not known.",
            'Write "probs": [{"text": "a fox", "prob": 0.7}].',
        ) from error
    found = [told.get(text, 0.0) for text in texts]
    if not all(0 <= prob < float("inf") for prob in found):
        raise DataError(f"Sample {name} has a probability that is below 0 or not finite.")
    return found if sum(found) > 0 else None
