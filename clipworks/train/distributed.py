"""Several processes that train one model; with one process everything here is a no-op.

`torchrun` starts the processes and says in the environment which is which. The mean over processes of
what each computes from its own rows is what one process computes from all rows: the loss, and so the
gradients, which DDP and FSDP2 average.
"""

import os
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.rendezvous import rendezvous
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from clipworks.errors import ClipworksError, ConfigError
from clipworks.train.config import Parallel

TIMEOUT = timedelta(minutes=10)
"""How long a process waits for the others before it gives up."""

_SETTLE_SECONDS = 0.05
_MOST_SETTLES = 100

_Value = TypeVar("_Value")


@dataclass(frozen=True, kw_only=True, slots=True)
class Processes:
    """The processes of this run, seen from one of them."""

    rank: int = 0
    """Number of this process, from 0."""
    world: int = 1
    """How many there are."""
    device: torch.device = torch.device("cpu")
    """Where this one computes."""

    @property
    def is_first(self) -> bool:
        """Whether this process writes what is written once."""
        return self.rank == 0

    def rows(self, count: int) -> slice:
        """The rows of a batch of `count` that this process reads.

        Raises:
            ConfigError: the processes cannot share the rows equally.
        """
        if count % self.world:
            raise ConfigError(
                f"batch_size is {count}, which {self.world} processes cannot share equally.",
                f"Give a multiple of {self.world}.",
            )
        own = count // self.world
        return slice(self.rank * own, (self.rank + 1) * own)

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all processes one below the other; gradients flow back to where a row came from."""
        if self.world == 1:
            return rows
        gathered: Tensor = _Gather.apply(rows, self)  # type: ignore[no-untyped-call]
        return gathered

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the processes, in place."""
        if self.world > 1:
            dist.all_reduce(values)
            values /= self.world
        return values

    def highest(self, value: int) -> int:
        """The highest of the values of all processes."""
        if self.world == 1:
            return value
        values = torch.tensor([value], device=self.device)
        dist.all_reduce(values, dist.ReduceOp.MAX)
        return int(values.item())

    def collect(self, value: _Value) -> list[_Value]:
        """The values of all processes, by rank."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def once(self, work: Callable[[], _Value]) -> _Value:
        """Do some work in the first process only; every process gets its result, or its error."""
        if self.world == 1:
            return work()
        found: list[Any] = [None, None]
        if self.is_first:
            try:
                found[0] = work()
            except (ClipworksError, OSError) as error:
                found[1] = error
        dist.broadcast_object_list(found, src=0, device=self.device)
        if found[1] is not None:
            raise found[1]
        result: _Value = found[0]
        return result


class _Gather(torch.autograd.Function):
    """All rows on every process; backward adds up what every process wants of a row."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, processes: Processes) -> Tensor:
        ctx.processes = processes
        gathered = rows.new_empty((processes.world * len(rows), *rows.shape[1:]))
        dist.all_gather_into_tensor(gathered, rows.contiguous())
        return gathered

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        own = gradient.new_empty((len(gradient) // ctx.processes.world, *gradient.shape[1:]))
        dist.reduce_scatter_tensor(own, gradient.contiguous())
        return own, None


@contextmanager
def join_processes() -> Iterator[Processes]:
    """Join the processes that torchrun started, or be alone.

    Graphics cards are used where there are any, one a process. Processes that have joined already stay
    joined.
    """
    has_cards = torch.cuda.is_available()
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "RANK" not in os.environ:
        yield Processes(device=torch.device("cuda" if has_cards else "cpu"))
        return
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device(f"cuda:{local_rank}" if has_cards else "cpu")
    if has_cards:
        torch.cuda.set_device(device)
    joins = not dist.is_initialized()
    if joins:
        store, rank, world = next(rendezvous("env://", timeout=TIMEOUT))
        backend = "cpu:gloo,cuda:nccl" if has_cards else "gloo"
        store = PrefixStore(f"start-{_start_number()}", store)
        dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=TIMEOUT)
    try:
        yield Processes(rank=dist.get_rank(), world=dist.get_world_size(), device=device)
        if joins:
            _settle()
    finally:
        if joins:
            dist.destroy_process_group()


def _settle() -> None:
    """Wait until gloo's threads have let go of the last tensors that they were given.

    Caches of FSDP keep these threads beyond the end of the group, and one that lets go while the interpreter
    ends aborts the process (PyTorch 2.13, on a busy machine).
    """
    token = torch.zeros(1)
    dist.all_reduce(token)
    held = weakref.ref(token)
    del token
    for _ in range(_MOST_SETTLES):
        time.sleep(_SETTLE_SECONDS)
        if held() is None:
            return


def _start_number() -> str:
    """Which start of the processes this is, where one torchrun starts them all and keeps one store.

    PyTorch 2.13 leaves the addresses of dead processes in that store, and new ones would try to reach them.
    Several torchruns count their restarts apart; they need TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 instead.
    """
    is_alone = os.environ.get("GROUP_WORLD_SIZE", "1") == "1"
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") if is_alone else "0"


def spread(tower: nn.Module, processes: Processes, parallel: Parallel) -> nn.Module:
    """Make a tower average its gradients over the processes.

    Args:
        tower: has `blocks`; its parameters stay the ones of the model it is part of.
        processes: who takes part; one process gets the tower back as it is.
        parallel: whether each process holds all of it or a part.
    """
    if processes.world == 1 or not any(p.requires_grad for p in tower.parameters()):
        return tower
    if parallel == "ddp":
        return DistributedDataParallel(tower)
    for block in tower.get_submodule("blocks").children():
        fully_shard(block)
    fully_shard(tower)
    return tower


@contextmanager
def sync_gradients(towers: Sequence[nn.Module], is_last: bool) -> Iterator[None]:
    """Within: gradients are averaged if this is the last part of a step, else only added up."""
    with ExitStack() as stack:
        for tower in towers:
            if isinstance(tower, DistributedDataParallel) and not is_last:
                stack.enter_context(tower.no_sync())
            if isinstance(tower, FSDPModule):
                tower.set_requires_gradient_sync(is_last)
        yield


def average_scalars(parameters: Sequence[nn.Parameter], processes: Processes) -> None:
    """Average the gradients of parameters that stand outside the towers."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if processes.world > 1 and gradients:
        flat = processes.mean(torch.stack(gradients))
        for gradient, mean in zip(gradients, flat, strict=True):
            gradient.copy_(mean)


def clip_gradients(parameters: Sequence[Tensor], largest: float, processes: Processes) -> Tensor:
    """Shorten the whole gradient to length `largest` if it is longer.

    Returns:
        Its length before, a scalar.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    parts = [g.to_local() for g in gradients if isinstance(g, DTensor)]
    wholes = [g for g in gradients if not isinstance(g, DTensor)]
    squares = torch.zeros((), device=processes.device)
    if parts:
        squares = torch.nn.utils.get_total_norm(parts) ** 2
        dist.all_reduce(squares)
    if wholes:
        squares = squares + torch.nn.utils.get_total_norm(wholes) ** 2
    norm = squares.sqrt()
    factor = (largest / (norm + 1e-6)).clamp(max=1.0)
    for gradient in parts + wholes:
        gradient.mul_(factor)
    return norm


def separate_parts(optimizer: torch.optim.Optimizer) -> None:
    """Split the groups that hold both parts of weights and whole ones, which no kernel updates together."""
    for group in list(optimizer.param_groups):
        parts = [p for p in group["params"] if isinstance(p, DTensor)]
        wholes = [p for p in group["params"] if not isinstance(p, DTensor)]
        if parts and wholes:
            group["params"] = parts
            optimizer.add_param_group({**group, "params": wholes})


def compute_shared(
    compute: Callable[[Tensor], Tensor], rows: Tensor, batch_size: int, processes: Processes
) -> Tensor:
    """Compute something of many rows, each process its part, as an evaluation does.

    Every process runs the same number of batches, which the parts of weights under FSDP need.

    Args:
        compute: rows, [b, ...] -> results, [b, ...].
        rows: [N, ...], 1 or more, the same in all processes; only this one's part is read.
        batch_size: largest b.
        processes: who takes part.

    Returns:
        [N, ...], all results in order, in every process.
    """
    share = -(-len(rows) // processes.world)
    places = torch.arange(processes.rank * share, (processes.rank + 1) * share).clamp(max=len(rows) - 1)
    with torch.no_grad():
        own = torch.cat([compute(rows[part]) for part in places.chunk(-(-share // batch_size))])
        return processes.gather(own)[: len(rows)]


def full(parameter: Tensor) -> Tensor:
    """The whole of a weight; every process has to ask."""
    if isinstance(parameter, DTensor):
        with torch.no_grad():
            whole: Tensor = parameter.full_tensor()
        return whole.detach()
    return parameter.detach()
