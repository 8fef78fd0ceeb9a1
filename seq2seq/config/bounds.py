"""Checks of settings, which name the setting and its value."""

from __future__ import annotations

from seq2seq.errors import ConfigError


def at_least(name: str, value: float, least: float) -> None:
    """Refuse a value below the least one.

    Raises:
        ConfigError: which names the setting.
    """
    if not value >= least:
        raise ConfigError(f"`{name}` = {value}: must be at least {least}")


def within(name: str, value: float, low: float, high: float) -> None:
    """Refuse a value that is not from `low` to `high`.

    Raises:
        ConfigError: which names the setting.
    """
    if not low <= value <= high:
        raise ConfigError(f"`{name}` = {value}: must be from {low} to {high}")


def check_tag(name: str, tag: str) -> None:
    """Refuse a tag that is not one word.

    Raises:
        ConfigError: which names the setting.
    """
    if len(tag.split()) > 1 or tag != tag.strip():
        raise ConfigError(f"`{name}` = {tag!r}: has space in it; write it as one word, such as <2de>")
