"""Work in blocks, shared among processes: a few blocks at a time, in bounded memory."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from itertools import chain, islice
from typing import Any

from seq2seq.errors import DataError

_WATCH_S = 1.0  # between a worker's looks at whether its parent is still there


class WorkerKilled(DataError):
    """A process that shared the work was killed; what was complete is kept."""


def cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_processes(
    work: Callable[..., int], jobs: Iterable[tuple[Any, ...]], begin: Callable[[], object], workers: int
) -> Iterator[int]:
    """What `work(*job)` returns for each job, in their order; a single job is done in this process.

    Args:
        work: a function of a module.
        jobs: arguments of each call; taken as they are needed.
        begin: makes a process ready.
        workers: the number of processes.

    Raises:
        WorkerKilled: if a process was.
    """
    jobs = iter(jobs)
    first = list(islice(jobs, 2))
    if len(first) < 2 or workers == 1:
        begin()
        yield from (work(*job) for job in chain(first, jobs))
        return
    # `end_with` needs workers that are our children, which those of a fork server are not.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(workers, context, initializer=partial(_begin, begin, os.getpid())) as pool:
        waiting: deque[Future[int]] = deque()
        try:
            for job in chain(first, jobs):
                with undisturbed():
                    waiting.append(pool.submit(work, *job))
                while len(waiting) > 2 * workers or (waiting and waiting[0].done()):
                    yield waiting.popleft().result()
            for done in waiting:
                yield done.result()
        except BrokenProcessPool:
            raise WorkerKilled(
                "a worker process was killed, maybe for want of memory; run it again (`seq2seq train`: with --resume, "
                "without --overwrite)"
            ) from None
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait until the end: within, pools may start processes.

    A pool that is interrupted then ends none of those that it has started, and they never end; and a process that was
    just forked and takes the signal as we do does all that we would do then.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    came: list[int] = []
    found = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = {number: handler for number, handler in found.items() if handler is not None}  # None: not of Python
    for number in before:
        signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for late in came:
            signal.raise_signal(late)


def _begin(begin: Callable[[], object], parent: int) -> None:
    """Make a fresh worker process ready."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with(parent)
    begin()


def end_with(parent: int) -> None:
    """Let this process end when its parent is gone, however it went."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
