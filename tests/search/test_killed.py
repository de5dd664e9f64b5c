"""A build that is killed, at any moment: nothing is lost, nothing doubled, and the index opens."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serve.colours import picture

MURDERS = 20

PROGRAM = """
import os, random, signal, sys, time, traceback
from pathlib import Path
from clipworks.search import build
from clipworks.search.check import check_index
from clipworks.search.opening import open_index
from tests.serve.colours import ColourEngine

source, out, murders = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
build._FLUSH_PICTURES = 7
random.seed(1)
names = sorted(path.name for path in source.glob("*.png"))
seen, killed, seconds = 0, 0, 0.0
while killed < murders:
    name = random.choice(names)
    if random.random() < 0.5:
        (source / name).rename(source / f"{name[:4]}{random.random():.6f}.png")
    else:
        (source / f"{name[:4]}{random.random():.6f}.png").write_bytes((source / name).read_bytes() + b"x")
        (source / name).unlink()
    names = sorted(path.name for path in source.glob("*.png"))
    child = os.fork()
    if not child:
        try:
            build.build_index(source, out, ColourEngine(), batch_size=2)
        except BaseException:
            traceback.print_exc()
            os._exit(9)
        os._exit(0)
    time.sleep(random.random() * (0.02 + seconds))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    killed += os.WIFSIGNALED(status)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "a build failed"
    # As long as a build takes here and now: some begin, some are done but for the last steps.
    seconds = 1.2 * seconds + 0.02 if os.WIFSIGNALED(status) else 0.6 * seconds
    if (out / "library.db").exists() and os.WIFSIGNALED(status):
        try:
            library = open_index(out)
        except Exception as error:
            assert "holds nothing yet" in str(error), error
            continue
        ids = [item.id for item, _ in library.entries()]
        assert len(set(ids)) == len(ids) == library.count()
        assert not check_index(out).problems
        seen = max(seen, len(ids))
report = build.build_index(source, out, ColourEngine())
assert {item.id for item, _ in open_index(out).entries()} == set(names), "lost"
assert report.count == len(names) and not check_index(out).problems
print(killed, seen, report.count)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_twenty_builds_killed_at_random_moments_lose_and_double_nothing(tmp_path: Path) -> None:
    source = tmp_path / "pictures"
    source.mkdir()
    for number in range(100):
        (source / f"{number:03d}-.png").write_bytes(picture((number, 255 - number, 2 * number)))
    command = [sys.executable, "-c", PROGRAM, str(source), str(tmp_path / "index"), str(MURDERS)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    killed, seen, count = map(int, done.stdout.split())
    assert killed == MURDERS and count == 100 and seen > 0
