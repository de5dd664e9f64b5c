"""Models side by side: the scores that they have in common, and who is ahead where."""

from collections.abc import Sequence
from dataclasses import dataclass

from clipworks.errors import ConfigError
from clipworks.model.scores import MAIN_SUITE, Score


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedScore:
    """One task, scored in the same way for every model."""

    suite: str
    task: str
    metric: str
    values: tuple[float, ...]
    """0..1, one per model, in the order in which the models were given."""

    @property
    def best(self) -> tuple[int, ...]:
        """Places of the highest value: several if they are equal, none if all are."""
        highest = max(self.values)
        places = tuple(i for i, value in enumerate(self.values) if value == highest)
        return places if len(places) < len(self.values) else ()

    @property
    def difference(self) -> float:
        """Of two models the second's value less the first's; of more the highest less the lowest."""
        if len(self.values) == 2:
            return self.values[1] - self.values[0]
        return max(self.values) - min(self.values)


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What two or more models score on the same tasks."""

    tasks: tuple[ComparedScore, ...]
    """Tasks of each suite together, the largest `difference` first."""
    averages: tuple[ComparedScore, ...]
    """The published means over tasks."""

    def wins(self, suite: str = MAIN_SUITE) -> tuple[int, ...]:
        """In how many tasks of a suite each model is ahead, ties counting for each of the tied."""
        tasks = [task for task in self.tasks if task.suite == suite]
        num_models = len(self.tasks[0].values) if self.tasks else 0
        return tuple(sum(place in task.best for task in tasks) for place in range(num_models))


def compare(scores: Sequence[Sequence[Score]]) -> Comparison:
    """Line up the scores of models; what any of them lacks is left out.

    Args:
        scores: of each model, at least two of them.

    Raises:
        ConfigError: fewer than two models.
    """
    if len(scores) < 2:
        raise ConfigError(f"There is {len(scores)} model to compare.", "Give two or more.")
    tables = [{(s.suite, s.task, s.metric): s for s in model} for model in scores]
    shared = [score for key, score in tables[0].items() if all(key in table for table in tables)]
    lined_up = [
        (
            score.is_average,
            ComparedScore(
                suite=score.suite,
                task=score.task,
                metric=score.metric,
                values=tuple(table[score.suite, score.task, score.metric].value for table in tables),
            ),
        )
        for score in shared
    ]
    suites = list(dict.fromkeys(score.suite for score in shared))
    tasks = [compared for is_average, compared in lined_up if not is_average]
    tasks.sort(key=lambda task: (suites.index(task.suite), -task.difference))
    return Comparison(
        tasks=tuple(tasks), averages=tuple(compared for is_average, compared in lined_up if is_average)
    )
