"""What stops a run that cannot end well, with a word on why and what to do.

A loss that is not finite stops the step itself, before the weights change; the rest is seen here, after
the step, in windows of the last ones. A resumed run begins its windows anew.
"""

import math
from collections import deque

from clipworks.errors import ConfigError, DataError
from clipworks.train.config import TrainConfig
from clipworks.train.metrics import OTHER_RUN, Step

WINDOW = 200
"""Steps over which shares are taken."""

STUCK_SHARE = 0.98
"""Share of ln(batch) that a loss must have fallen below: at ln(batch) pictures and texts are told apart
no better than by chance."""

LEAST_SPREAD = 1e-3
"""1 - |mean feature|^2, below which all features of a batch are the same."""

SANE_RATES = (1e-7, 2e-4)
"""Learning rates at which AdamW trains on from a checkpoint without doing nothing or destroying it;
published recipes lie at 1e-6 to 3e-5."""


def require_sane_rate(config: TrainConfig) -> None:
    """Refuse a learning rate that undoes the checkpoint a run starts from.

    A locked tower keeps what it knows, so the other one may be trained at any rate.

    Raises:
        ConfigError: the rate is out of `SANE_RATES`.
    """
    if not config.start or not config.check_rate or config.lock_image or config.lock_text:
        return
    low, high = SANE_RATES
    for name in ("learning_rate", "matrix_learning_rate"):
        rate = getattr(config, name)
        if rate is not None and not low <= rate <= high:
            harm = "would undo what it has learnt" if rate > high else "would change nothing"
            raise ConfigError(
                f"{name} is {rate:g}; training on from {config.start} at it {harm}.",
                f"Choose {low:g} to {high:g}, 1e-5 to begin with, or --set check_rate=false.",
            )


class Guards:
    """Looks at every step of a run.

    Args:
        config: of the run; its limits say when to stop.
    """

    def __init__(self, config: TrainConfig) -> None:
        self._config = config
        self._steps: deque[Step] = deque(maxlen=WINDOW)
        self._collapsed = 0

    def look(self, step: Step) -> None:
        """Take in a step.

        Raises:
            DataError: the loss is stuck, the features are all alike, or the data is too slow or too bad.
        """
        self._steps.append(step)
        self._look_at_spread(step)
        self._look_at_loss(step)
        if len(self._steps) == WINDOW:
            self._look_at_wait(step)
            self._look_at_skipped(step)

    def _look_at_loss(self, step: Step) -> None:
        config = self._config
        window = min(WINDOW, config.stuck_steps)
        if config.loss != "softmax" or config.teacher is not None:
            return  # chance is another number there
        if not window or step.step + 1 < config.warmup_steps + config.stuck_steps:
            return
        recent = [one.loss for one in list(self._steps)[-window:]]
        chance = math.log(config.batch_size)
        mean = sum(recent) / len(recent)
        if len(recent) == window and mean > STUCK_SHARE * chance:
            raise DataError(
                f"After {step.step + 1} steps the loss is still {mean:.3f}, that of chance: "
                f"ln({config.batch_size}) = {chance:.3f}.",
                "See with --check whether captions belong to their pictures. To go on regardless: --set "
                f"stuck_steps=0. {OTHER_RUN.format('another learning_rate or more data')}",
            )

    def _look_at_spread(self, step: Step) -> None:
        config = self._config
        is_alike = step.spread < LEAST_SPREAD and step.step >= config.warmup_steps
        self._collapsed = self._collapsed + 1 if is_alike else 0
        if config.collapsed_steps and self._collapsed >= config.collapsed_steps:
            raise DataError(
                f"All features of a batch have been the same for {self._collapsed} steps, up to step "
                f"{step.step} (spread {step.spread:.1e}): the model has collapsed.",
                OTHER_RUN.format("a lower learning_rate or more warmup_steps"),
            )

    def _look_at_wait(self, step: Step) -> None:
        waited, took = (
            sum(getattr(one, name) for one in self._steps) for name in ("wait_seconds", "seconds")
        )
        if took and waited / took > self._config.most_wait:
            raise DataError(
                f"{waited / took:.0%} of the last {WINDOW} steps, up to step {step.step}, went by waiting "
                f"for data; the limit is {self._config.most_wait:.0%}.",
                "Give --workers, faster storage or smaller pictures; or --set most_wait=1.",
            )

    def _look_at_skipped(self, step: Step) -> None:
        skipped = sum(one.skipped for one in self._steps)
        share = skipped / (skipped + WINDOW * self._config.batch_size)
        if share > self._config.most_skipped:
            raise DataError(
                f"{share:.0%} of the samples of the last {WINDOW} steps, up to step {step.step}, could not "
                f"be used; the limit is {self._config.most_skipped:.0%}.",
                "See with --check what is wrong with them; or --set most_skipped=1.",
            )
