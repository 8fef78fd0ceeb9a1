"""The changing part of training: counters, optimiser, average of the weights; saved so that resuming is exact."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from seq2seq.checkpoint import (
    CheckpointInfo,
    checkpoints,
    load_weights,
    read_info,
    read_training_tensors,
    save_checkpoint,
    validation_score,
)
from seq2seq.config import Metric, TrainingConfig
from seq2seq.errors import CheckpointError
from seq2seq.model.linear import Linear
from seq2seq.model.transformer import Transformer
from seq2seq.training.adamw import AdamW
from seq2seq.training.distributed import Processes
from seq2seq.training.feed import Position
from seq2seq.training.muon import Muon
from seq2seq.weights import parameters_of


@dataclass
class TrainState:
    """How far training has come."""

    step: int = 0
    position: Position = field(default_factory=Position)
    target_tokens_seen: int = 0
    best_score: float | None = None  # larger is better
    validations_since_best: int = 0
    in_last_part: bool = False  # the position is in an epoch of `data.last_weights`
    minimises_risk: bool = False  # the position is in an epoch of `training.minimum_risk`, with its batches

    def note_validation(self, scores: Mapping[str, float], metric: Metric) -> bool:
        """Take in a validation; True if it is the best so far."""
        score = -scores[metric] if metric == "loss" else scores[metric]
        better = self.best_score is None or score > self.best_score
        self.best_score = score if better else self.best_score
        self.validations_since_best = 0 if better else self.validations_since_best + 1
        return better

    def judge_by(self, metric: Metric, run: Path) -> None:
        """Take up the best score by a metric among the checkpoints of a run, which may have been judged by another."""
        scores = [validation_score(read_info(folder), metric) for folder in checkpoints(run)]
        best_score = max((score for score in scores if score is not None), default=None)
        if best_score != self.best_score:
            self.best_score, self.validations_since_best = best_score, 0


class Learner:
    """A model with its optimiser and, if asked for, the moving average of its weights."""

    def __init__(
        self, model: Transformer, config: TrainingConfig, device: torch.device, processes: Processes
    ) -> None:
        self.model = model
        self.parameters = parameters_of(model)
        self.trained = {name: p for name, p in self.parameters.items() if p.requires_grad}
        self.lora_scale = config.lora_alpha / config.lora_rank if config.lora_rank else 0.0
        self.optimizer = make_optimizer(model, config, processes)
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "float16")
        self.ema_decay, self._updates = config.ema_decay, 0
        self.ema = {name: p.detach().clone() for name, p in self.trained.items()} if config.ema_decay else {}

    def update(self, learning_rate: float, clip_norm: float) -> Tensor:
        """Apply the gradients and clear them; return their norm before clipping."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        like_torchs = cast(torch.optim.Optimizer, self.optimizer)  # as far as a scaler looks
        self.scaler.unscale_(like_torchs)
        norm = torch.nn.utils.clip_grad_norm_(self.trained.values(), clip_norm or float("inf"))
        self.scaler.step(like_torchs)
        self.scaler.update()
        self.optimizer.zero_grad()
        if self.ema:
            averages, weights = list(self.ema.values()), [p.detach() for p in self.trained.values()]
            # A shorter memory at first: what is random at the beginning would long be a large share of the average.
            decay = min(self.ema_decay, (1 + self._updates) / (10 + self._updates))
            torch._foreach_lerp_(averages, weights, 1 - decay)
        self._updates += 1
        return norm

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Inside, the model has its average weights: what is validated is what is saved."""
        if not self.ema:
            yield
            return
        raw = {name: parameter.detach().clone() for name, parameter in self.trained.items()}
        self._assign(self.ema)
        try:
            yield
        finally:
            self._assign(raw)

    def save(
        self,
        run: Path,
        state: TrainState,
        tokenizer_hash: str,
        seconds: float,
        interrupted: bool = False,
    ) -> Path:
        """Write a checkpoint, not validated yet, from which `load` goes on exactly."""
        info = CheckpointInfo(
            step=state.step,
            tokenizer_hash=tokenizer_hash,
            epoch=state.position.epoch,
            pool_in_epoch=state.position.pool,
            batches_in_epoch=state.position.batches,
            in_last_part=state.in_last_part,
            minimises_risk=state.minimises_risk,
            target_tokens_seen=state.target_tokens_seen,
            training_seconds=seconds,
            best_score=state.best_score,
            validations_since_best=state.validations_since_best,
            interrupted=interrupted,
        )
        weights = {**self.parameters, **self.ema}
        return save_checkpoint(run, info, weights, self._training_tensors(), lora_scale=self.lora_scale)

    def load(self, checkpoint: Path) -> tuple[TrainState, float]:
        """Take up a checkpoint; return the counters, and the seconds trained so far.

        Raises:
            CheckpointError: if the checkpoint is damaged or was trained with other settings of the optimiser.
        """
        info = read_info(checkpoint)
        self._updates = info.step
        tensors = read_training_tensors(checkpoint)
        try:
            self._take(tensors, checkpoint)
        except KeyError as error:
            raise CheckpointError(
                f"{checkpoint}: holds no {error} to resume from; were training.ema_decay, training.freeze, "
                "training.optimizer or training.precision changed? Restore them, or start anew with --overwrite"
            ) from None
        state = TrainState(
            step=info.step,
            position=Position(info.epoch, info.batches_in_epoch, info.pool_in_epoch),
            target_tokens_seen=info.target_tokens_seen,
            best_score=info.best_score,
            validations_since_best=info.validations_since_best,
            in_last_part=info.in_last_part,
            minimises_risk=info.minimises_risk,
        )
        return state, info.training_seconds

    def _training_tensors(self) -> dict[str, Tensor]:
        tensors = {"optimizer_steps": torch.zeros(1)}
        for name, parameter in self.trained.items():
            moments = self.optimizer.state.get(parameter, {})  # none before the first update that was not skipped
            for moment in self.optimizer.moments_of(parameter):
                tensors[f"{moment}.{name}"] = moments.get(moment, torch.zeros_like(parameter))
            if moments:
                tensors["optimizer_steps"] = moments["step"].reshape(1)
            if self.ema:
                tensors[f"weights.{name}"] = parameter
        if self.scaler.is_enabled():
            scale = self.scaler.state_dict()
            tensors["scaler"] = torch.tensor([scale["scale"], scale["_growth_tracker"]], dtype=torch.float64)
        return tensors

    def _take(self, tensors: Mapping[str, Tensor], checkpoint: Path) -> None:
        load_weights(self.model, checkpoint)
        averaged = any(name.startswith("weights.") for name in tensors)
        if self.ema or averaged:  # the checkpoint's own weights are the average
            for name, average in self.ema.items():
                average.copy_(self.parameters[name].detach())
            self._assign({name: tensors[f"weights.{name}"] for name in self.trained})
        for name, parameter in self.trained.items():
            device, of_it = parameter.device, self.optimizer.moments_of(parameter)
            moments = {moment: tensors[f"{moment}.{name}"].to(device) for moment in of_it}
            steps = tensors["optimizer_steps"].reshape(()).to(device).clone()
            self.optimizer.state[parameter] = {"step": steps, **moments}
        if self.scaler.is_enabled():
            scale, growth = tensors["scaler"].tolist()
            self.scaler.load_state_dict({**self.scaler.state_dict(), "scale": scale, "_growth_tracker": int(growth)})

    def _assign(self, weights: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.trained.items():
                parameter.copy_(weights[name])


def make_optimizer(model: Transformer, config: TrainingConfig, processes: Processes) -> AdamW:
    """The optimiser that the config names; only matrices decay, not biases and norms."""
    parts = _parts_of_matrices(model) if config.optimizer == "muon" else {}
    others = [each for each in model.parameters() if each.requires_grad and each not in parts]
    groups: list[dict[str, Any]] = [
        {"params": list(parts), "parts": list(parts.values()), "weight_decay": config.weight_decay},
        {"params": [p for p in others if p.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in others if p.dim() <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    first, second = config.adam_betas
    rate, betas, epsilon = config.learning_rate, (first, second), config.adam_epsilon
    if config.optimizer == "muon":
        in_bfloat16 = config.precision == "bfloat16"  # which a CPU is slow at that has not got it
        return Muon(groups, rate, betas, epsilon, config.muon_momentum, processes, in_bfloat16)
    return AdamW(groups, rate, betas, epsilon)


def _parts_of_matrices(model: Transformer) -> dict[Tensor, int]:
    """The trained weights of the layers' linear maps, each with its number of parts; not embeddings and output."""
    layers = [module for stack in (model.encoder, model.decoder) for module in stack.modules()]
    linear = [module for module in layers if isinstance(module, Linear) and module.weight.requires_grad]
    return {module.weight: module.parts for module in linear}
