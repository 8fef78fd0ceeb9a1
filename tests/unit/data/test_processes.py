"""Work among processes: results in order, errors told, no process where there is one job, and none left behind."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable

import pytest

from seq2seq.config import DecodingConfig
from seq2seq.data.processes import in_processes, undisturbed
from seq2seq.decoding.workers import Workers
from seq2seq.errors import DataError


def square(number: int) -> int:
    if number < 0:
        raise DataError(f"{number}: below 0")
    return number * number


def own_id(_: int) -> int:
    return os.getpid()


def killed(_: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def nothing() -> None:
    pass


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("number", [0, 1, 2, 25])
def test_results_come_in_the_order_of_the_jobs(workers: int, number: int) -> None:
    jobs = ((n,) for n in range(number))
    assert list(in_processes(square, jobs, nothing, workers)) == [n * n for n in range(number)]


def test_a_single_job_is_done_here() -> None:
    assert list(in_processes(own_id, [(1,)], nothing, 3)) == [os.getpid()]
    assert os.getpid() not in in_processes(own_id, [(1,), (2,)], nothing, 2)


def test_an_error_of_a_worker_is_the_callers() -> None:
    with pytest.raises(DataError, match="-1: below 0"):
        list(in_processes(square, [(3,), (-1,), (4,)], nothing, 2))


def test_a_killed_worker_is_told() -> None:
    with pytest.raises(DataError, match="a worker process was killed"):
        list(in_processes(killed, [(1,), (2,)], nothing, 2))


@pytest.fixture
def interrupted_forks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Processes that were forked since; Ctrl-C comes with the first."""
    forked: list[int] = []

    def fork(fork: Callable[[], int] = os.fork) -> int:
        process = fork()
        if process:
            forked.append(process)
            if len(forked) == 1:
                signal.raise_signal(signal.SIGINT)
        return process

    monkeypatch.setattr(os, "fork", fork)
    return forked


def ends(process: int) -> bool:
    for _ in range(200):
        try:
            if os.waitpid(process, os.WNOHANG)[0]:
                return True
        except ChildProcessError:  # the pool has waited for it
            return True
        time.sleep(0.05)
    os.kill(process, signal.SIGKILL)
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")
def test_a_pool_that_is_interrupted_in_starting_leaves_no_process(interrupted_forks: list[int]) -> None:
    with pytest.raises(KeyboardInterrupt):
        list(in_processes(square, [(1,), (2,), (3,)], nothing, 2))
    assert len(interrupted_forks) == 2 and all(ends(process) for process in interrupted_forks)


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")
def test_workers_that_are_interrupted_in_starting_leave_no_process(interrupted_forks: list[int]) -> None:
    class Engine:
        workers, in_processes = 2, True

        def prepare(self, config: DecodingConfig) -> None:
            pass

    def search() -> None:
        list(Workers(Engine()).search([[], []], DecodingConfig()))

    with pytest.raises(KeyboardInterrupt):
        search()
    assert len(interrupted_forks) == 2 and all(ends(process) for process in interrupted_forks)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_wait_for_what_is_undisturbed(number: int) -> None:
    came: list[int] = []
    before = signal.signal(number, lambda number, frame: came.append(number))
    with undisturbed():
        signal.raise_signal(number)
        assert came == []
    assert came == [number]
    signal.raise_signal(number)
    assert came == [number, number], "the handler is as it was"
    signal.signal(number, before)
