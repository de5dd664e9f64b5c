"""Low-rank updates of attention (arXiv:2106.09685): few numbers to train, nothing left of them at the end.

A block's `qkv` is three maps in one matrix, which get a product of two thin matrices each; `out` gets one.
The network itself is unchanged: its weight is computed as W + scale * up @ down whenever it is read, so that
a checkpoint written from it is an ordinary one.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from clipworks.errors import ConfigError
from clipworks.model.network import Block, TextTower, VisionTower


class LowRank(nn.Module):
    """What is added to one weight."""

    def __init__(
        self, shape: tuple[int, int], parts: int, rank: int, scale: float, generator: torch.Generator
    ) -> None:
        """`parts` maps of `rank`, side by side in a weight of this shape; zero until it is trained."""
        super().__init__()
        rows, columns = shape
        self.scale = scale
        spread = columns**-0.5
        self.down = nn.Parameter(torch.randn(parts, rank, columns, generator=generator) * spread)
        self.up = nn.Parameter(torch.zeros(parts, rows // parts, rank))

    def forward(self, weight: Tensor) -> Tensor:
        """float [rows, columns] -> float [rows, columns]."""
        added: Tensor = (self.up @ self.down).flatten(0, 1)
        return weight + self.scale * added


def add_lora(tower: VisionTower | TextTower, rank: int, *, alpha: float, seed: int) -> list[nn.Parameter]:
    """Freeze a tower and put low-rank updates on q, k, v and out of every block.

    Args:
        tower: changed in place.
        rank: of each update, from 1 to the tower's width.
        alpha: the updates are scaled by alpha / rank, so that the rate need not change with the rank.
        seed: of the thin matrices; the towers' outputs are unchanged until the first step.

    Returns:
        The parameters to train.

    Raises:
        ConfigError: no such rank.
    """
    width = tower.position_embedding.shape[1]
    if not 1 <= rank <= width:
        raise ConfigError(f"The LoRA rank is {rank}; it must be from 1 to the tower's width, {width}.")
    generator = torch.Generator().manual_seed(seed)
    tower.requires_grad_(False)
    trained: list[nn.Parameter] = []
    for block in tower.blocks:
        assert isinstance(block, Block)
        for linear, parts in ((block.qkv, 3), (block.out, 1)):
            rows, columns = linear.weight.shape
            update = LowRank((rows, columns), parts, rank, alpha / rank, generator)
            parametrize.register_parametrization(linear, "weight", update)
            trained += [update.down, update.up]
    return trained
