"""The run directory: configuration, tokenizer and checkpoints; nothing in it is a pickle.

    RUN/config.toml                        every setting; alone says what the model is
    RUN/tokenizer/                         see `seq2seq.data.tokenizer`
    RUN/base/model.safetensors             frozen weights, where only low-rank matrices are trained (LoRA)
    RUN/tokens/                            training text as token ids, but for what `seq2seq prepare` has made
    RUN/metrics.jsonl                      one line for each report and validation
    RUN/checkpoints/step_00001000/         or average_last_5/
        model.safetensors                  the weights to translate with, or
        adapter.safetensors                low-rank matrices that go with base/model.safetensors
        checkpoint.json                    step, validation scores, hash of the tokenizer
        training.safetensors               what resuming needs; in the latest checkpoint only

Checkpoint folders are renamed into place when they are complete, so there are no broken ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from seq2seq.config import Config, Metric, load_config
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.errors import CheckpointError, TokenizerError
from seq2seq.files import atomic_directory, remove_directory, write_json
from seq2seq.model.lora import lora_tensors
from seq2seq.model.transformer import Transformer
from seq2seq.weights import (
    assign_weights,
    parameters_of,
    read_adapter,
    read_tensors,
    save_tensors,
    weights_hash,
    with_adapter,
)

_MODEL, _TRAINING, _INFO = "model.safetensors", "training.safetensors", "checkpoint.json"
MEAN = "average_last_"  # the folder of a mean of the latest checkpoints, before their number
_ADAPTER = "adapter.safetensors"


@dataclass(frozen=True, kw_only=True)
class CheckpointInfo:
    """What `checkpoint.json` says."""

    step: int
    tokenizer_hash: str
    epoch: int = 0
    pool_in_epoch: int = 0
    batches_in_epoch: int = 0  # in that pool
    in_last_part: bool = False  # the position is in an epoch of `data.last_weights`
    minimises_risk: bool = False  # the position is in an epoch of `training.minimum_risk`, with its batches
    target_tokens_seen: int = 0
    training_seconds: float = 0.0
    validation: Mapping[str, float] | None = None  # loss, bleu, chrf
    best_score: float | None = None  # of the run so far, larger is better
    validations_since_best: int = 0
    averaged: Sequence[str] = ()  # names of the checkpoints that this one is the mean of
    interrupted: bool = False  # saved because training was stopped, not because it was due


class LoadedRun(NamedTuple):
    """A model that is ready to translate, with all that belongs to it."""

    model: Transformer
    config: Config
    tokenizer: Tokenizer
    checkpoint: Path


def save_checkpoint(
    run: Path,
    info: CheckpointInfo,
    weights: Mapping[str, Tensor],
    training: Mapping[str, Tensor] | None = None,
    name: str | None = None,
    lora_scale: float = 0.0,
) -> Path:
    """Write a checkpoint; return its folder. Of a model with low-rank matrices only these are written.

    Args:
        run: the run directory.
        info: what is known of it.
        weights: the model's tensors by name, tied ones once.
        training: tensors that resuming needs.
        name: of the folder; by default, `step_` and the step.
        lora_scale: what low-rank matrices are multiplied with.

    Raises:
        CheckpointError: if it cannot be written.
    """
    folder = run / "checkpoints" / (name or f"step_{info.step:08d}")
    with atomic_directory(folder) as partial:
        low_rank = lora_tensors(weights)
        if low_rank:
            about = {"scale": lora_scale, "base": weights_hash(weights)}
            # One entry: safetensors writes several in any order, and equal adapters should be equal files.
            save_tensors(low_rank, partial / _ADAPTER, {"lora": json.dumps(about)})
        else:
            save_tensors(weights, partial / _MODEL)
        if training is not None:
            save_tensors(training, partial / _TRAINING)
        write_json(partial / _INFO, asdict(info))
    return folder


def read_info(checkpoint: Path) -> CheckpointInfo:
    """What a checkpoint says of itself.

    Raises:
        CheckpointError: if it is missing or malformed.
    """
    try:
        return CheckpointInfo(**json.loads((checkpoint / _INFO).read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise CheckpointError(f"{checkpoint}: no checkpoint there (no {_INFO}); name one in RUN/checkpoints") from None
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{checkpoint / _INFO}: damaged ({error}); use another checkpoint of the run") from None


def checkpoints(run: Path) -> list[Path]:
    """The checkpoints that training wrote, oldest first; averages are not among them."""
    return sorted(path for path in (run / "checkpoints").glob("step_*") if re.fullmatch(r"step_\d+", path.name))


def name_to_keep(checkpoint: Path) -> str | None:
    """The name of a checkpoint, or of what it is a link to, if a run finds it by that; else None."""
    names = (checkpoint.name, checkpoint.resolve().name)
    return next((name for name in names if re.fullmatch(r"step_\d+|average_.+", name)), None)


def due_checkpoints(run: Path) -> list[Path]:
    """Those that were due, oldest first: without one that an interruption made, so that means are as without it."""
    return [path for path in checkpoints(run) if not read_info(path).interrupted]


def update_info(checkpoint: Path, **changes: Any) -> None:
    """Change what a checkpoint says of itself; its weights stay as they are."""
    write_json(checkpoint / _INFO, asdict(replace(read_info(checkpoint), **changes)))


def latest(run: Path) -> Path | None:
    """The newest checkpoint of training, if there is one."""
    return next(reversed(checkpoints(run)), None)


def best(run: Path, metric: Metric) -> Path | None:
    """The checkpoint, or average, with the best validation score; the newest where none was validated."""
    folders = [*checkpoints(run), *sorted((run / "checkpoints").glob("average_*"))]
    found = scored(folders, metric)
    return max(found)[1] if found else latest(run) or next(reversed(folders), None)  # a package may have a mean alone


def validation_score(info: CheckpointInfo, metric: Metric) -> float | None:
    """A checkpoint's validation score, larger is better (the loss is negated); None where it was not validated."""
    if not info.validation or metric not in info.validation:
        return None
    return -info.validation[metric] if metric == "loss" else info.validation[metric]


