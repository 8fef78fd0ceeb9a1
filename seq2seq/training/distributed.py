"""Several processes on one job, started by `torchrun` or by a training itself: who we are, and how gradients meet."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor
from torch import distributed as dist

from seq2seq.devices import choose_device
from seq2seq.errors import ConfigError, Interrupted

# The others wait while the first one trains the tokenizer or validates, which may take long.
PATIENCE = timedelta(hours=12)


@dataclass(frozen=True)
class Processes:
    """This process among those that train together; one alone is rank 0 of 1."""

    rank: int = 0
    size: int = 1
    share_batches: bool = False  # each takes a part of every micro-batch, instead of micro-batches of its own

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def sum(self, value: Tensor) -> Tensor:
        """The sum of a tensor over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(value)
        return value

    def gather(self, value: Tensor) -> Tensor:
        """The tensors of all processes, which have the same shape `(N, ...)`, one after another: `(size * N, ...)`."""
        if self.size == 1:
            return value
        result = value.new_empty(self.size * len(value), *value.shape[1:])
        # The first is torch 2.13's name for it, which 2.9 does not know; the second warns there.
        gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
        # As bytes: gloo does not know all types.
        gather(result.view(torch.uint8), value.contiguous().view(torch.uint8))
        return result

    def take_from_first(self, values: Iterable[Tensor]) -> None:
        """Make tensors what they are in the first process, in place."""
        if self.size > 1:
            for value in values:
                dist.broadcast(value, 0)

    def most(self, value: float, device: torch.device) -> float:
        """The largest of a number in all processes, so that all of them decide alike."""
        if self.size == 1:
            return value
        values = torch.tensor([value], dtype=torch.float64, device=device)
        dist.all_reduce(values, dist.ReduceOp.MAX)
        return float(values.item())

    def wait(self) -> None:
        """Go on when all processes have come here."""
        if self.size > 1:
            dist.barrier(device_ids=[torch.cuda.current_device()] if dist.get_backend() == "nccl" else None)


@contextmanager
def processes(device: torch.device) -> Iterator[Processes]:
    """Join the processes that `torchrun` started, if it did; leave them at the end.

    After an error that this process alone may have met, it stays among them on GPUs: to leave, NCCL would wait for the
    others, who wait for this one. Who calls must end the process (`is_awaited`), by which `torchrun` ends the others.

    Raises:
        ConfigError: if the environment does not say where they meet.
    """
    if world_size() == 1:
        yield Processes()
        return
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        if name not in os.environ:
            raise ConfigError(
                f"{name}: not in the environment, though WORLD_SIZE is {world_size()}; start it by torchrun, or unset "
                "WORLD_SIZE"
            )
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    together = True
    try:
        yield Processes(dist.get_rank(), dist.get_world_size())
    except Interrupted:  # by all, at the same step
        raise
    except BaseException:
        together = device.type != "cuda"
        raise
    finally:
        if together:
            dist.destroy_process_group()


def is_awaited() -> bool:
    """Whether this process is still among others on GPUs, after an error."""
    return dist.is_initialized() and dist.get_backend() == "nccl"


def world_size() -> int:
    """How many processes `torchrun` has started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def device_of_process(name: str) -> torch.device:
    """The device of this process: under `torchrun` each one takes a GPU of its own, where there are any.

    Raises:
        ConfigError: if this machine has no such device, or all processes would share one GPU.
    """
    if world_size() == 1:
        return choose_device(name)
    if name.startswith("cuda:"):
        raise ConfigError(f"device {name!r}: each process takes a GPU of its own; use --device cuda")
    if not torch.cuda.is_available() or name not in {"auto", "cuda"}:
        return choose_device(name)
    if "LOCAL_RANK" not in os.environ:
        raise ConfigError("LOCAL_RANK: not in the environment, so which GPU is this process's? Start it by torchrun")
    number, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if number >= there:
        raise ConfigError(f"process {number}: this machine has {there} GPUs; use torchrun --nproc-per-node {there}")
    return choose_device(f"cuda:{number}")
