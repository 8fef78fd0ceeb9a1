"""Linear layers for inference, in a precision and in the layout that is fastest for it.

Measured on one core with AVX-512 and VNNI, for 256 inputs: int8 takes a third of the time of float32 for 64 rows and
more; for a single row, quantising it costs more than a small matrix does. oneDNN's own layout of a wide matrix, such as
the output projection, saves a sixth for many rows, and more for few.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from seq2seq.config import WeightPrecision

Projection = Callable[[Tensor], Tensor]  # (..., in) to (..., out)

_WIDE = 4096  # outputs from which a matrix is wide
_FEW_ROWS = 2  # up to which a small matrix is not worth quantising for
_MANY_ROWS = 32  # from which oneDNN's int8 products of wide matrices are faster than FBGEMM's
_SMALL = 2**17  # weights of a small matrix


def projection(weight: Tensor, bias: Tensor | None, precision: WeightPrecision) -> Projection:
    """The linear layer of a weight `(out, in)` and a bias `(out,)`."""
    match precision:
        case "float32":
            return _float32(weight, bias)
        case "int8":
            return _int8(weight, bias)
        case "bfloat16":
            return _bfloat16(weight, bias)


def _float32(weight: Tensor, bias: Tensor | None) -> Projection:
    """In oneDNN's own layout where that pays: of matrices that are not small, for more than a few rows."""
    if weight.numel() <= _SMALL or weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return lambda x: F.linear(x, weight, bias)
    packed, linear = torch.ops.mkldnn._reorder_linear_weight(weight, None), torch.ops.mkldnn._linear_pointwise
    if weight.size(0) >= _WIDE:
        return lambda x: linear(x, packed, bias, "none", [], "")
    return lambda x: F.linear(x, weight, bias) if _rows(x) <= _FEW_ROWS else linear(x, packed, bias, "none", [], "")


def _bfloat16(weight: Tensor, bias: Tensor | None) -> Projection:
    low, low_bias = weight.bfloat16(), bias if bias is None else bias.bfloat16()
    return lambda x: F.linear(x.bfloat16(), low, low_bias).to(x.dtype)


def _int8(weight: Tensor, bias: Tensor | None) -> Projection:
    """Weights are rounded to 8 bits with a scale for each output, inputs with one for each call."""
    quantised = _quantised(weight)
    multiply = _int8_product(quantised, bias, "fbgemm")
    if weight.size(0) >= _WIDE:
        multiply_many = _int8_product(quantised, bias, "onednn")
        return lambda x: (multiply_many if _rows(x) >= _MANY_ROWS else multiply)(x)
    if weight.numel() <= _SMALL:
        return lambda x: F.linear(x, weight, bias) if _rows(x) <= _FEW_ROWS else multiply(x)
    return multiply


def _quantised(weight: Tensor) -> Tensor:
    scales = weight.abs().amax(1).clamp_(min=1e-12).double() / 127
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a future torch will have no such tensors; those that we declare have
        return torch.quantize_per_channel(weight.float(), scales, torch.zeros_like(scales).long(), 0, torch.qint8)


def _int8_product(quantised: Tensor, bias: Tensor | None, engine: str) -> Projection:
    packed, seven_bits = _pack(quantised, bias, engine), _overflows(engine)
    return lambda x: torch.ops.quantized.linear_dynamic(x, packed, seven_bits)


@cache
def _overflows(engine: str) -> bool:
    """Whether the engine's sums of two products of 8 bits are cut off at 16 bits, as on processors without VNNI.

    There, inputs may have 7 bits only. It is seen from a product of the largest numbers, whose sums are the largest.
    """
    packed = _pack(_quantised(torch.ones(64, 64)), None, engine)
    found = torch.ops.quantized.linear_dynamic(torch.ones(_MANY_ROWS, 64), packed, False)
    return bool((found - 64).abs().max() > 1)


def _rows(x: Tensor) -> int:
    return x.numel() // x.size(-1)


def _pack(quantised: Tensor, bias: Tensor | None, engine: str) -> Any:
    """A matrix in the layout of an engine, if this machine has it."""
    before = torch.backends.quantized.engine
    if engine in torch.backends.quantized.supported_engines:
        torch.backends.quantized.engine = engine
    try:
        return torch.ops.quantized.linear_prepack(quantised, bias)
    finally:
        torch.backends.quantized.engine = before