def scored(folders: Sequence[Path], metric: Metric) -> list[tuple[float, Path]]:
    """The validated ones among checkpoints, each with its score; of equal scores the later folder is the larger."""
    scores = [(validation_score(read_info(folder), metric), folder) for folder in folders]
    return [(score, folder) for score, folder in scores if score is not None]


def prune(run: Path, keep: int, metric: Metric) -> None:
    """Remove all but the `keep` latest checkpoints and the best; only the latest stays resumable.

    One that an interruption made is kept only while it is the latest, so that what is kept, and averaged, is the same
    as without the interruption.
    """
    folders = checkpoints(run)
    found = scored(folders, metric)
    keepers = {*due_checkpoints(run)[-keep:], *folders[-1:], *([max(found)[1]] if found else [])}
    for folder in folders:
        if folder not in keepers:
            remove_directory(folder)
        elif folder != folders[-1]:
            (folder / _TRAINING).unlink(missing_ok=True)


def resolve(path: Path | str) -> tuple[Path, Path]:
    """The run directory and the checkpoint that a path means: a checkpoint, or a run and so its best checkpoint.

    Where the run's recipe averages checkpoints, that is the mean of the latest ones.

    Raises:
        CheckpointError: if there is no such run or no checkpoint in it.
    """
    path = Path(path)
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such run; expected a folder made by `seq2seq train` or `seq2seq recipe run`")
    exported = any((path / name).exists() for name in ("seq2seq.json", "model.bin", "decoder.onnx"))
    if exported and not (path / "checkpoints").is_dir():  # which a package has
        raise CheckpointError(f"{path}: is an export for another engine; name the run that it was made of")
    if (path / "config.json").exists() and not (path / "config.toml").exists():
        raise CheckpointError(f"{path}: is a model of Hugging Face; `seq2seq import {path} --output RUN` makes a run")
    if any((path / name).exists() for name in (_MODEL, _ADAPTER, _INFO)):
        run = _run_of(path)
        if not (run / "config.toml").exists():
            raise CheckpointError(f"{path}: a checkpoint without its run (no {run / 'config.toml'}); name it in that")
        return run, path
    if not (path / "config.toml").exists():
        raise CheckpointError(f"{path}: not a run (no config.toml in it); expected a folder made by `seq2seq train`")
    config = load_config(path / "config.toml")
    found = _mean_of_latest(path, config.recipe.average) or best(path, config.training.validation_metric)
    if found is None:
        raise CheckpointError(f"{path}: the run has no checkpoint yet; go on with `seq2seq train ... --resume`")
    return path, found


