"""AdamW by torch's fused kernel, without what torch's own class imports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw


class AdamW:
    """AdamW (Loshchilov and Hutter 2019): computes what `torch.optim.AdamW(..., fused=True)` does, bit for bit.

    To make one of those imports torch's compiler, which nothing here uses: half of the time until training starts.
    It has what `torch.amp.GradScaler` asks of an optimiser.

    Attributes:
        param_groups: each with `params`, `weight_decay` and `lr`, which may be changed before any step.
        state: of each parameter that has been updated, `step` (a float32 scalar), `exp_avg` and `exp_avg_sq`.
    """

    def __init__(self, groups: Sequence[dict[str, Any]], lr: float, betas: tuple[float, float], eps: float) -> None:
        """Take parameters in groups with `params` and `weight_decay`."""
        self.param_groups = [{"lr": lr, **group} for group in groups]
        self.state: dict[Tensor, dict[str, Tensor]] = {}
        self._betas, self._eps = betas, eps

    @torch.no_grad()
    def step(self) -> None:
        """Update the parameters that have a gradient."""
        for group in self.param_groups:
            self._update(group)

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def moments_of(self, parameter: Tensor) -> tuple[str, ...]:
        """What is remembered of a parameter, besides its steps."""
        return ("exp_avg", "exp_avg_sq")

    def _update(self, group: dict[str, Any]) -> None:
        parameters = [each for each in group["params"] if each.grad is not None]
        states = [self._state_of(each) for each in parameters]
        adamw(
            parameters,
            [each.grad for each in parameters],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            amsgrad=False,
            beta1=self._betas[0],
            beta2=self._betas[1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=self._eps,
            maximize=False,
        )

    def _state_of(self, parameter: Tensor) -> dict[str, Tensor]:
        if parameter not in self.state:
            moments = {moment: torch.zeros_like(parameter) for moment in self.moments_of(parameter)}
            self.state[parameter] = {"step": torch.zeros((), device=parameter.device), **moments}
        return self.state[parameter]
