"""Processes of one thread each that share the batches of a training on a CPU.

The operations of a small model are short, and two threads that share one wait for each other much of the time. Two
processes meet once a step. The first one is the training itself; the others, its helpers, are started by it and end
with it, compute the gradients of their parts of each batch, and write and say nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from seq2seq.config import Config, save_config
from seq2seq.errors import TrainingError
from seq2seq.training.distributed import Processes, processes, sharing_processes, world_size

_RANK = "SEQ2SEQ_HELPER_RANK"  # environment of a helper; its working folder is that of the training


@contextmanager
def training_processes(config: Config, run: Path, device: torch.device) -> Iterator[Processes]:
    """The processes that train together: those of `torchrun`, or on a CPU as many as the config says.

    Raises:
        TrainingError: if a helper ended before its time.
    """
    size = config.training.cpu_processes
    if rank := os.environ.get(_RANK):
        with sharing_processes(_meeting(Path(sys.argv[1])), int(rank), size) as group:
            yield group
    elif size == 1 or device.type != "cpu" or world_size() > 1:
        with processes(device) as group:
            yield group
    else:
        with _helpers(config, run, size) as folder, sharing_processes(_meeting(folder), 0, size) as group:
            yield group


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


def _meeting(folder: Path) -> Path:
    return folder.resolve() / "meeting"


@contextmanager
def _helpers(config: Config, run: Path, size: int) -> Iterator[Path]:
    """Have helpers that are about to join; a folder that they know. This process has one thread as long."""
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_config(config, folder / "config.toml")
        helpers = [_start(folder, run, rank) for rank in range(1, size)]
        torch.set_num_threads(1)
        try:
            _wait_for(helpers, folder)
            try:
                yield folder
            except RuntimeError as error:  # of gloo: the connection is closed
                if lost := next((helper for helper in helpers if _status(helper)), None):
                    raise _lost(lost, folder) from error
                raise
            for helper in helpers:
                helper.wait()
        finally:
            torch.set_num_threads(threads)
            for helper in helpers:
                helper.kill()
                helper.communicate()


def _start(folder: Path, run: Path, rank: int) -> subprocess.Popen[bytes]:
    environment = {**os.environ, _RANK: str(rank), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "seq2seq.training.helpers", str(folder), str(run)]
    with (folder / "said").open("ab") as said:
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=said)


def _wait_for(helpers: Sequence[subprocess.Popen[bytes]], folder: Path) -> None:
    """Wait until all helpers have said that they are there."""
    for helper in helpers:
        assert helper.stdout is not None
        if not helper.stdout.readline():
            raise _lost(helper, folder)


def _status(helper: subprocess.Popen[bytes]) -> int:
    """The exit status of a helper; 0 if it has none within some seconds."""
    try:
        return helper.wait(timeout=5)
    except subprocess.TimeoutExpired:
        return 0


def _lost(helper: subprocess.Popen[bytes], folder: Path) -> TrainingError:
    why = "it was killed, maybe for want of memory"
    if _status(helper) > 0:  # not by a signal
        why = (folder / "said").read_text(encoding="utf-8", errors="replace").strip().split("\n")[-1]
    return TrainingError(
        f"a process that shares the batches has ended: {why}; go on with --resume, or with training.cpu_processes = 1"
    )


def _help() -> None:
    """Be a helper: train, without a word, until the training ends."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which tells us at the end of its step
    from seq2seq.config import load_config
    from seq2seq.data.processes import end_with
    from seq2seq.errors import Interrupted
    from seq2seq.training.trainer import train

    end_with(os.getppid())
    folder, run = map(Path, sys.argv[1:])
    config = load_config(folder / "config.toml")
    print(flush=True)
    try:
        train(config, run, device="cpu", resume=True)
    except Interrupted:
        sys.exit(0)


if __name__ == "__main__":
    _help()
