"""The gradients of a step, on whatever device, in whatever precision, among however many processes."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from seq2seq.config import TrainingConfig
from seq2seq.data.batching import Batch
from seq2seq.devices import autocast, precision_on, product_dtype
from seq2seq.model.linear import multiply_in
from seq2seq.model.transformer import Transformer
from seq2seq.training.distributed import Processes
from seq2seq.training.feed import StepBatches
from seq2seq.training.loss import Losses, TranslationLoss
from seq2seq.training.risk import RiskLoss
from seq2seq.training.state import Learner

_POSITIONS_IN_CACHE = 1024  # target positions
_POSITIONS_OF_RISK = 4096  # of candidates: fewer would make searches of too few sentences at once


class Steps:
    """A model, its loss and its learner."""

    def __init__(self, model: Transformer, config: TrainingConfig, device: torch.device, group: Processes) -> None:
        """Make ready to train a model that is on the device.

        Raises:
            ConfigError: if the device has not the precision.
        """
        self.precision = precision_on(device, config.precision)
        config = replace(config, precision=self.precision)
        self.learner = Learner(model, config, device, group)
        self._autocast = autocast(device, config.precision)
        model.layer_drop = config.layer_drop
        model.source_word_dropout, model.target_word_dropout = config.source_word_dropout, config.target_word_dropout
        multiply_in(model, product_dtype(device, config.precision))
        self._loss = TranslationLoss(model, config.label_smoothing, config.r_drop)
        self._criterion: torch.nn.Module = self._loss  # maybe wrapped
        self._device, self._group = device, group
        self._copies = 2 if config.r_drop else 1  # of each pair: both are in the same part

    def share(self) -> None:
        """Let gradients meet among the processes; to be called when the weights are those to begin with.

        On GPUs, torch's data parallelism sums gradients while others are computed. On CPUs there is nothing to gain by
        that, and its order of sums is another one after a resume: there, all gradients are summed at the end.
        """
        self._group.take_from_first(parameter.detach() for parameter in self.learner.trained.values())
        if self._group.size > 1 and self._device.type == "cuda":
            with warnings.catch_warnings():  # torch 2.13 has another name for it, which 2.9 does not know
                warnings.simplefilter("ignore", FutureWarning)
                self._criterion = DistributedDataParallel(self._criterion, broadcast_buffers=False)

    def minimise(self, risk: RiskLoss) -> None:
        """From now on, minimise a risk in place of the cross entropy."""
        self._loss.instead, self._copies = risk, risk.num_candidates

    def gradients(self, work: StepBatches) -> Tensor:
        """Add up the gradients of one step, each target token weighing the same.

        Returns:
            The step's summed losses `(2,)` in nats, smoothed and plain. Nothing has waited for a GPU to compute them.
        """
        losses = torch.zeros(2, device=self._device)
        batches = [part for batch in work.batches for part in self._parts(batch)]
        for number, batch in enumerate(batches):
            last = number == len(batches) - 1
            # Gradients meet once a step, with the last micro-batch.
            unsynced = isinstance(self._criterion, DistributedDataParallel) and not last
            with self._criterion.no_sync() if unsynced else contextlib.nullcontext():  # type: ignore[operator]
                with self._autocast:
                    found: Losses = self._criterion(batch.to(self._device))
                # Torch's data parallelism averages over processes; the step's loss is a sum over all their tokens.
                size = self._group.size if isinstance(self._criterion, DistributedDataParallel) else 1
                scaled = found.minimised * (size / work.num_target_tokens)
                self.learner.scaler.scale(scaled).backward()
            losses += torch.stack([found.smoothed, found.plain])
        if self._group.size > 1 and not isinstance(self._criterion, DistributedDataParallel):
            self._sum_gradients()
        return self._group.sum(losses)

    def _sum_gradients(self) -> None:
        parameters = list(self.learner.trained.values())
        gradients = [torch.zeros_like(each) if each.grad is None else each.grad for each in parameters]
        total = self._group.sum(torch.cat([gradient.flatten() for gradient in gradients]))
        for parameter, part in zip(parameters, total.split([each.numel() for each in parameters]), strict=True):
            parameter.grad = part.view_as(parameter)

    def _parts(self, batch: Batch) -> Iterator[Batch]:
        """What is computed at once: on a CPU, so much that a layer's results are still in its cache for the next.

        Of the candidates of a risk it is more there, and elsewhere what a batch is without them: at most twice as much,
        if all of them are as long as they may be.
        """
        if self._device.type == "cpu":
            positions = _POSITIONS_OF_RISK if self._loss.instead is not None else _POSITIONS_IN_CACHE
        elif self._loss.instead is not None:
            positions = batch.target_mask.numel()
        else:
            return iter((batch,))
        return batch.parts(positions // self._copies)


def less_memory(training: TrainingConfig) -> str:
    """What to do if a training takes too much memory."""
    risky = ", `training.risk_batch_tokens` too" if training.minimum_risk else ""
    return f"lower `training.batch_tokens`{risky}, and raise `training.accumulate` by as much"
