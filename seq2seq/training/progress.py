"""What training tells: lines for people, `metrics.jsonl`, and TensorBoard where it is installed."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from seq2seq.files import atomic_write


class Meter:
    """Sums over the steps since the last report."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        self.smoothed = self.plain = 0.0
        self.tokens = self.steps = 0
        self.seconds = 0.0

    def add(self, smoothed: float, plain: float, tokens: int, seconds: float) -> None:
        """Take in one step: summed losses in nats, target tokens, and seconds."""
        self.smoothed += smoothed
        self.plain += plain
        self.tokens += tokens
        self.seconds += seconds
        self.steps += 1

    def report(self) -> dict[str, float]:
        """Loss and perplexity for each target token, and target tokens (padding not counted) a second."""
        plain = self.plain / self.tokens
        return {
            "loss": self.smoothed / self.tokens,
            "perplexity": math.exp(min(plain, 100.0)),
            "tokens_per_second": self.tokens / self.seconds,
            "steps_per_second": self.steps / self.seconds,
        }


class Journal:
    """Writes each record to `metrics.jsonl` and TensorBoard."""

    def __init__(self, run: Path, resume_step: int) -> None:
        """Open a run's journal; records after `resume_step` belong to steps that are done again, and go."""
        path = run / "metrics.jsonl"
        kept = []
        if path.exists():
            for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
                if _step_of(line) <= resume_step:
                    kept.append(line)
        with atomic_write(path) as file:
            file.writelines(f"{line}\n" for line in kept)
        self._file = path.open("a", encoding="utf-8", newline="")
        self._board = _tensorboard(run / "tensorboard", resume_step)

    def write(self, record: Mapping[str, float]) -> None:
        """Add a record; it must have a `step`."""
        self._file.write(json.dumps(dict(record)) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in record.items():
                if name != "step":
                    self._board.add_scalar(name, value, int(record["step"]))

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        if self._board is not None:
            self._board.close()


class NoJournal:
    """The journal of a process that does not write."""

    def write(self, record: Mapping[str, float]) -> None:
        """Write nothing."""

    def close(self) -> None:
        """Close nothing."""


class Clock:
    """Seconds of training, not counting validation and saving; goes on from what an earlier start spent."""

    def __init__(self, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._now = now
        self._last = now()

    def skip(self) -> None:
        """Leave out what has passed since the last call."""
        self._last = self._now()

    def lap(self) -> float:
        """Count what has passed since the last call, and return it."""
        now = self._now()
        passed, self._last = now - self._last, now
        self.seconds += passed
        return passed


def console_line(record: Mapping[str, float], steps: int, epoch: int, seconds_left: float) -> str:
    """A report as one line for people."""
    return (
        f"step {int(record['step']):,}/{steps:,} | epoch {epoch + 1} | loss {record['loss']:.3f} | "
        f"ppl {record['perplexity']:.2f} | {record['tokens_per_second']:,.0f} tok/s | "
        f"lr {record['learning_rate']:.2e} | gnorm {record['gradient_norm']:.2f} | left {duration(seconds_left)}"
    )


def duration(seconds: float) -> str:
    """Seconds in the largest two fitting units: `42s`, `3m 05s`, `2h 07m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02}m"


def _step_of(line: str) -> float:
    """The step of a record; beyond all steps if it is none, as one that was cut off when the process was killed."""
    try:
        record = json.loads(line)
    except ValueError:
        return math.inf
    step = record.get("step") if isinstance(record, dict) else None
    return step if isinstance(step, int | float) else math.inf


def _tensorboard(folder: Path, resume_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=resume_step + 1)
