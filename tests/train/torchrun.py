"""Several processes on this machine that train, as torchrun starts them."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PROGRAM = """
import json, os, sys
from dataclasses import replace
from pathlib import Path
from clipworks.train.distributed import join_processes
from clipworks.train.loop import train
from clipworks.train.recipes import tiny

shards, out = Path(sys.argv[1]), Path(sys.argv[2])
runs, kill = json.loads(sys.argv[3]), json.loads(sys.argv[4])
is_first_start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"

def on_step(step):
    if kill and is_first_start and step.step == kill[0]:
        os.kill(os.getpid(), kill[1])

with join_processes():
    for name, settings in runs.items():
        train(replace(tiny(), **settings), shards, out / name, on_step=on_step)
"""


def torchrun(
    shards: Path,
    out: Path,
    runs: Mapping[str, Mapping[str, Any]],
    *,
    processes: int = 2,
    kill: Sequence[int] = (),
    options: Sequence[str] = (),
) -> subprocess.CompletedProcess[str]:
    """Train `tiny` with changed settings, one run after the other.

    Args:
        shards: the data.
        out: folder for the runs.
        runs: by name, the changed fields.
        processes: how many.
        kill: a step after which the first process sends itself a signal, once, and the number of the signal.
        options: more options of torchrun.
    """
    program = out / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command += [*options, str(program), str(shards), str(out), json.dumps(runs), json.dumps(kill)]
    return subprocess.run(command, check=False, capture_output=True, text=True)
