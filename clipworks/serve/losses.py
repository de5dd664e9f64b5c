"""Items that cannot be used, in a request that goes on without them: few calls, whatever is lost."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import numpy as np

from clipworks.model.heads import Vectors
from clipworks.serve.problems import RequestError

Losses = dict[int, RequestError]
"""Place of an item in its list -> why it has no vector."""

Item = TypeVar("Item")


async def embed_usable(
    ask: Callable[[Sequence[Item], Losses], Awaitable[Vectors]],
    items: Sequence[Item],
    param_of: Callable[[Item], str | None],
    dim: int,
    losses: Losses,
) -> Vectors:
    """float32 [N, dim]: the rows of items, with zeros for those that cannot be used.

    All of them are asked for at once. Where that is refused because of one that can be told by its place,
    the others are asked for again; where it cannot be told, each half by itself.

    Args:
        ask: gives the rows of some items; what cannot be used it puts into the losses that it is given, or
            refuses all of them.
        param_of: where an item stands in the request, if that is known.
        losses: items that are lost already; those found here are added.

    Raises:
        Exception: what `ask` raises beside `RequestError`.
    """
    vectors: Vectors = np.zeros((len(items), dim), dtype=np.float32)
    groups = [[place for place in range(len(items)) if place not in losses]]
    while groups:
        group = groups.pop()
        if not group:
            continue
        lost: Losses = {}
        try:
            vectors[group] = await ask([items[place] for place in group], lost)
        except RequestError as error:
            named = [place for place in group if error.param and param_of(items[place]) == error.param]
            if len(group) == 1:
                named = group
            if len(named) == 1:
                losses[named[0]] = error
                groups.append([place for place in group if place != named[0]])
            else:
                half = len(group) // 2
                groups += [group[half:], group[:half]]
        else:
            losses.update({group[place]: error for place, error in lost.items()})
    return vectors
