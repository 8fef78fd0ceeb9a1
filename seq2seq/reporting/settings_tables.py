"""The settings of runs beside each other: those that differ, and all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import chain
from typing import Any

from seq2seq.config import Config, DataConfig, config_to_dict, relative_paths
from seq2seq.reporting.page import note, table, who
from seq2seq.reporting.runs import Run
from seq2seq.settings import declared, flat, reference


def settings_tables(runs: Sequence[Run]) -> str:
    """What differs among the runs, then all settings, folded up."""
    # Each run has its own text, and so on, in its own folder: that is no difference.
    values = [flat(config_to_dict(relative_paths(run.config, run.folder))) for run in runs]
    lists = {f"data.{name}": declared(DataConfig)[name] for name in ("train", "curriculum")}  # each is one value
    known = {**dict(reference(Config)), **lists}
    names = list(dict.fromkeys(chain(*values)))
    header = ["setting", *(who(run.name, run.slot) for run in runs)]

    def rows(wanted: Sequence[str]) -> str:
        meanings = {name: escape(known[name].meaning) for name in wanted}
        cells = [
            [f"{name}<small>{meanings[name]}</small>", *(escape(shown(each.get(name))) for each in values)]
            for name in wanted
        ]
        return table(header, cells, text_columns=len(header))

    different = differing(values)
    everything = f"<details><summary>All {len(names)} settings</summary>{rows(names)}</details>"
    if len(runs) == 1:
        changed = [name for name in names if values[0].get(name) != _plain(known[name].default)]
        return f"{note('Settings that are not the defaults.')}{rows(changed)}{everything}"
    if not different:
        return f"{note('All settings are the same, but for what lies in the folder of each run.')}{everything}"
    return f"{rows([name for name in names if name in different])}{everything}"


def differing(values: Sequence[Mapping[str, Any]]) -> set[str]:
    """The names of settings that do not have the same value everywhere."""
    names = set().union(*values)
    return {name for name in names if any(each.get(name) != values[0].get(name) for each in values)}


def shown(value: Any) -> str:
    """A value for people; of a corpus, only what says something."""
    match value:
        case None | "":
            return "–"
        case bool():
            return "true" if value else "false"
        case Mapping():
            told = {"drop_empty": True, "weight": 1.0, "split": "train"}
            given = {name: each for name, each in value.items() if each != "" and told.get(name) != each}
            return ", ".join(f"{name} {shown(each)}" for name, each in given.items())
        case [*items]:
            return "; ".join(map(shown, items)) or "–"
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def _plain(default: Any) -> Any:
    return list(default) if isinstance(default, tuple) else default
