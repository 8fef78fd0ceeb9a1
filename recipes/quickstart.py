"""The user interface of Home Assistant (Apache-2.0) in some 60 languages: `python recipes/quickstart.py`.

The strings are read from a wheel which pip downloads. Other languages: `--set data.target_language=fr`.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seq2seq.config import Config
from seq2seq.data.corpus import SentencePair
from seq2seq.errors import RecipeError
from seq2seq.fetch import Package, fetch_wheel, one_line, write_text
from seq2seq.recipe import main_for

PACKAGE = Package(
    name="homeassistant",
    version="2026.11.0",
    sha256="7ca5fbde9dea879ac7723949fc84347aac5182e6309c357b2e4973fd391b00f7",
    megabytes=68,
)
_FILE = re.compile(r"(homeassistant/components/.+/translations)/([^/]+)\.json")


def fetch(config: Config, output: Path) -> None:
    """Write every distinct pair as training text; the `prepare` stage holds some out."""
    with zipfile.ZipFile(fetch_wheel(PACKAGE)) as wheel:
        source = strings(wheel, config.data.source_language)
        target = strings(wheel, config.data.target_language)
    pairs = dict.fromkeys(SentencePair(one_line(source[key]), one_line(target[key])) for key in source if key in target)
    write_text((pair for pair in pairs if _is_translated(pair)), config.data, output, "train")


def _is_translated(pair: SentencePair) -> bool:
    """Whether both sides say something, and not the same in four words or more, which nobody has translated yet."""
    if not pair.source or not pair.target:
        return False
    return pair.source != pair.target or len(pair.source.split()) < 4


def strings(wheel: zipfile.ZipFile, language: str) -> dict[str, str]:
    """All texts of a language by component and place in its JSON."""
    files = {
        match[1]: match[0] for name in wheel.namelist() if (match := _FILE.fullmatch(name)) and match[2] == language
    }
    if not files:
        known = sorted({match[2] for name in wheel.namelist() if (match := _FILE.fullmatch(name))})
        raise RecipeError(f"language {language!r}: Home Assistant has none such; it has {' '.join(known)}")
    return {
        key: text
        for component, name in sorted(files.items())
        for key, text in _leaves(json.loads(wheel.read(name)), component)
    }


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every text in a nested JSON value, with its path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}/{key}")
    elif isinstance(value, str):
        yield path, value


if __name__ == "__main__":
    main_for(__file__)
