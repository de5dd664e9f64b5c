"""Large batches in little memory, exactly: the features of all parts first, one loss, then each part again.

A contrastive loss is no sum over parts, so the gradients of parts cannot simply be added up. What can be
done (arXiv:2101.06983): run every part without gradients and keep only its features; take the loss of all
features and its gradient with respect to them and to the temperature, once; then run every part again,
with the random numbers it had, and push its share of that gradient into the weights.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

import torch
from torch import Tensor

from clipworks.train.loss import Score

Part = TypeVar("Part")


def push_gradients(
    parts: Sequence[Part],
    encode: Callable[[Part], tuple[Tensor, Tensor]],
    score: Callable[[Tensor, Tensor], Score],
    sync: Callable[[bool], AbstractContextManager[None]],
) -> Score:
    """Add the gradient of a batch to what the weights hold.

    Args:
        parts: what `encode` reads, in the order of the batch; one part is run once.
        encode: a part -> image features and text features, float [b, E] each. It may draw random numbers
            from PyTorch's generators.
        score: the features of all parts -> the loss. Its own parameters, the temperature, get their
            gradients from one backward pass.
        sync: called with whether a part is the last; surrounds what that part does with gradients.

    Returns:
        The loss of the batch, without a graph.
    """
    if len(parts) == 1:
        with sync(True):
            features = encode(parts[0])
            leaves = [f.detach().requires_grad_() for f in features]
            outcome = score(*leaves)
            outcome.loss.backward()  # type: ignore[no-untyped-call]
            _push(features, [leaf.grad for leaf in leaves])
        return Score(loss=outcome.loss.detach(), accuracy=outcome.accuracy)
    states, cached = [], []
    with torch.no_grad():
        for part in parts:
            states.append(_random_states())
            cached.append(encode(part))
    leaves = [torch.cat(side).requires_grad_() for side in zip(*cached, strict=True)]
    after = _random_states()
    outcome = score(*leaves)
    outcome.loss.backward()  # type: ignore[no-untyped-call]
    start = 0
    for number, (part, state) in enumerate(zip(parts, states, strict=True)):
        _restore(state)
        with sync(number + 1 == len(parts)):
            features = encode(part)
            rows = slice(start, start + len(features[0]))
            _push(features, [None if leaf.grad is None else leaf.grad[rows] for leaf in leaves])
        start = rows.stop
    _restore(after)
    return Score(loss=outcome.loss.detach(), accuracy=outcome.accuracy)


def _push(features: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> None:
    pairs = [(f, g) for f, g in zip(features, gradients, strict=True) if f.requires_grad and g is not None]
    torch.autograd.backward([f for f, _ in pairs], [g for _, g in pairs])


def _random_states() -> tuple[Tensor, list[Tensor]]:
    """Of the processor and of every graphics card."""
    has_cards = torch.cuda.is_available()
    return torch.get_rng_state(), torch.cuda.get_rng_state_all() if has_cards else []


def _restore(states: tuple[Tensor, list[Tensor]]) -> None:
    torch.set_rng_state(states[0])
    if states[1]:
        torch.cuda.set_rng_state_all(states[1])
