import numpy as np
import pytest

from clipworks.model.fidelity import agreement, compare, cosines


def test_cosines_do_not_depend_on_length() -> None:
    one = np.array([[3, 0], [0, 2]], dtype=np.float32)
    other = np.array([[1, 0], [1, 1]], dtype=np.float32)
    np.testing.assert_allclose(cosines(one, other), [1, 0.5**0.5])


def test_a_row_that_is_no_number_or_zero_counts_as_opposite() -> None:
    one = np.array([[np.nan, 0], [0, 0], [1, 0]], dtype=np.float32)
    assert cosines(one, np.ones((3, 2), dtype=np.float32)).tolist()[:2] == [-1, -1]


def test_a_comparison_names_the_worst_and_the_mean() -> None:
    one = np.array([[3, 0], [0, 2]], dtype=np.float32)
    found = compare(one, np.array([[1, 0], [1, 1]], dtype=np.float32))
    assert (found.n, found.cosine_min, found.cosine_mean) == pytest.approx((2, 0.5**0.5, (1 + 0.5**0.5) / 2))
    assert found.to_json()["n"] == 2


def test_agreement_is_the_share_of_equal_first_places() -> None:
    one = np.array([[0.1, 0.9], [0.8, 0.2], [0.4, 0.6], [0.3, 0.7]], dtype=np.float32)
    other = np.array([[0.4, 0.6], [0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], dtype=np.float32)
    assert agreement(one, other) == 0.75
