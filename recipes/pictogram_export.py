"""Write a finished run as the folder that the package ships: weights in eight bits, nothing else.

python -m recipes.pictogram_export RUN OUT
"""

import argparse
from pathlib import Path

from clipworks.model.weights import read_checkpoint, write_checkpoint


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of the trained model")
    parser.add_argument("out", type=Path, help="folder of the new one")
    options = parser.parse_args()
    checkpoint = read_checkpoint(options.run)
    print(
        f"{options.out}: {write_checkpoint(options.out, checkpoint.config, checkpoint.tensors, dtype='i8')}"
    )


if __name__ == "__main__":
    main()
