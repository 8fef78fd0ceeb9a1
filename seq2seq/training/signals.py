"""Ctrl-C and SIGTERM during training."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class StopRequest:
    """Whether a signal has asked for the end of training after the step at hand."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.was_made = False
        self._tell = tell

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """Let Ctrl-C and SIGTERM make the request; a second one ends training at once."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may set handlers
            return

        def request(number: int, frame: FrameType | None) -> None:
            self.was_made = True
            signal.signal(number, before[number])
            self._tell("stopping after this step, to save (once more: stop at once)")

        found = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        # One that is ignored, as in a shell's background, stays so; and so does what Python has no name for.
        before: dict[int, Any] = {n: handler for n, handler in found.items() if handler not in (signal.SIG_IGN, None)}
        for number in before:
            signal.signal(number, request)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
