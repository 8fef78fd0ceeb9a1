"""The mean of several checkpoints as one more (Vaswani et al. 2017, section 6.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from seq2seq.checkpoint import check_tokenizer, due_checkpoints, read_info, read_weights, save_checkpoint, scored
from seq2seq.config import Config, TrainingConfig, load_config
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.errors import CheckpointError
from seq2seq.model.transformer import Transformer
from seq2seq.weights import assign_weights, parameters_of

if TYPE_CHECKING:
    from collections.abc import Callable


def average(
    run: Path | str,
    last: int | None = None,
    best: int | None = None,
    validate: Callable[[Transformer, Config, Tokenizer], Mapping[str, float] | None] | None = None,
) -> Path:
    """Write the mean of the weights of a run's `last` or `best` checkpoints as a checkpoint; return its folder.

    Args:
        run: the run directory.
        last: how many of the latest checkpoints to average.
        best: how many of the checkpoints with the best validation scores to average.
        validate: gives the validation scores of the averaged model, by which it can become the run's best checkpoint;
            if it is the mean that the run's recipe asks for, it is so by whatever scores.

    Raises:
        CheckpointError: if the run has too few checkpoints, or the mean cannot be written.
        CheckpointError, TokenizerError: if the tokenizer is not that of the training, or damaged.
    """
    run = Path(run)
    config = load_config(run / "config.toml")
    chosen = _choose(run, config.training, last, best)
    tokenizer = Tokenizer.load(run / "tokenizer")
    for folder in chosen:
        check_tokenizer(tokenizer, folder)
    mean: dict[str, Tensor] = {}
    for folder in chosen:  # one at a time in memory; float64 so that the order does not matter
        weights = read_weights(folder)
        if mean and {name: mean[name].shape for name in mean} != {name: weights[name].shape for name in weights}:
            raise CheckpointError(f"{folder}: has other weights than {chosen[0].name}; average those of one training")
        for name, tensor in weights.items():
            mean[name] = mean.get(name, torch.zeros((), dtype=torch.float64)) + tensor.double() / len(chosen)
    model = Transformer(config.model).eval()
    assign_weights(model, mean, chosen[-1])
    info = replace(
        read_info(chosen[-1]),
        averaged=[folder.name for folder in chosen],
        validation=validate(model, config, tokenizer) if validate else None,
    )
    kind = "last" if best is None else "best"
    return save_checkpoint(run, info, parameters_of(model), name=f"average_{kind}_{len(chosen)}")


def _choose(run: Path, config: TrainingConfig, last: int | None, best: int | None) -> list[Path]:
    folders = due_checkpoints(run)
    if not folders:
        raise CheckpointError(f"{run}: has no checkpoint of a training to average; name a run that was trained here")
    if best is not None:
        validated = scored(folders, config.validation_metric)
        if len(validated) < best:
            raise CheckpointError(
                f"{run}: {best} best checkpoints to average but {len(validated)} of the {len(folders)} there are "
                "validated; ask for fewer, or for the --last ones"
            )
        folders = sorted(folder for _, folder in sorted(validated)[-best:])
    else:
        folders = folders[-config.keep_checkpoints :]  # without an old best one that was kept beside the latest
    wanted = last or best or len(folders)
    if len(folders) < wanted:
        raise CheckpointError(
            f"{run}: {wanted} checkpoints to average but {len(folders)} of the latest there; "
            "ask for fewer, or train with a larger training.keep_checkpoints"
        )
    return folders[-wanted:]
