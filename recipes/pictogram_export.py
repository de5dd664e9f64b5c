"""Write a finished run as the folder that the package ships: weights in eight bits, nothing else.

python -m recipes.pictogram_export RUN OUT
"""

import sys
from pathlib import Path

from clipworks.model.weights import read_checkpoint, write_checkpoint


def main(run: Path, out: Path) -> None:
    checkpoint = read_checkpoint(run)
    fingerprint = write_checkpoint(out, checkpoint.config, checkpoint.tensors, dtype="i8")
    print(f"{out}: {fingerprint}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
