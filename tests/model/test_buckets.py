import numpy as np
import pytest
from numpy.typing import NDArray

from clipworks.model import buckets


def rows(lengths: list[int], context: int = 77) -> NDArray[np.int64]:
    """Texts of so many tokens, the end token included."""
    tokens = np.zeros((len(lengths), context), dtype=np.int64)
    for row, length in zip(tokens, lengths, strict=True):
        row[: length - 1] = 5
        row[length - 1] = 49407
    return tokens


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_every_text_is_in_one_bucket_and_whole(batch_size: int) -> None:
    lengths = [2, 9, 77, 8, 3, 76, 4, 5, 12]
    tokens = rows(lengths)
    found = list(buckets.cut(tokens, batch_size))
    assert sorted(place for bucket in found for place in bucket.places) == list(range(len(lengths)))
    for bucket in found:
        assert len(bucket.places) <= batch_size
        width = bucket.tokens.shape[1]
        np.testing.assert_array_equal(bucket.tokens, tokens[bucket.places, :width])
        assert (bucket.tokens.argmax(axis=1) == np.array(lengths)[bucket.places] - 1).all()


def test_the_width_of_a_bucket_depends_on_the_text_alone() -> None:
    lengths = [2, 4, 5, 13, 16, 76, 77]
    together = {
        int(place): bucket.tokens.shape[1]
        for bucket in buckets.cut(rows(lengths), 64)
        for place in bucket.places
    }
    alone = {n: next(buckets.cut(rows([length]), 64)).tokens.shape[1] for n, length in enumerate(lengths)}
    assert together == alone
    assert list(alone.values()) == [8, 8, 8, 16, 16, 77, 77]


def test_no_text_makes_no_bucket() -> None:
    assert list(buckets.cut(rows([]), 64)) == []


def test_a_short_context_is_not_exceeded() -> None:
    assert next(buckets.cut(rows([6], context=6), 64)).tokens.shape == (1, 6)
