"""A running mean of the weights, which is often better than the weights themselves."""

from collections.abc import Mapping

import torch
from torch import Tensor


class RunningMean:
    """mean = d * mean + (1 - d) * weights after every step, in float32.

    d rises to the chosen decay as (1 + n) / (10 + n) over the first steps n, so that the random weights
    of the beginning are soon forgotten. It is a function of the step: a resumed run goes on exactly.

    Args:
        weights: by name; parts of weights, as FSDP has them, are averaged where they lie.
        decay: 0 to below 1.
    """

    def __init__(self, weights: Mapping[str, Tensor], decay: float) -> None:
        self._decay = decay
        self.tensors = {name: weight.detach().clone().float() for name, weight in weights.items()}

    def update(self, weights: Mapping[str, Tensor], step: int) -> None:
        """Take in the weights after the step of this number."""
        share = 1 - min(self._decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, mean in self.tensors.items():
                mean.lerp_(weights[name].detach().to(mean.dtype), share)
