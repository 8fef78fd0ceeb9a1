"""Batches searched side by side, by threads or by processes of one thread each.

A search in Python is many short operations, and Python runs one thread at a time: two threads of it wait for each other
much of the time. So on Linux, our own search has processes. They are forked: they share the model's memory, and start
at once. Engines whose search is a single long call have threads, and so have other systems, and processes that may have
no children.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.util import Finalize

import torch

from seq2seq.config import DecodingConfig
from seq2seq.data.processes import end_with, undisturbed
from seq2seq.decoding.engine import Engine, Task
from seq2seq.decoding.search import Hypothesis
from seq2seq.errors import DecodingError

_engine: Engine | None = None  # of a worker process


class Workers:
    """As many workers as an engine asks for; they are there until the object is not used any more."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._pool: Executor | None = None
        self._parent = 0  # of the pool

    def search(
        self, batches: Sequence[Sequence[Task]], config: DecodingConfig
    ) -> Iterator[list[list[Hypothesis]]]:
        """What the engine finds for each batch, in order.

        Raises:
            DecodingError: if a worker process was killed.
        """
        if min(self._engine.workers, len(batches)) <= 1:
            yield from (self._engine.search(batch, config) for batch in batches)
        elif self._engine.in_processes and sys.platform == "linux" and not multiprocessing.current_process().daemon:
            if self._pool is None or self._parent != os.getpid():  # a fork of us has no use for our pool
                self._engine.prepare(config)
                with undisturbed():
                    self._pool, self._parent = _processes(self._engine), os.getpid()
                    # When the object goes, or this process ends, which waits for its children; not where a fork of it
                    # does. Queues are closed at an end with a priority of 10: that must come after.
                    Finalize(self, self._pool.shutdown, exitpriority=20)
            try:
                yield from self._pool.map(_search, batches, [config] * len(batches))
            except BrokenProcessPool:
                self._pool = None
                raise DecodingError(
                    "a worker process was killed, maybe for want of memory; lower decoding.batch_size, or set "
                    "OMP_NUM_THREADS=1"
                ) from None
        else:
            workers = self._engine.workers  # maybe the number of torch's threads, so asked before that changes
            with _one_thread_each(), ThreadPoolExecutor(workers) as pool:
                yield from pool.map(lambda batch: self._engine.search(batch, config), batches)


def _processes(engine: Engine) -> Executor:
    context = multiprocessing.get_context("fork")  # what is passed is there already, not sent
    pool = ProcessPoolExecutor(engine.workers, context, initializer=_begin, initargs=(engine, os.getpid()))
    pool.submit(os.getpid)  # any work starts all of them
    return pool


def _begin(engine: Engine, parent: int) -> None:
    """Make a fresh worker process ready."""
    global _engine  # noqa: PLW0603
    _engine = engine
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
    end_with(parent)


def _search(batch: Sequence[Task], config: DecodingConfig) -> list[list[Hypothesis]]:
    assert _engine is not None
    return _engine.search(batch, config)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Inside, operations of torch use one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