def _mean_of_latest(run: Path, number: int) -> Path | None:
    """The mean of so many of the latest checkpoints, or of fewer, where training ended before there were as many.

    None if there is none, as while training goes on from them.
    """
    steps = [folder.name for folder in due_checkpoints(run)[-number:]] if number else []
    folder = run / "checkpoints" / f"{MEAN}{len(steps)}"
    return folder if folder.is_dir() and list(read_info(folder).averaged) == steps else None


def load_model(path: Path | str, device: str = "cpu", adapter: Path | str | None = None) -> LoadedRun:
    """Load a run's best checkpoint, or the mean that its recipe asks for, or one checkpoint, for translation.

    Args:
        path: a run or checkpoint.
        device: where to put the model.
        adapter: low-rank matrices (an `adapter.safetensors`) to merge into its weights, from which they were trained.

    Raises:
        CheckpointError: if it is missing, damaged, or its weights do not fit its configuration.
        TokenizerError: if the tokenizer is missing, or not the one that the model was trained with.
    """
    run, checkpoint = resolve(path)
    config = load_config(run / "config.toml")
    tokenizer = Tokenizer.load(run / "tokenizer")
    check_tokenizer(tokenizer, checkpoint)
    model = Transformer(config.model)
    load_weights(model, checkpoint)
    if adapter is not None:
        assign_weights(model, with_adapter(parameters_of(model), Path(adapter)), Path(adapter))
    return LoadedRun(model.to(device).eval(), config, tokenizer, checkpoint)


def check_tokenizer(tokenizer: Tokenizer, checkpoint: Path) -> None:
    """Refuse a tokenizer that a checkpoint was not trained with.

    Raises:
        TokenizerError: which names both.
    """
    expected = read_info(checkpoint).tokenizer_hash
    if tokenizer.hash != expected:
        raise TokenizerError(
            f"{checkpoint}: trained with tokenizer {expected[:12]}, but the run's is {tokenizer.hash[:12]}; "
            "put the original tokenizer folder back"
        )


def load_weights(model: Transformer, checkpoint: Path) -> None:
    """Put a checkpoint's weights into a model of the same architecture; low-rank matrices are merged if it has none.

    Raises:
        CheckpointError: if a tensor is missing, left over, or of another shape: all are named.
    """
    if lora_tensors(parameters_of(model)):
        base = read_base(_run_of(checkpoint))
        adapter, _ = read_adapter(checkpoint / _ADAPTER, base)
        assign_weights(model, {**base, **adapter}, checkpoint / _ADAPTER)
    else:
        assign_weights(model, read_weights(checkpoint), checkpoint / _MODEL)


def read_weights(checkpoint: Path) -> dict[str, Tensor]:
    """A checkpoint's weights by name, with low-rank matrices merged.

    Raises:
        CheckpointError: if a file is missing or damaged.
    """
    if (checkpoint / _ADAPTER).exists():
        return with_adapter(read_base(_run_of(checkpoint)), checkpoint / _ADAPTER)
    return read_tensors(checkpoint / _MODEL)


def save_base(run: Path, weights: Mapping[str, Tensor]) -> None:
    """Write the frozen weights of a run that trains low-rank matrices, so that it needs no other run."""
    with atomic_directory(run / "base") as partial:
        save_tensors(weights, partial / _MODEL)


def read_base(run: Path) -> dict[str, Tensor]:
    """The frozen weights of a run that trains low-rank matrices.

    Raises:
        CheckpointError: if they are missing or damaged.
    """
    return read_tensors(run / "base" / _MODEL, "copy the run anew, with its folder `base`, which all checkpoints need")


def _run_of(checkpoint: Path) -> Path:
    """The run directory of a checkpoint: also where `checkpoints` is a link, or the checkpoint is named from within."""
    named = checkpoint.absolute().parent.parent
    return named if (named / "config.toml").exists() else checkpoint.resolve().parent.parent


def read_training_tensors(checkpoint: Path) -> dict[str, Tensor]:
    """What resuming needs beside the weights.

    Raises:
        CheckpointError: if the checkpoint is not the latest, which alone keeps it, or is damaged.
    """
    path = checkpoint / _TRAINING
    remedy = "start anew, or from these weights by `training.initialise_from`"
    if not path.exists():
        raise CheckpointError(f"{path}: missing; only a run's newest checkpoint can be resumed: {remedy}")
    return read_tensors(path, remedy)
