"""The translations that a report compares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

MOST_SYSTEMS = 3  # beside each other


class System(NamedTuple):
    """A named set of translations, a line for each sentence of the test set."""

    name: str
    lines: Sequence[str]
    slot: int  # chooses its colour
    origin: str  # how they came about, for people
