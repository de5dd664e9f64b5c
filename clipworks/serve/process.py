"""A name for this process that no other ever has, and whether the process with such a name still runs.

Linux says when a process began; together with the boot and the pid namespace (containers) that is unique.
Where the answer cannot be known (another machine, another system) a process is taken to be alive.
"""

import os
import uuid
from pathlib import Path


def name_this_process() -> str:
    """BOOT/NAMESPACE/PID/START on Linux, a random word elsewhere; up to 120 characters."""
    began = _start_of(os.getpid())
    if began is None:
        return f"unknown/{uuid.uuid4().hex}"
    return f"{_place()}/{os.getpid()}/{began}"


def has_died(name: str) -> bool:
    """Whether a process that ran here is known to have ended."""
    place, _, rest = name.rpartition("/")
    place, _, pid = place.rpartition("/")
    if not pid.isdigit() or place != _place():
        return False
    return _start_of(int(pid)) != rest


def _place() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return "unknown"


def _start_of(pid: int) -> str | None:
    """When a process began, in ticks since the boot; None where there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text[text.rindex(")") + 1 :].split()  # the name before it may hold anything
    return None if fields[0] in "ZX" else fields[19]
