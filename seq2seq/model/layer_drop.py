"""LayerDrop (Fan et al. 2020, arXiv 1909.11556): in training, whole layers are left out at random."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def layers_to_drop(number: int, p: float) -> list[bool]:
    """Which of so many layers to leave out: each with probability `p`, but never all of them."""
    draws = torch.rand(number)
    return ((draws < p) & (draws < draws.max())).tolist()


def pass_by(layer: nn.Module, x: Tensor) -> Tensor:
    """A tensor as it is, in place of what a layer makes of it.

    The layer's parameters get gradients of zero, not none: the processes of data-parallel training, each of which drops
    other layers, wait for all gradients, and the optimiser counts the same steps for all parameters.
    """
    trained = [parameter for parameter in layer.parameters() if parameter.requires_grad]
    passed: Tensor = _PassBy.apply(x, *trained)
    return passed


class _PassBy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *parameters: Tensor) -> Tensor:
        ctx.parameters = parameters  # whose shapes, not values, backward needs
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, ...]:
        return (grad_outputs[0], *map(torch.zeros_like, ctx.parameters))
