"""How much memory there is, and how much this process has held."""

from __future__ import annotations

import os
import sys


def peak_memory_mb() -> int:
    """The most memory that this process has held, in megabytes; 0 where the system does not tell."""
    return _peak("RUSAGE_SELF")


def peak_memory_of_children_mb() -> int:
    """The most that one of the processes has held that this one has started, and that have ended."""
    return _peak("RUSAGE_CHILDREN")


def _peak(whose: str) -> int:
    try:
        import resource
    except ImportError:  # not on Windows
        return 0
    peak = resource.getrusage(getattr(resource, whose)).ru_maxrss
    return round(peak / (1024**2 if sys.platform == "darwin" else 1024))


def total_memory_mb() -> int:
    """The memory of this machine, in megabytes; 0 where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024**2
    except (AttributeError, ValueError, OSError):
        return 0
