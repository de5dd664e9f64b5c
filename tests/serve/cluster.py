"""A private PostgreSQL for tests: real binaries, a folder and a socket of its own, no TCP."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import psycopg

from clipworks.serve.database import open_database

OWNER = "postgres"
"""Who runs it where the tests run as root, which PostgreSQL refuses."""


def binaries() -> Path | None:
    """The folder of initdb and pg_ctl: on the path, or where Debian keeps the newest version."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    return versions[-1].parent if versions else None


def reason_against() -> str:
    """Why there can be none here; empty where there can."""
    if binaries() is None:
        return "PostgreSQL is not installed (Debian: apt-get install postgresql)"
    if os.geteuid() == 0:
        try:
            pwd.getpwnam(OWNER)
        except KeyError:
            return f"PostgreSQL does not run as root and there is no user {OWNER}"
    return ""


@contextmanager
def running_cluster(*, is_durable: bool = False) -> Iterator[str]:
    """A new cluster; gives the address of its database for SQLAlchemy, and removes all of it at the end.

    Args:
        is_durable: whether a commit waits for the disk, as everywhere but in tests.
    """
    folder = Path(tempfile.mkdtemp(prefix="clipworks-pg-", dir="/tmp"))
    user = OWNER if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    folder.chmod(0o755)
    if os.geteuid() == 0:
        shutil.chown(folder, user)
    data = folder / "data"
    try:
        _run(user, "initdb", "-D", data, "-U", "clip", "-A", "trust", "-E", "UTF8", "--no-sync")
        options = f"-k {folder} -c listen_addresses='' -c max_connections=120 -c shared_buffers=32MB"
        if not is_durable:  # nothing here outlives the tests
            options += " -c fsync=off"
        _run(user, "pg_ctl", "-D", data, "-o", options, "-l", folder / "log", "-w", "start")
        try:
            yield f"postgresql://clip@/postgres?host={folder}"
        finally:
            _run(user, "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def stopped(address: str) -> Iterator[None]:
    """Every process of a cluster is stopped: its sockets are there, and nobody answers on them."""
    folder = Path(address.partition("host=")[2])
    first = int((folder / "data" / "postmaster.pid").read_text().split()[0])
    of_it = Path(f"/proc/{first}/task/{first}/children")
    found = [first]
    try:
        os.kill(first, signal.SIGSTOP)  # first of all who could start others
        found += [int(pid) for pid in of_it.read_text().split()]
        for process in found[1:]:
            os.kill(process, signal.SIGSTOP)
        yield
    finally:
        for process in reversed(found):
            os.kill(process, signal.SIGCONT)


def new_database(address: str, *, like: str = "template1") -> str:
    """The address of a new database beside that of `running_cluster`: empty, or a copy of another one."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {like}".encode())
    return address.replace("/postgres?", f"/{name}?")


def with_tables(address: str) -> str:
    """The name of a database that has its tables already, for `new_database(like=...)`."""
    made = new_database(address)
    open_database(made).close()
    return made.partition("?")[0].rpartition("/")[2]


def new_sqlite(folder: Path) -> str:
    """The address of a new file of SQLite that has its tables already."""
    (folder / "accounts.db").write_bytes(_file_with_tables())
    return f"sqlite:///{folder}/accounts.db"


@cache
def _file_with_tables() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        open_database(f"sqlite:///{folder}/accounts.db").close()
        return Path(folder, "accounts.db").read_bytes()


def _run(user: str, program: str, *arguments: str | Path) -> None:
    folder = binaries()
    assert folder is not None
    as_user = user if os.geteuid() == 0 else None
    done = subprocess.run(
        [str(folder / program), *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        user=as_user,
        cwd="/tmp",
        env={**os.environ, "LC_ALL": "C"},
    )
    assert done.returncode == 0, f"{program} ended with status {done.returncode}"
