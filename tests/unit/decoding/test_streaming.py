"""Chunks are what has arrived: all of it, in order, in bounded memory, and without waiting for more."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq.decoding.streaming import as_they_come


@given(st.lists(st.integers()), st.integers(1, 5))
@settings(max_examples=30)
def test_all_items_come_in_order_in_chunks_of_bounded_size(items: list[int], limit: int) -> None:
    chunks = list(as_they_come(items, limit))
    assert list(itertools.chain(*chunks)) == items
    assert all(0 < len(chunk) <= limit for chunk in chunks)


def test_an_item_does_not_wait_for_the_next() -> None:
    waiting: queue.Queue[int | None] = queue.Queue()
    chunks = as_they_come(iter(waiting.get, None), 100)
    for number in range(3):
        waiting.put(number)
        assert next(chunks) == [number]  # would wait for ever if it wanted more
    waiting.put(None)
    assert list(chunks) == []


def test_what_is_waiting_comes_together() -> None:
    read = threading.Event()

    def items() -> Iterator[int]:
        yield from range(50)
        read.set()
        yield 50

    chunks = as_they_come(items(), 100)
    first = next(chunks)
    assert read.wait(10)
    rest = list(chunks)
    assert [*first, *itertools.chain(*rest)] == list(range(51))
    assert len(rest) <= 2


@pytest.mark.parametrize("seconds", [0.0, 0.01])
def test_full_chunks_do_not_depend_on_how_fast_items_come(seconds: float) -> None:
    def items() -> Iterator[int]:
        for number in range(11):
            time.sleep(seconds)
            yield number

    assert [len(chunk) for chunk in as_they_come(items(), 4, full=True)] == [4, 4, 3]


def test_endless_input_is_read_ahead_by_the_limit_only() -> None:
    taken = 0

    def endless() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    chunks = as_they_come(endless(), 10)
    seen = sum(len(next(chunks)) for _ in range(3))
    time.sleep(0.05)
    assert taken <= seen + 10 + 1  # one is in the reader's hand
    chunks.close()


def test_reading_stops_when_the_consumer_stops() -> None:
    stopped = threading.Event()

    def endless() -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            stopped.set()

    chunks = as_they_come(endless(), 10)
    next(chunks)
    chunks.close()
    assert stopped.wait(10)


def test_a_reader_that_waits_for_input_does_not_keep_the_consumer() -> None:
    waiting: queue.Queue[int | None] = queue.Queue()
    chunks = as_they_come(iter(waiting.get, None), 10)
    waiting.put(1)
    assert next(chunks) == [1]
    chunks.close()
    waiting.put(None)


@pytest.mark.parametrize("full", [False, True])
def test_errors_come_after_the_items_before_them(full: bool) -> None:
    def broken() -> Iterator[int]:
        yield from range(25)
        raise OSError("the disk is gone")

    seen: list[int] = []
    with pytest.raises(OSError, match="the disk is gone"):
        for chunk in as_they_come(broken(), 10, full=full):
            seen += chunk
    assert seen == list(range(25))
