"""Means of the last checkpoints, which a recipe makes of its runs, and removes again if it is to make none."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from seq2seq.files import remove_directory

if TYPE_CHECKING:
    from seq2seq.config import Config
    from seq2seq.data.tokenizer import Tokenizer
    from seq2seq.model.transformer import Transformer


def name_of_mean(run: Path, wanted: int) -> str:
    """The folder of a run's mean of `wanted` checkpoints, or of all where training ended before there were so many."""
    from seq2seq.checkpoint import MEAN

    return f"{MEAN}{_num_averaged(run, wanted)}"


def average_last(run: Path, wanted: int, device: str, report: Callable[[str], None]) -> Path:
    """Average a run's last checkpoints, and validate the mean; return its folder."""
    from seq2seq.averaging import average
    from seq2seq.checkpoint import read_info
    from seq2seq.devices import choose_device
    from seq2seq.training.validation import read_validation_pairs, validate

    def scores(model: Transformer, config: Config, tokenizer: Tokenizer) -> dict[str, float]:
        return validate(model.to(choose_device(device)), tokenizer, read_validation_pairs(config), config)

    folder = average(run, last=_num_averaged(run, wanted), validate=scores)
    found = read_info(folder).validation
    if found:
        report(f"{folder.name}: validation loss {found['loss']:.3f}, BLEU {found['bleu']:.2f}")
    return folder


def remove_means(run: Path, names: Collection[str] | None = None) -> None:
    """Remove means of checkpoints of these names, or all; others may be a user's own."""
    from seq2seq.checkpoint import MEAN

    for folder in run.glob(f"checkpoints/{MEAN}*"):
        if names is None or folder.name in names:
            remove_directory(folder)


def _num_averaged(run: Path, wanted: int) -> int:
    from seq2seq.checkpoint import due_checkpoints

    return min(wanted, len(due_checkpoints(run)))
