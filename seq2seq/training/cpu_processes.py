"""Processes of one thread each that share the batches of a training on a CPU.

The operations of a small model are short, and two threads that share one wait for each other much of the time. Two
processes meet once a step. The first one is the training itself; the others, its helpers, are started by it and end
with it, compute the gradients of their parts of each batch, and write and say nothing.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import distributed as dist

from seq2seq.config import Config, TrainingConfig, load_config, save_config
from seq2seq.data.processes import cores
from seq2seq.errors import ConfigError, Interrupted, TrainingError
from seq2seq.training.distributed import PATIENCE, Processes, processes, world_size

_RANK = "SEQ2SEQ_HELPER_RANK"  # environment of a helper
_MOST = 4  # processes, where the config leaves their number to us: each takes memory
_LOOK_S = 0.1  # between looks at whether the helpers are still there
_END_S = 5.0

Helpers = Sequence["subprocess.Popen[bytes]"]


def num_processes(config: TrainingConfig, device: torch.device) -> int:
    """How many processes share each batch on a device.

    Raises:
        ConfigError: if so many are asked for that this machine would not get anywhere.
    """
    if device.type != "cpu" or world_size() > 1:
        return 1
    if config.cpu_processes > _MOST * cores():
        raise ConfigError(
            f"`training.cpu_processes` = {config.cpu_processes}: this machine has {cores()} cores; give no more "
            "processes, or leave it out"
        )
    return config.cpu_processes or min(torch.get_num_threads(), _MOST)


@contextmanager
def training_processes(config: Config, run: Path, device: torch.device, size: int) -> Iterator[Processes]:
    """The processes that train together: those of `torchrun`, or `size` that share each batch.

    Raises:
        TrainingError: if a helper ended before its time, or another training in this process shares batches.
    """
    if rank := os.environ.get(_RANK):
        size = config.training.cpu_processes  # that the first process counted
        _join(Path(sys.argv[1]), int(rank), size)
        yield Processes(int(rank), size, share_batches=True)
        dist.destroy_process_group()
    elif size == 1:
        with processes(device) as group:
            yield group
    elif dist.is_initialized():
        raise TrainingError("`training.cpu_processes`: this program has joined others already; set it to 1")
    else:
        with _helpers(config, run, size):
            yield Processes(0, size, share_batches=True)


@contextmanager
def all_threads(group: Processes) -> Iterator[None]:
    """Inside, the first process has all the threads, while its helpers wait for it."""
    if not group.share_batches:
        yield
        return
    torch.set_num_threads(group.size)
    try:
        yield
    finally:
        torch.set_num_threads(1)


def _join(folder: Path, rank: int, size: int) -> None:
    store = dist.FileStore(str(folder / "meeting"), size)  # type: ignore[attr-defined]
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=PATIENCE)


@contextmanager
def _helpers(config: Config, run: Path, size: int) -> Iterator[None]:
    """Have helpers that have joined this process, which has one thread as long."""
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shared = replace(config, training=replace(config.training, cpu_processes=size))
        save_config(shared, folder / "config.toml")
        helpers = [_start(folder, run, rank) for rank in range(1, size)]
        torch.set_num_threads(1)
        try:
            _join_helpers(helpers, folder, size)
            try:
                yield
            except RuntimeError as error:  # of gloo: the connection is closed
                if _statuses(helpers):
                    raise _lost(helpers, folder, "go on with --resume, or with training.cpu_processes = 1") from error
                raise
            for helper in helpers:
                helper.wait()
        finally:
            torch.set_num_threads(threads)
            for helper in helpers:
                helper.kill()
                helper.wait()
            if dist.is_initialized():
                dist.destroy_process_group()


def _start(folder: Path, run: Path, rank: int) -> subprocess.Popen[bytes]:
    # It finds modules where we do, and not, as `python -m` would first, in the working folder.
    path = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, _RANK: str(rank), "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    command = [sys.executable, "-P", "-m", __name__, str(folder), str(run), str(os.getpid())]
    with (folder / f"said{rank}").open("wb") as said:
        return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said)


def _join_helpers(helpers: Helpers, folder: Path, size: int) -> None:
    """Wait for the helpers, which may end before they come: in another thread, since joining cannot be stopped."""
    failed: list[Exception] = []

    def join() -> None:
        try:
            _join(folder, 0, size)
        except Exception as error:
            failed.append(error)

    joining = threading.Thread(target=join, daemon=True)
    joining.start()
    while joining.is_alive():
        joining.join(_LOOK_S)
        if any(helper.poll() is not None for helper in helpers):
            raise _lost(helpers, folder, "try again, or with training.cpu_processes = 1")  # nothing has begun
    if failed:
        raise TrainingError(
            f"the processes that share the batches cannot meet: {failed[0]}; try again, or with "
            "training.cpu_processes = 1"
        ) from failed[0]


def _statuses(helpers: Helpers) -> list[int]:
    """The exit statuses of helpers that ended badly; where one has, the others end within some seconds."""
    end = time.monotonic() + _END_S
    while time.monotonic() < end and any(helper.poll() is None for helper in helpers):
        time.sleep(_LOOK_S)
    return [helper.returncode for helper in helpers if helper.returncode]


def _lost(helpers: Helpers, folder: Path, remedy: str) -> TrainingError:
    why = "it was killed, maybe for want of memory"
    if min(_statuses(helpers), default=-1) >= 0:  # none by a signal, whose end is not that of another
        files = [folder / f"said{rank}" for rank, helper in enumerate(helpers, 1) if helper.returncode]
        texts = [file.read_text(encoding="utf-8", errors="replace").strip() for file in files]
        why = next((text.split("\n")[-1] for text in texts if text), "it said nothing")
    return TrainingError(f"a process that shares the batches has ended: {why}; {remedy}")


def _help() -> None:
    """Be a helper: train, without a word, until the training ends."""
    from seq2seq.data.processes import end_with
    from seq2seq.training.trainer import train

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which tells us at the end of its step
    folder, run = map(Path, sys.argv[1:3])
    end_with(parent=int(sys.argv[3]))
    try:
        train(load_config(folder / "config.toml"), run, device="cpu", resume=True)
    except Interrupted:
        sys.exit(0)


if __name__ == "__main__":
    _help()
