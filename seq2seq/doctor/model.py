"""The model of a training: its size, its memory, how long it will train, and the disk that it takes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from seq2seq.config import Config, CorpusConfig, TrainingConfig
from seq2seq.data.corpus import write_lines
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.doctor.findings import Finding, error, warning
from seq2seq.doctor.text import Text

_BYTES = 4  # of a parameter, or of one of an optimiser's moments, in float32


def of_schedule(training: TrainingConfig) -> Iterator[Finding]:
    """Of the learning rate: whether it comes to where it shall be."""
    if training.warmup_steps >= training.steps:
        yield warning(
            "schedule",
            f"`training.warmup_steps` = {training.warmup_steps}: the learning rate still rises when training ends, at "
            f"`training.steps` = {training.steps}; make it a tenth of the steps",
        )


def of_training(
    config: Config, train: Text, tokenizer: Tokenizer, folder: Path, device: str, figures: dict[str, Any]
) -> Iterator[Finding]:
    """Of the model: how large it is, how much memory it takes, and how long training will be."""
    import torch

    from seq2seq.devices import choose_device, memory_mb
    from seq2seq.model.transformer import Transformer
    from seq2seq.training.forecast import forecast
    from seq2seq.training.setup import with_vocabulary
    from seq2seq.training.steps import less_memory

    config = with_vocabulary(config, tokenizer)
    with torch.device("meta"):
        parameters = sum(parameter.numel() for parameter in Transformer(config.model).parameters())
    figures["parameters"] = parameters
    chosen = choose_device(device)
    _, total = memory_mb(chosen)
    place = "the machine" if chosen.type == "cpu" else f"the GPU, {chosen},"
    # Weights, gradients and moments: without room for these, not even a step can be tried.
    is_trained = not (config.training.lora_rank or config.training.freeze)  # as a whole
    moments = 1 if config.training.optimizer == "muon" else 2  # at least: embeddings are AdamW's beside Muon, too
    needed = (2 + moments if is_trained else 1) * _BYTES * parameters / 1024**2
    if total and needed > total:
        yield error(
            "memory",
            f"model: its {parameters:,} parameters need {needed:,.0f} MB in training, and {place} has "
            f"{total:,}; make it smaller (`model.d_model`, `tokenizer.vocab_size`)",
        )
        return
    for side, name in enumerate(("source", "target")):
        write_lines(folder / name, (pair[side] for pair in train.sample))
    sample = CorpusConfig(source=str(folder / "source"), target=str(folder / "target"))
    data = replace(config.data, train=(sample,), curriculum=(), last_weights=(), risk_weights=())
    found = forecast(replace(config, data=data), str(folder / "tokenizer"), device)
    hours, tokens = found.hours_and_tokens(config.training)
    figures |= {
        "tokens_per_second": found.tokens_per_second,
        "memory_mb": found.peak_memory_mb,
        "hours": config.recipe.ensemble * hours + sum(found.hours_and_tokens(each)[0] for each in _teachers(config)),
    }
    if train.is_whole and not config.back_translation.monolingual:  # of what length is not known
        figures["epochs"] = tokens / max(figures["target_tokens"] * _copies(config), 1)
    if total and found.peak_memory_mb > 0.9 * total:
        yield error(
            "memory",
            f"training: takes {found.peak_memory_mb:,.0f} MB, and {place} has {total:,}; "
            f"{less_memory(config.training)}",
        )


def _teachers(config: Config) -> list[TrainingConfig]:
    """The trainings of the models that diversify the training text; the backward ones minimise no risk."""
    minutes = config.diversification.max_minutes or config.training.max_minutes
    forward = replace(config.training, max_minutes=minutes)
    return [forward, replace(forward, minimum_risk=0.0)] * config.diversification.models


def _copies(config: Config) -> float:
    """How often an epoch has the target side of the training text, as people or models translated it."""
    distillation = config.distillation
    own = distillation.original_weight + distillation.weight if distillation.teacher else 1.0
    return own + 2 * config.diversification.models


def of_disk(config: Config, output: Path, figures: dict[str, Any]) -> Iterator[Finding]:
    """Of the room for checkpoints: those that are kept, the best, and one that is being written.

    The latest, which can be resumed from, and the one being written hold the moments, and beside averages the weights.
    """
    training = config.training
    number = training.keep_checkpoints + 2
    resumable = 2 * (3 if training.ema_decay else 2)
    # Of low-rank matrices, checkpoints hold little else; the weights beside them are there once.
    tensors = 1 if training.lora_rank else number + resumable
    runs = config.recipe.ensemble + 2 * config.diversification.models
    needed = tensors * _BYTES * figures["parameters"] * runs
    place = next(path for path in (output.absolute(), *output.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    figures |= {"checkpoints_mb": needed / 1024**2, "free_disk_mb": free / 1024**2}
    if needed > free:
        yield error(
            "disk",
            f"{place}: checkpoints take {needed / 1024**2:,.0f} MB, and {free / 1024**2:,.0f} are free; "
            "make room, or lower `training.keep_checkpoints`",
        )
