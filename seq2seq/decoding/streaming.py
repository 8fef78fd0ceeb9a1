"""Input that may still be arriving, in chunks of what has arrived."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterable
from contextlib import closing
from typing import Generic, TypeVar

T = TypeVar("T")

_PATIENCE_S = 0.2  # how long an abandoned reader is waited for


def as_they_come(items: Iterable[T], limit: int, *, full: bool = False) -> Generator[list[T], None, None]:
    """Chunks of the items that are there: one when they trickle in, up to `limit` when there are many.

    If `full`, all chunks but the last have `limit` items, so that they are the same each time.

    The items are read by a thread, ahead of their use by at most `limit`, so an endless input takes bounded memory. An
    error while reading is raised after all items before it. When the consumer stops, so does the reading; a reader that
    is waiting for input by then is left behind (it is a daemon).
    """
    with closing(_Reader(items, limit)) as reader:
        while chunk := reader.take(limit if full else 1):
            yield chunk


class _Reader(Generic[T]):
    """A thread that reads items into a bounded buffer."""

    def __init__(self, items: Iterable[T], limit: int) -> None:
        self._items = items
        self._limit = limit
        self._buffer: deque[T] = deque()
        self._change = threading.Condition()
        self._ended = False  # no more items will come
        self._closed = False  # no more items are wanted
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._read, name="reader of input", daemon=True)
        self._thread.start()

    def take(self, least: int) -> list[T]:
        """All that is waiting, as soon as there are so many, or no more come; empty at the end.

        Raises:
            BaseException: what reading the items raised, once all items before it are taken.
        """
        with self._change:
            self._change.wait_for(lambda: len(self._buffer) >= least or self._ended)
            if not self._buffer and self._error is not None:
                raise self._error
            chunk = list(self._buffer)
            self._buffer.clear()
            self._change.notify_all()
            return chunk

    def close(self) -> None:
        """Stop reading."""
        with self._change:
            self._closed = True
            self._change.notify_all()
        self._thread.join(_PATIENCE_S)

    def _read(self) -> None:
        try:
            for item in self._items:
                if not self._put(item):
                    return
        except BaseException as error:
            self._error = error
        finally:
            with self._change:
                self._ended = True
                self._change.notify_all()

    def _put(self, item: T) -> bool:
        """Add an item when there is room; False if it is not wanted any more."""
        with self._change:
            self._change.wait_for(lambda: len(self._buffer) < self._limit or self._closed)
            self._buffer.append(item)
            self._change.notify_all()
            return not self._closed
