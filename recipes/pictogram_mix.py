"""A mean of the weights before and after training on: `python -m recipes.pictogram_mix FIRST RUN OUT`.

It keeps more of what was known than either end (WiSE-FT, arXiv:2109.01903). A token's row that was empty
before is taken whole.
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipworks.model.weights import read_checkpoint, write_checkpoint

SHARE = 0.6
"""Of the change that training on has made."""
_TABLE = "text.token_embedding.weight"

Array = NDArray[np.float32]


def main(first: Path, run: Path, out: Path) -> None:
    """Read both models and write the mean."""
    begun, trained = read_checkpoint(first), read_checkpoint(run)
    tensors = {name: mix(name, begun.tensors[name], trained.tensors[name]) for name in begun.tensors}
    sys.stdout.write(write_checkpoint(out, begun.config, tensors) + "\n")


def mix(name: str, begun: Array, trained: Array) -> Array:
    """One array of weights; both have the same shape."""
    mixed: Array = begun + np.float32(SHARE) * (trained - begun)
    if name == _TABLE:
        is_new = ~np.any(begun, axis=1)
        mixed[is_new] = trained[is_new]
    return mixed


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
