"""How near the vectors of one precision are to those of another."""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Fidelity:
    """Rows of one precision against the same rows in another."""

    n: int
    """Rows compared."""
    cosine_min: float
    """Cosine of the worst row, -1..1."""
    cosine_mean: float
    """Mean cosine, -1..1."""

    def to_json(self) -> dict[str, float]:
        """The plain dictionary written to results."""
        return asdict(self)


def cosines(vectors: NDArray[np.float32], reference: NDArray[np.float32]) -> NDArray[np.float64]:
    """Cosine of each row with the same row of `reference`; both float32 [N, D] of any length.

    A row that is not finite, or zero in one only, has the cosine -1.
    """
    one, other = vectors.astype(np.float64), reference.astype(np.float64)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        values: NDArray[np.float64] = (one * other).sum(axis=1) / lengths
    return np.where(np.isfinite(values), values, -1.0)


def compare(vectors: NDArray[np.float32], reference: NDArray[np.float32]) -> Fidelity:
    """Cosines of rows with the same rows of `reference`; both float32 [N, D], N at least 1."""
    values = cosines(vectors, reference)
    return Fidelity(n=len(values), cosine_min=float(values.min()), cosine_mean=float(values.mean()))


def agreement(scores: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Share of rows whose largest score is at the same place: top-1 agreement in zero-shot, 0..1."""
    return float((scores.argmax(axis=1) == reference.argmax(axis=1)).mean())
