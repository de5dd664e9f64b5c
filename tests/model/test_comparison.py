import pytest

from clipworks.errors import ConfigError
from clipworks.model.catalogue import find
from clipworks.model.comparison import Comparison, compare
from clipworks.model.scores import Score, scores_of


def score(task: str, value: float, suite: str = "38 tasks") -> Score:
    return Score(suite=suite, task=task, metric="top-1", value=value, source="here@now")


def models(*names: str) -> Comparison:
    return compare([scores_of(find(name).id) for name in names])


def test_tasks_come_in_the_order_of_their_difference_and_know_the_best() -> None:
    one = [score("average of 3", 0.5), score("a", 0.1), score("b", 0.9), score("c", 0.5)]
    other = [score("average of 3", 0.6), score("a", 0.2), score("b", 0.4), score("c", 0.8)]
    compared = compare([one, other])
    assert [(task.task, round(task.difference, 6), task.best) for task in compared.tasks] == [
        ("c", 0.3, (1,)),
        ("a", 0.1, (1,)),
        ("b", -0.5, (0,)),
    ]
    assert [average.values for average in compared.averages] == [(0.5, 0.6)]
    assert compared.wins() == (1, 2)


def test_among_three_models_the_spread_orders_the_tasks() -> None:
    compared = compare([[score("a", 0.5), score("b", 0.5)], [score("a", 0.1), score("b", 0.6)]] * 2)
    assert [(task.task, round(task.difference, 6)) for task in compared.tasks] == [("a", 0.4), ("b", 0.1)]


def test_equal_values_are_best_together_and_nobody_is_best_if_all_are_equal() -> None:
    compared = compare([[score("a", 0.5)], [score("a", 0.5)], [score("a", 0.4)]])
    assert compared.tasks[0].best == (0, 1)
    assert compare([[score("a", 0.5)], [score("a", 0.5)]]).tasks[0].best == ()


def test_suites_stay_together() -> None:
    one = [score("a", 0.1), score("b", 0.1, "other"), score("c", 0.1)]
    other = [score("a", 0.2), score("b", 0.9, "other"), score("c", 0.3)]
    assert [task.task for task in compare([one, other]).tasks] == ["c", "a", "b"]


def test_only_what_all_models_have_is_compared() -> None:
    assert (
        compare([[score("a", 0.1), score("b", 0.1)], [score("b", 0.2), score("c", 0.2)]]).tasks[0].task == "b"
    )
    nothing = compare([scores_of("pictogram"), scores_of(find("openai-b16").id)])
    assert nothing.tasks == () and nothing.averages == () and nothing.wins() == ()


def test_the_published_difference_between_two_models_is_that_of_their_averages() -> None:
    compared = models("openai-b16", "metaclip-b16")
    (average,) = (line for line in compared.averages if line.suite == "38 tasks")
    differences = [task.difference for task in compared.tasks if task.suite == "38 tasks"]
    assert sum(differences) / 38 == pytest.approx(average.difference, abs=2e-4)
    assert differences == sorted(differences, reverse=True)
    assert compared.wins() == (8, 30)


def test_comparing_a_model_with_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="There is 1 model to compare"):
        models("openai-b16")
