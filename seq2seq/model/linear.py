"""Linear layers whose products may be computed in a lower precision than all that is around them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_ROWS = 64  # of which matrices of lower precision have a multiple


class Linear(nn.Linear):
    """W x + b.

    With a `product_dtype`, matrices are rounded to it in training, before they are multiplied, and so are products; the
    sum over a product's terms, and all between the layers, is as precise as ever (mixed precision, Micikevicius et al.
    2018, arXiv 1710.03740). A CPU that has instructions for it takes half of the time. Autocast gains little there: it
    has element-wise functions and attention work on bfloat16 too, which CPUs are slow at.

    A layer of several `parts` is so many of one size that are computed at once, one below the other in its weight.
    """

    product_dtype: torch.dtype | None = None

    def __init__(self, in_features: int, out_features: int, bias: bool = True, parts: int = 1) -> None:
        super().__init__(in_features, parts * out_features, bias)
        self.parts = parts

    def forward(self, x: Tensor) -> Tensor:
        """Map `(..., in)` to `(..., out)`."""
        if self.product_dtype is None or not self.training:
            return super().forward(x)
        result: Tensor = _LowProducts.apply(x, self.weight, self.bias, self.product_dtype)
        return result


def multiply_in(model: nn.Module, dtype: torch.dtype | None) -> None:
    """Let the linear layers of a model multiply in a precision in training; None is that of their weights."""
    for module in model.modules():
        if isinstance(module, Linear):
            module.product_dtype = dtype


class _LowProducts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
        low = padded_rows(x, dtype)
        ctx.save_for_backward(low, weight)
        product = F.linear(low, weight.to(dtype), bias if bias is None else bias.to(dtype))
        return _unpadded(product, x)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grad_outputs
        low, weight = ctx.saved_tensors
        for_x, for_weight, for_bias, _ = ctx.needs_input_grad
        low_grad = padded_rows(grad, low.dtype)
        return (
            _unpadded(low_grad @ weight.to(low.dtype), grad) if for_x else None,
            (low_grad.t() @ low).to(weight.dtype) if for_weight else None,
            grad.reshape(-1, grad.size(-1)).sum(0) if for_bias else None,
            None,
        )


def padded_rows(x: Tensor, dtype: torch.dtype) -> Tensor:
    """The rows of `(..., D)` as a matrix `(M, D)` in a dtype, with rows of zeros up to a multiple of 64.

    oneDNN makes a program for each new shape, which takes longer than to run it, and keeps it: batches of all sizes
    must not come as matrices of all sizes.
    """
    rows = x.reshape(-1, x.size(-1))
    padded = rows.new_empty(num_padded(len(rows)), x.size(-1), dtype=dtype)
    padded[: len(rows)].copy_(rows)
    padded[len(rows) :].zero_()
    return padded


def num_padded(rows: int) -> int:
    """The rows that `padded_rows` makes of some."""
    return -(-rows // _ROWS) * _ROWS


def _unpadded(product: Tensor, like: Tensor) -> Tensor:
    """The rows of `(M, D)` that stand for those of a tensor `(..., D')`, `(..., D)` in its dtype."""
    num_rows = like.numel() // like.size(-1)
    return product[:num_rows].to(like.dtype).view(*like.shape[:-1], -1)
