"""A run that is killed with SIGKILL, at any moment, and repeated: nothing is half counted, nothing lost."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from evaluation_sets import labelled, write_set
from tiny_clip import TinyClip

from clipworks.evaluate.results import find_incomplete, find_results

pytestmark = pytest.mark.slow

PROGRAM = """
import sys
from pathlib import Path
from clipworks.evaluate import embed
from clipworks.evaluate.run import RunConfig, evaluate, plan_run
from clipworks.model.loading import load
embed.PART = 64
data, out, model = map(Path, sys.argv[1:])
engine = load(str(model), precision="f32", preprocess="reference")
show = lambda done, total, what: print(done, flush=True)
evaluate(engine, plan_run("one,two", data, RunConfig()), out, machine="a test", show=show)
"""


def started(data: Path, out: Path, cache: Path, tiny_clip: TinyClip) -> "subprocess.Popen[str]":
    environment = {**os.environ, "CLIPWORKS_CACHE": str(cache)}
    command = [sys.executable, "-c", PROGRAM, str(data), str(out), str(tiny_clip.native)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_killed_run_goes_on_and_ends_with_the_numbers_of_an_undisturbed_one(
    tiny_clip: TinyClip, tmp_path: Path
) -> None:
    for name, first in (("one", 0), ("two", 400)):
        samples = labelled(400, 2, first=first)
        write_set(tmp_path / name, samples, classes=["red", name], templates=["{c}"], per_shard=90)
    out, cache = tmp_path / "out", tmp_path / "cache"
    counts = list[int]()
    for at_least in (1, 500):
        process = started(tmp_path, out, cache, tiny_clip)
        assert process.stdout is not None
        for line in process.stdout:
            counts.append(int(line))
            if counts[-1] >= at_least:
                break
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert not list(out.rglob("*.json"))
    assert counts[-1] >= 500 > counts[0]
    process = started(tmp_path, out, cache, tiny_clip)
    told, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert int(told.split()[0]) > 64  # what was kept is not embedded again
    whole = started(tmp_path, tmp_path / "whole", tmp_path / "other", tiny_clip)
    _, errors = whole.communicate(timeout=60)
    assert whole.returncode == 0, errors
    killed, undisturbed = find_results([out]), find_results([tmp_path / "whole"])
    assert len(killed) == len(undisturbed) == 2 and not find_incomplete([out])
    for (path, one), (other_path, other) in zip(killed, undisturbed, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
        assert path.with_suffix(".npz").read_bytes() == other_path.with_suffix(".npz").read_bytes()
