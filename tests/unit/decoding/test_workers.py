"""Batches searched side by side: order, errors, and processes that leave nothing behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from seq2seq.config import DecodingConfig
from seq2seq.decoding.engine import Task
from seq2seq.decoding.search import Hypothesis
from seq2seq.decoding.workers import Workers
from seq2seq.errors import DecodingError

CONFIG = DecodingConfig()
linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")


class Fake:
    """Finds for each task its own token, then the process, the thread, and torch's threads there."""

    max_length = 10

    def __init__(self, workers: int, in_processes: bool) -> None:
        self.workers, self.in_processes = workers, in_processes

    def check(self, config: DecodingConfig) -> None:
        pass

    def prepare(self, config: DecodingConfig) -> None:
        self.prepared_in = os.getpid(), config

    def search(self, tasks: Sequence[Task], config: DecodingConfig) -> list[list[Hypothesis]]:
        (task,) = tasks
        match task.tokens[0]:
            case 100:
                raise DecodingError("one hundred is too many")
            case 200:
                os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.01)
        return [[Hypothesis((task.tokens[0], os.getpid(), threading.get_ident(), torch.get_num_threads()), 0.0, 0.0)]]


def batches(*tokens: int) -> list[list[Task]]:
    return [[Task([token], 1, 9, ())] for token in tokens]


def found(workers: Workers, *tokens: int) -> list[tuple[int, ...]]:
    return [hypothesis.tokens for ((hypothesis,),) in workers.search(batches(*tokens), CONFIG)]


@pytest.mark.parametrize("in_processes", [False, pytest.param(True, marks=linux)])
def test_results_come_in_order_from_several_workers_of_one_thread(in_processes: bool) -> None:
    before = torch.get_num_threads()
    results = found(Workers(Fake(3, in_processes)), *range(1, 31))
    assert [token for token, *_ in results] == list(range(1, 31))
    assert {threads for *_, threads in results} == {1}
    processes, threads = ({result[place] for result in results} for place in (1, 2))
    assert len(processes) > 1 and os.getpid() not in processes if in_processes else len(threads) > 1
    assert torch.get_num_threads() == before


def test_threads_are_as_many_as_torch_has_outside_of_them() -> None:
    class Threaded(Fake):
        """As our own engine where there are no processes."""

        def __init__(self) -> None:
            self.in_processes = False

        @property
        def workers(self) -> int:  # type: ignore[override]
            return torch.get_num_threads()

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert len({result[2] for result in found(Workers(Threaded()), *range(1, 31))}) > 1
    finally:
        torch.set_num_threads(before)


@linux
def test_what_processes_share_is_made_before_they_are() -> None:
    engine = Fake(2, True)
    found(Workers(engine), 1, 2)
    assert engine.prepared_in == (os.getpid(), CONFIG)


@pytest.mark.parametrize(("workers", "tokens"), [(1, (1, 2, 3)), (4, (1,))])
def test_one_batch_or_one_worker_is_searched_here(workers: int, tokens: tuple[int, ...]) -> None:
    results = found(Workers(Fake(workers, True)), *tokens)
    assert {result[1:3] for result in results} == {(os.getpid(), threading.get_ident())}


@pytest.mark.parametrize("in_processes", [False, pytest.param(True, marks=linux)])
def test_errors_are_those_of_the_engine(in_processes: bool) -> None:
    workers = Workers(Fake(2, in_processes))
    with pytest.raises(DecodingError, match=r"^one hundred is too many$"):
        found(workers, 1, 100, 2)
    assert [token for token, *_ in found(workers, 1, 2)] == [1, 2], "and it goes on"


@linux
def test_a_killed_worker_is_told_and_replaced() -> None:
    workers = Workers(Fake(2, True))
    with pytest.raises(DecodingError, match=r"a worker process was killed.*lower decoding\.batch_size"):
        found(workers, 1, 200, 2)
    assert [token for token, *_ in found(workers, 1, 2)] == [1, 2]


def ends(pid: int, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


@linux
def test_a_fork_has_workers_of_its_own() -> None:
    """As of a server that loads before it forks."""
    workers = Workers(Fake(2, True))
    before = {result[1] for result in found(workers, 1, 2, 3, 4)}
    answers = multiprocessing.get_context("fork").SimpleQueue()
    fork = multiprocessing.get_context("fork").Process(target=lambda: answers.put(found(workers, 1, 2, 3, 4)))
    fork.start()
    fork.join(30)
    fork.kill()
    assert fork.exitcode == 0, "it waits for workers that are not its own"
    results = answers.get()
    assert [token for token, *_ in results] == [1, 2, 3, 4]
    assert not {result[1] for result in results} & before


@linux
def test_a_process_that_may_have_no_children_has_threads() -> None:
    with multiprocessing.get_context("fork").Pool(1) as pool:
        results = pool.apply(_found_there)
    assert [token for token, *_ in results] == [1, 2, 3]
    assert len({process for _, process, *_ in results}) == 1


def _found_there() -> list[tuple[int, ...]]:
    return found(Workers(Fake(2, True)), 1, 2, 3)


@linux
def test_workers_end_with_the_object() -> None:
    workers = Workers(Fake(2, True))
    processes = {result[1] for result in found(workers, 1, 2, 3, 4)}
    del workers
    assert all(ends(process, 10) for process in processes)


@linux
def test_workers_end_when_their_parent_is_killed() -> None:
    program = (
        "import sys, time; from tests.unit.decoding.test_workers import Fake, Workers, found\n"
        "workers = Workers(Fake(2, True)); print(*{each[1] for each in found(workers, *range(8))}, flush=True)\n"
        "time.sleep(60)"
    )
    root = Path(__file__).resolve().parents[3]
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=root) as parent:
        assert parent.stdout is not None
        processes = [int(process) for process in parent.stdout.readline().split()]
        parent.kill()
    assert processes and all(ends(process, 15) for process in processes)
