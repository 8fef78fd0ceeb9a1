"""`seq2seq settings`: the reference page of every setting."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Iterator
from typing import Any

import click

from seq2seq.config import PRESETS, Config
from seq2seq.errors import ConfigError
from seq2seq.settings import Setting, reference, type_name

_WIDTH = 100


@click.command()
@click.argument("section", required=False)
def settings(*, section: str | None) -> None:
    """List all settings with type, default and meaning.

    With SECTION, such as model or training.steps, only those.
    """
    rows = list(reference(Config))
    if section:
        chosen = [row for row in rows if row[0] == section or row[0].startswith(f"{section}.")]
        if not chosen:
            raise ConfigError(_unknown(section, [name for name, _ in rows]))
        rows = chosen
    click.echo("\n".join(_page(rows)))


def _page(rows: list[tuple[str, Setting]]) -> Iterator[str]:
    table = None
    for name, setting in rows:
        owner = name.rpartition(".")[0]
        if owner != table:
            if table is not None:
                yield ""
            yield _heading(owner)
            table = owner
        yield f"{setting.name} = {_toml(setting.default)}  ({type_name(setting.type)})"
        yield textwrap.fill(setting.meaning, _WIDTH, initial_indent="    ", subsequent_indent="    ")
        if name == "model.preset":
            for preset, values in PRESETS.items():
                if values:
                    sizes = ", ".join(f"{key} = {_toml(value)}" for key, value in values.items())
                    yield textwrap.fill(
                        f"{preset}: {sizes}", _WIDTH, initial_indent="    ", subsequent_indent="        "
                    )


def _heading(table: str) -> str:
    """The table's TOML heading: training corpora and stages of a curriculum are lists of tables."""
    return f"[[{table}]]" if table in ("data.train", "data.curriculum") else f"[{table}]"


def _toml(value: Any) -> str:
    """A default as TOML writes it."""
    match value:
        case None:
            return "{}"
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case tuple():
            return f"[{', '.join(map(_toml, value))}]"
        case _:
            return str(value)


def _unknown(section: str, names: list[str]) -> str:
    sections = list(dict.fromkeys(name.split(".")[0] for name in names))
    close = difflib.get_close_matches(section, [*sections, *names], n=1)
    hint = f"did you mean `{close[0]}`?" if close else f"there are {', '.join(sections)}"
    return f"{section!r}: no such section or setting; {hint}"
