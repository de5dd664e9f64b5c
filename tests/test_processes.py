"""What is known of this machine's processes."""

import subprocess
import sys

import numpy as np

from clipworks.processes import peak_memory_bytes

PROGRAM = "from clipworks.processes import peak_memory_bytes; print(peak_memory_bytes())"


def test_a_small_child_of_a_large_process_is_small() -> None:
    large = np.ones(200 << 20, np.uint8)
    done = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True)
    assert peak_memory_bytes() >= large.nbytes
    assert 1 << 20 < int(done.stdout) < 100 << 20
