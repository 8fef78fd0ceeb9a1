"""Work among processes: results in order, errors told, and no process where there is one job."""

from __future__ import annotations

import os
import signal

import pytest

from seq2seq.data.processes import in_processes
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
