"""Linear layers with products of a lower precision, against `torch.nn` in full precision."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from seq2seq.model.linear import Linear, multiply_in


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(7,), (2, 3, 7)])
def test_low_products_round_each_factor_and_nothing_else(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(1)
    low = Linear(7, 5, bias=bias)
    plain = nn.Linear(7, 5, bias=bias)
    plain.load_state_dict(low.state_dict())
    multiply_in(low, torch.bfloat16)
    results = []
    for layer in (low, plain):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(2), requires_grad=True)
        y = layer(x)
        assert y.dtype == torch.float32
        y.square().sum().backward()
        assert x.grad is not None
        results.append([y, x.grad, *(parameter.grad for parameter in layer.parameters())])
    for ours, theirs in zip(*results, strict=True):
        assert ours.dtype == torch.float32
        assert not torch.equal(ours, theirs)
        torch.testing.assert_close(ours, theirs, rtol=0.03, atol=0.1)


def test_products_are_exact_where_rounding_costs_nothing() -> None:
    layer = Linear(4, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.arange(12).view(3, 4))
        layer.bias.copy_(torch.tensor([1.0, 2.0, 3.0]))
    x = torch.tensor([[1.0, 2.0, 0.0, -1.0]])
    expected = layer(x)
    multiply_in(layer, torch.bfloat16)
    assert torch.equal(layer(x), expected)


def test_use_has_full_precision() -> None:
    layer = Linear(7, 5)
    x = torch.randn(3, 7)
    expected = layer(x)
    multiply_in(layer, torch.bfloat16)
    assert not torch.equal(layer(x), expected)
    assert torch.equal(layer.eval()(x), expected)


def test_what_is_frozen_gets_no_gradient() -> None:
    layer = Linear(7, 5).requires_grad_(False)
    multiply_in(layer, torch.bfloat16)
    x = torch.randn(3, 7, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None
    assert layer.weight.grad is None
    assert not layer(x.detach()).requires_grad


def test_a_copy_keeps_its_precision() -> None:
    layer = Linear(7, 5)
    multiply_in(layer, torch.bfloat16)
    assert copy.deepcopy(layer).product_dtype is torch.bfloat16
