"""Parts of a stage made as tasks of a Ray cluster, whose machines share the folder. The owner of ray here."""

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from types import TracebackType
from typing import Any, TypeVar

import ray
from ray import exceptions

from clipworks.errors import ConfigError

MAX_ATTEMPTS = 3
"""Tries at an item whose work kills the process, or the machine, that does it."""
TASKS_PER_CORE = 2
"""Tasks handed to the cluster ahead of time, so that no core waits for this program."""

Item = TypeVar("Item")


class Cluster:
    """A Ray cluster that this program is connected to, from `with` to its end.

    Args:
        address: `local` for one on this machine, which ends with the program; `auto` for the one that
            runs here; or `ray://host:port`.
    """

    def __init__(self, address: str) -> None:
        self.address = address

    def __enter__(self) -> "Cluster":
        """Connect.

        Raises:
            ConfigError: nobody answers at the address.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # else it writes a token into the home folder
        place: dict[str, Any] = {"address": self.address}
        if self.address == "local":
            # Its processes find what this one finds; on a cluster, clipworks is installed on every machine.
            paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            place |= {"include_dashboard": False, "runtime_env": {"env_vars": paths}}
        try:
            with warnings.catch_warnings(action="ignore"):
                ray.init(**place, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
            words = (str(error).strip().splitlines() or ["no reason given"])[0]
            raise ConfigError(
                f"There is no Ray cluster at {self.address!r}: {words}",
                "Start one with `ray start --head`, or use --ray local.",
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect; a local cluster ends."""
        ray.shutdown()

    @property
    def num_cores(self) -> int:
        """Cores of the whole cluster."""
        resources: Any = ray.cluster_resources
        return max(1, int(resources().get("CPU", 1)))

    def run(self, work: Callable[[Item], None], items: Sequence[Item]) -> Iterator[tuple[Item, str]]:
        """As `processes.Processes.run`: each item as it is done, with "" or why it was given up.

        Args:
            work: picklable, and importable on every machine, as the items are.

        Raises:
            Exception: what the work raises.
        """
        task: Any = ray.remote(max_retries=MAX_ATTEMPTS - 1, num_cpus=1)(_call)
        shared_work = ray.put(work)
        queue = iter(items)
        running: dict[Any, Item] = {}
        try:
            while True:
                for item in islice(queue, TASKS_PER_CORE * self.num_cores - len(running)):
                    running[task.remote(shared_work, item)] = item
                if not running:
                    return
                ended, _ = ray.wait(list(running), num_returns=1)
                for reference in ended:
                    item = running.pop(reference)
                    yield item, _failure_of(reference)
        finally:
            for reference in running:
                with suppress(Exception):
                    ray.cancel(reference, force=True)


def _failure_of(reference: Any) -> str:
    try:
        ray.get(reference)
    except (exceptions.WorkerCrashedError, exceptions.OutOfMemoryError, exceptions.NodeDiedError):
        return f"Its process died {MAX_ATTEMPTS} times."
    except exceptions.RayTaskError as error:
        raise (error.cause or error) from error
    return ""


def _call(work: Callable[[Item], None], item: Item) -> None:
    work(item)
