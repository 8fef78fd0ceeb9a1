"""What a run directory tells of its training: settings, size, and what was measured on the way."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from seq2seq.checkpoint import resolve
from seq2seq.config import Config, load_config
from seq2seq.data.corpus import read_corpus
from seq2seq.errors import CheckpointError, DataError
from seq2seq.model.transformer import Transformer
from seq2seq.weights import parameters_of

Record = dict[str, float]


class Run(NamedTuple):
    """A run as a report needs it."""

    name: str
    path: Path  # the run, or one checkpoint of it
    folder: Path  # the run
    config: Config
    records: Sequence[Record]  # of metrics.jsonl
    parameters: int | None  # None where the run does not say how large its vocabulary is
    slot: int  # chooses its colour


def read_runs(paths: Sequence[Path], need_metrics: bool = True) -> list[Run]:
    """Read runs, named after their folders, or by their paths where two folders are of one name.

    Raises:
        CheckpointError: if one is not a run.
        DataError: if one has no metrics and they are needed, or is named twice.
    """
    doubled = {name for name, count in Counter(path.resolve().name for path in paths).items() if count > 1}
    names = [str(path) if path.resolve().name in doubled else path.resolve().name for path in paths]
    for name, count in Counter(names).items():
        if count > 1:
            raise DataError(f"{name}: is named {count} times; name each run once")
    return [_read_run(path, name, i, need_metrics) for i, (path, name) in enumerate(zip(paths, names, strict=True))]


def read_metrics(path: Path) -> list[Record]:
    """The records of a `metrics.jsonl`, of which only finite numbers count; none if there is no such file.

    A line that is not JSON, as the last one of a killed process, is passed over.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return []
    records = []
    for line in lines:
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(values, dict):
            records.append({name: float(value) for name, value in values.items() if _is_number(value)})
    return [record for record in records if "step" in record]


def training_sources(config: Config) -> Iterator[str] | None:
    """The source sides of the training pairs; None where a corpus is not in files of this machine."""
    corpora = config.data.train
    paths = [Path(path) for corpus in corpora for path in (corpus.source, corpus.target, corpus.path) if path]
    if not corpora or any(corpus.dataset for corpus in corpora) or not all(path.exists() for path in paths):
        return None
    pairs = (pair for corpus in corpora for pair in read_corpus(corpus, config.data.languages))
    return (pair.source for pair in pairs)


def _read_run(path: Path, name: str, slot: int, need_metrics: bool) -> Run:
    folder = path if (path / "config.toml").exists() else resolve(path)[0]
    if not (folder / "config.toml").exists():
        raise CheckpointError(f"{path}: not a run (no config.toml in it); expected a folder made by `seq2seq train`")
    records = read_metrics(folder / "metrics.jsonl")
    if need_metrics and not records:
        raise DataError(
            f"{folder / 'metrics.jsonl'}: no records of a training there, so nothing to draw; name another run, or "
            "give --source to translate with this one"
        )
    config = load_config(folder / "config.toml")
    return Run(name, path, folder, config, records, _num_parameters(config), slot)


def _num_parameters(config: Config) -> int | None:
    if not (config.model.source_vocab_size and config.model.target_vocab_size):
        return None
    with torch.device("meta"):  # shapes without memory
        return sum(parameter.numel() for parameter in parameters_of(Transformer(config.model)).values())


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) <= 1e300 and math.isfinite(value)
