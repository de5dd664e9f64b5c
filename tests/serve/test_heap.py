import platform
import subprocess
import sys

import pytest

PROGRAM = """
import os, threading
from clipworks.serve.heap import limit_freed_memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def work():
    large = b"x" * (30 << 20)
    del large  # from here on glibc would keep what is smaller
    blocks = [b"x" * (5 << 20) for _ in range(10)]
    have_all.wait()
    may_free.wait()
    blocks.clear()
    have_freed.wait()
    may_end.wait()

assert limit_freed_memory()
have_all, may_free, have_freed, may_end = (threading.Barrier(5) for _ in range(4))
before = resident()
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
have_all.wait()
held = resident() - before
may_free.wait()
have_freed.wait()
left = resident() - before
may_end.wait()
print(held >> 20, left >> 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is one of glibc")
@pytest.mark.slow
def test_large_blocks_that_threads_have_freed_go_back_to_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    held, left = map(int, done.stdout.split())
    assert held >= 200 and left <= 20, done.stdout
