from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from clipworks.curate import selection
from clipworks.curate.selection import threshold_of_fraction
from clipworks.errors import ConfigError

kinds = st.sampled_from([np.float16, np.float32, np.float64])
numbers = kinds.flatmap(
    lambda kind: arrays.arrays(kind, st.integers(1, 60), elements={"allow_nan": True, "allow_infinity": True})
)


def published(values: NDArray[Any], fraction: float) -> Any:
    """What DataComp computes, with all numbers in memory."""
    return -np.sort(-values)[int(len(values) * fraction)]


def same(found: float, wanted: Any) -> bool:
    return bool(np.isnan(found) and np.isnan(wanted)) or found == float(wanted)


@pytest.mark.parametrize("max_candidates", [1, 1 << 18])
@settings(deadline=None)
@given(values=numbers, fraction=st.floats(0, 1, exclude_max=True), pieces=st.integers(1, 5))
def test_the_threshold_is_that_of_a_whole_sort(
    max_candidates: int, values: NDArray[Any], fraction: float, pieces: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection, "MAX_CANDIDATES", max_candidates)
        found = threshold_of_fraction(partial(np.array_split, values, pieces), fraction)
    assert same(found, published(values, fraction))
    with np.errstate(invalid="ignore"):
        assert ((values >= found) == (values >= published(values, fraction))).all()


def test_many_scores_need_two_passes_and_one_histogram() -> None:
    chance = np.random.default_rng(0)
    values = chance.normal(0.2, 0.07, 300_000).astype(np.float32)
    reads = 0

    def pieces() -> Any:
        nonlocal reads
        reads += 1
        return np.array_split(values, 7)

    assert threshold_of_fraction(pieces, 0.3) == published(values, 0.3)
    assert reads == 3  # the count and two passes


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_a_fraction_out_of_range_is_an_error(fraction: float) -> None:
    with pytest.raises(ConfigError, match="out of range"):
        threshold_of_fraction(lambda: [np.ones(3)], fraction)


def test_no_number_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no number"):
        threshold_of_fraction(lambda: [], 0.5)


def test_tables_of_two_widths_are_compared_in_the_wider_one() -> None:
    chance = np.random.default_rng(1)
    narrow, wide = chance.random(50).astype(np.float32), chance.random(70)
    joined = np.concatenate([narrow, wide])
    for fraction in (0.0, 0.2, 0.5, 0.9):
        assert threshold_of_fraction(lambda: [narrow, wide], fraction) == published(joined, fraction)
