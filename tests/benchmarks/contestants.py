"""Contestants of a benchmark: each in a process of its own, all started first, then called upon in turn.

Each keeps its model between the rounds, so that only the work is timed, has its own allocator and threads, and its peak
memory is its own. A contestant is a program of this folder that prints one line of JSON for each line it reads.
"""

from __future__ import annotations

import ctypes.util
import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
Result = dict[str, Any]


class Contestant:
    """A process that waits to be told to work."""

    def __init__(self, name: str, module: str, arguments: Sequence[object], environment: Mapping[str, str]) -> None:
        """Start `python -m MODULE ARGUMENTS`, and wait until it is ready."""
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, **environment}, cwd=ROOT, text=True, encoding="utf-8",
        )  # fmt: skip
        self.ready = self._answer()

    def work(self) -> Result:
        """Let it do its work once; what it measured."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=60)

    def _answer(self) -> Result:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name}: ended with status {self._process.wait()}")
        answer: Result = json.loads(line)
        return answer


def serve(work: Callable[[], Result], **ready: Any) -> None:
    """What a contestant's program does once it is ready: work whenever it is told to."""
    print(json.dumps(ready), flush=True)
    for _ in sys.stdin:
        result = work()
        result["peak_megabytes"] = round(_peak_kilobytes() / 1024)
        print(json.dumps(result), flush=True)


def _peak_kilobytes() -> int:
    """The peak of this process, and what its own workers, which share its memory, have beside."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    total = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for child in children.read_text(encoding="utf-8").split() if children.exists() else ():
        lines = Path(f"/proc/{child}/smaps_rollup").read_text(encoding="utf-8").split("\n")
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
    return total


def in_turn(contestants: Sequence[Contestant], rounds: int, warm_up: int = 1) -> dict[str, list[Result]]:
    """The results of each contestant; A B C, A B C, ..., so that all have the same share of a machine's moods."""
    results: dict[str, list[Result]] = {contestant.name: [] for contestant in contestants}
    for number in range(warm_up + rounds):
        for contestant in contestants:
            result = contestant.work()
            if number >= warm_up:
                results[contestant.name].append(result)
            say(f"round {number + 1 - warm_up} of {rounds}: {contestant.name}: {json.dumps(shown(result))}")
    return results


def middle(results: Sequence[Result], key: str) -> float:
    """The median of one figure."""
    return median(result[key] for result in results)


def shown(result: Result) -> Result:
    """A result without its long parts."""
    return {key: value for key, value in result.items() if not isinstance(value, list)}


def jemalloc() -> str | None:
    """The jemalloc library of this machine (Debian: libjemalloc2), if it has one."""
    name = ctypes.util.find_library("jemalloc")
    folders = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib")
    places = [Path(folder) / (name or "") for folder in folders]
    return next((str(place) for place in places if name and place.is_file()), name)


def peak_gflops() -> float:
    """What this machine does in float32, in GFLOP/s: the best of some products of large matrices, on all cores."""
    import time

    import torch

    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    torch.mm(a, b)
    seconds = []
    for _ in range(7):
        began = time.perf_counter()
        torch.mm(a, b)
        seconds.append(time.perf_counter() - began)
    return 2 * 2048**3 / min(seconds) / 1e9


def machine() -> str:
    """Processor, cores and torch, in a line."""
    import torch

    processor = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n"):
        if line.startswith("model name"):
            processor = line.split(":", 1)[1].strip()
    return f"{processor}, {torch.get_num_threads()} cores, torch {torch.__version__}"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def say(line: str) -> None:
    """A line on stderr."""
    print(line, file=sys.stderr, flush=True)
