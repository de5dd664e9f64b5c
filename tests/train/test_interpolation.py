"""Between two models: the ends are exact, and the choice is validation's."""

import numpy as np

from clipworks.train.interpolation import Score, alphas_of, between, choose, walk

BEFORE = {"a": np.zeros(3, dtype=np.float32), "b": np.ones(2, dtype=np.float32)}
AFTER = {"a": np.full(3, 4, dtype=np.float32), "b": np.full(2, 3, dtype=np.float32)}


def score(alpha: float, value: float, loss: float = 1.0) -> Score:
    return Score(alpha=alpha, score=value, loss=loss, kept=0.0)


def test_the_ends_are_the_two_models_and_the_middle_is_half_way() -> None:
    assert between(BEFORE, AFTER, 0.0) == BEFORE and between(BEFORE, AFTER, 1.0) == AFTER
    middle = between(BEFORE, AFTER, 0.25)
    assert middle["a"].tolist() == [1, 1, 1] and middle["b"].tolist() == [1.5, 1.5]
    assert middle["a"].dtype == np.float32


def test_every_alpha_is_measured_in_order() -> None:
    found = walk(BEFORE, AFTER, alphas_of(5), lambda tensors: (float(tensors["a"][0]), 0.0, 0.5))
    assert [one.alpha for one in found] == [0, 0.25, 0.5, 0.75, 1]
    assert [one.score for one in found] == [0, 1, 2, 3, 4]


def test_the_best_on_validation_is_chosen_and_a_tie_goes_to_the_lower_loss_then_the_smaller_alpha() -> None:
    assert choose([score(0, 0.5), score(0.5, 0.7), score(1, 0.6)]).alpha == 0.5
    assert choose([score(0.4, 0.7, 2.0), score(0.6, 0.7, 1.0)]).alpha == 0.6
    assert choose([score(0.4, 0.7), score(0.6, 0.7)]).alpha == 0.4
