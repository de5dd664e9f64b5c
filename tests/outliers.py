"""Weights with the outliers that trained transformers have: few channels that are many times the others."""

import numpy as np

from clipworks.model.formats import Tensors


def with_outliers(weights: Tensors, *, factor: float = 30.0, count: int = 3, seed: int = 5) -> Tensors:
    """The same function in float32, but hard to round.

    In front of each qkv and up layer some gains of the layer norm grow by `factor` and the weights
    that read them shrink by it. Behind `up`, values of some attention channels do the same towards
    `out`. Those changes cancel. Some channels of the residual stream are then massive for good: the
    positions carry a constant there, as in trained models.
    """
    random = np.random.default_rng(seed)
    changed = {name: array.copy() for name, array in weights.items()}
    for name in weights:
        prefix, _, kind = name.rpartition(".ln_")
        if kind in ("1.weight", "2.weight"):
            reader = f"{prefix}.{'qkv' if kind == '1.weight' else 'up'}.weight"
            width = len(weights[name])
            channels = random.choice(width, count, replace=False)
            for part in ("weight", "bias"):
                changed[f"{prefix}.ln_{kind[0]}.{part}"][channels] *= factor
            changed[reader][:, channels] /= factor
        if name.endswith(".out.weight"):
            prefix = name.removesuffix(".out.weight")
            width = weights[name].shape[1]
            channels = random.choice(width, count, replace=False)
            for part in ("weight", "bias"):
                changed[f"{prefix}.qkv.{part}"][2 * width + channels] *= factor
            changed[name][:, channels] /= factor
    for tower in ("vision", "text"):
        positions = changed[f"{tower}.position_embedding"]
        positions[:, random.choice(positions.shape[1], count, replace=False)] += factor / 4
    return changed
