"""Muon: the steps of matrices are made orthogonal, so that no direction is learnt much faster than others."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from seq2seq.training.adamw import AdamW
from seq2seq.training.distributed import Processes

# Of a polynomial whose repetition takes singular values from 0 to 1 near to 1: within 0.7 to 1.2 (Jordan et al. 2024).
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
_EPSILON = 1e-7
_SIZE_OF_ADAMS = 0.2  # root mean square of what AdamW changes, as a share of its learning rate


class Muon(AdamW):
    """Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) for some matrices, AdamW for all else.

    A matrix moves along the nearest orthogonal matrix of its gradients' moving average, with Nesterov's momentum, so
    far that the learning rate is one for both (Liu et al. 2025, arXiv 2502.16982, equation 4). `torch.optim.Muon` does
    the same, but only in bfloat16, which many CPUs are slow at, and matrix by matrix, which all are; here, those of one
    shape are computed at once, and processes share the work.

    Attributes:
        param_groups: as AdamW's; those with a `parts`, one for each parameter, are matrices for Muon. A parameter
            `(P * A, B)` of P parts is P matrices `(A, B)`.
        state: as AdamW's, but of Muon's parameters `step` and `momentum`.
    """

    def __init__(
        self,
        groups: Sequence[dict[str, Any]],
        lr: float,
        betas: tuple[float, float],
        eps: float,
        momentum: float,
        processes: Processes,
        in_bfloat16: bool = False,
    ) -> None:
        """Take parameters in groups with `params`, `weight_decay` and, for Muon, `parts`.

        Orthogonal steps are computed in bfloat16 on GPUs, and where it is asked for, which is exact enough.
        """
        super().__init__(groups, lr, betas, eps)
        self._momentum, self._processes, self._in_bfloat16 = momentum, processes, in_bfloat16
        self._matrices = {each for group in groups if "parts" in group for each in group["params"]}

    def moments_of(self, parameter: Tensor) -> tuple[str, ...]:
        """What is remembered of a parameter, besides its steps."""
        return ("momentum",) if parameter in self._matrices else super().moments_of(parameter)

    def _update(self, group: dict[str, Any]) -> None:
        if "parts" not in group:
            super()._update(group)
            return
        by_shape = defaultdict(list)
        for parameter, parts in zip(group["params"], group["parts"], strict=True):
            if parameter.grad is None:
                continue
            state = self._state_of(parameter)
            state["step"] += 1
            momentum = state["momentum"].lerp_(parameter.grad, 1 - self._momentum)
            ahead = parameter.grad.lerp(momentum, self._momentum)
            for matrix, step in zip(parameter.chunk(parts), ahead.chunk(parts), strict=True):
                by_shape[matrix.shape].append((matrix, step))
        for shape, pairs in by_shape.items():
            steps = self._orthogonal(torch.stack([step for _, step in pairs]))
            size = group["lr"] * _SIZE_OF_ADAMS * math.sqrt(max(shape))
            for (matrix, _), step in zip(pairs, steps, strict=True):
                matrix.mul_(1 - group["lr"] * group["weight_decay"]).sub_(step, alpha=size)

    def _orthogonal(self, matrices: Tensor) -> Tensor:
        """`orthogonal`, of which each process computes a part; what they give each other is in its dtype."""
        dtype = torch.bfloat16 if matrices.is_cuda or self._in_bfloat16 else matrices.dtype
        rank, share = self._processes.rank, -(-len(matrices) // self._processes.size)
        mine = matrices[rank * share : (rank + 1) * share]
        rest = matrices.new_zeros(share - len(mine), *matrices.shape[1:])  # all give as many
        return self._processes.gather(orthogonal(torch.cat([mine, rest]), dtype))[: len(matrices)]


def orthogonal(matrices: Tensor, dtype: torch.dtype) -> Tensor:
    """What is near U V^T of matrices `(N, A, B)` with singular value decompositions U S V^T, by Newton and Schulz.

    Singular values of the result are 0.7 to 1.2, of directions that hardly are in a matrix less. It is computed in the
    dtype that is given, and has it.
    """
    x = matrices.to(dtype)
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=_EPSILON)  # no singular value is over 1
    is_high = x.size(1) > x.size(2)
    x = x.mT if is_high else x
    first, third, fifth = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = _plus(first, gram @ _plus(third, fifth * gram)) @ x
    return x.mT if is_high else x


def _plus(number: float, matrices: Tensor) -> Tensor:
    """Add a multiple of the identity to square matrices `(N, A, A)`, in place."""
    matrices.diagonal(dim1=1, dim2=2).add_(number)
    return matrices
