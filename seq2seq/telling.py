"""Lines for people: one at a time, and about how far long work has come, now and then."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import IO


def say(line: str) -> None:
    """Write a line for people to stderr; stdout belongs to results."""
    try:
        print(line, file=sys.stderr, flush=True)
    except (BlockingIOError, RuntimeError):  # full for now, or a signal's line while another one is being written
        pass
    except (OSError, ValueError):  # a full disk, or nobody reads: work that goes well is not ended by it
        drop(sys.stderr)


def drop(stream: IO[str]) -> None:
    """Have what is written to a stream go nowhere, from here on."""
    with suppress(OSError, ValueError):
        number = stream.fileno()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, number)
        os.close(null)


def silent(line: str) -> None:
    """Say nothing."""


def now_and_then(say: Callable[[str], object], line: Callable[[int], str], seconds: float) -> Callable[[int], None]:
    """What counts things that are done, and tells of them at most once in so many seconds.

    Args:
        say: takes a line.
        line: makes one of the number of things that are done.
        seconds: between two lines.

    Returns:
        What is to be called with the number of things done since the last call.
    """
    done, told = 0, time.monotonic()

    def count(number: int) -> None:
        nonlocal done, told
        done += number
        if time.monotonic() - told >= seconds:
            say(line(done))
            told = time.monotonic()

    return count
