"""What can be found, and how it is told."""

from __future__ import annotations

from typing import Literal, NamedTuple

Severity = Literal["error", "warning"]


class Finding(NamedTuple):
    """Something that is wrong: an error makes training go wrong, a warning makes it worse than it could be."""

    check: str
    severity: Severity
    message: str  # names the thing, the value and the remedy


def error(check: str, message: str) -> Finding:
    """Something by which training would go wrong."""
    return Finding(check, "error", message)


def warning(check: str, message: str) -> Finding:
    """Something by which a model would be worse than it could be."""
    return Finding(check, "warning", message)


def share(part: int, whole: int) -> str:
    """A part of a whole in per cent."""
    return f"{part / max(whole, 1):.1%}"
