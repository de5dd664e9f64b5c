"""A mean of the weights before and after training on.

    python -m recipes.pictogram_mix FIRST RUN OUT --share 0.6

It keeps more of what was known than either end (WiSE-FT, arXiv:2109.01903). A token's row that was empty
before is taken whole.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipworks.model.weights import read_checkpoint, write_checkpoint
from recipes.pictogram_towers import TABLE

Array = NDArray[np.float32]


def mix_models(first: Path, run: Path, out: Path, share: float) -> str:
    """Read both models and write the mean; its fingerprint. `share` of the change, 0..1, is taken."""
    begun, trained = read_checkpoint(first), read_checkpoint(run)
    tensors = {name: mix(name, begun.tensors[name], trained.tensors[name], share) for name in begun.tensors}
    return write_checkpoint(out, begun.config, tensors)


def mix(name: str, begun: Array, trained: Array, share: float) -> Array:
    """One array of weights; both have the same shape."""
    mixed: Array = begun + np.float32(share) * (trained - begun)
    if name == TABLE:
        is_new = ~np.any(begun, axis=1)
        mixed[is_new] = trained[is_new]
    return mixed


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("first", type=Path, help="folder of the model before")
    parser.add_argument("run", type=Path, help="folder of the model after, of the same shape")
    parser.add_argument("out", type=Path, help="folder of the new one")
    parser.add_argument("--share", type=float, required=True, help="of the change, 0..1")
    options = parser.parse_args()
    if not 0 <= options.share <= 1:
        parser.error(f"argument --share: {options.share} is not in 0..1")
    sys.stdout.write(mix_models(options.first, options.run, options.out, options.share) + "\n")


if __name__ == "__main__":
    main()
