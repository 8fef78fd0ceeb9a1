"""Layers that are left out: the right share of them, never all, and with gradients of zero."""

from __future__ import annotations

import pytest
import torch

from seq2seq.config import ModelConfig
from seq2seq.model.layer_drop import layers_to_drop, pass_by
from seq2seq.model.layers import EncoderLayer
from seq2seq.model.transformer import Transformer

CONFIG = ModelConfig(
    encoder_layers=3, decoder_layers=3, d_model=8, d_ff=8, num_heads=2, dropout=0.0, source_vocab_size=9,
    target_vocab_size=9,
)  # fmt: skip


def test_the_share_of_dropped_layers() -> None:
    torch.manual_seed(1)
    drawn = [layers_to_drop(12, 0.2) for _ in range(2000)]
    assert sum(map(sum, drawn)) / (12 * 2000) == pytest.approx(0.2, abs=0.01)


def test_never_all_are_dropped() -> None:
    torch.manual_seed(1)
    drawn = [layers_to_drop(3, 0.99) for _ in range(200)]
    assert all(sum(each) < 3 for each in drawn) and {each.index(False) for each in drawn} == {0, 1, 2}
    assert layers_to_drop(1, 0.99) == [False]


def test_what_passes_by_has_its_gradient_and_the_layer_has_zeros() -> None:
    layer = EncoderLayer(CONFIG)
    layer.feed_forward.requires_grad_(False)
    x = torch.randn(2, 3, 8, requires_grad=True)
    y = pass_by(layer, x)
    assert torch.equal(y, x)
    (y * 2).sum().backward()
    assert torch.equal(x.grad, torch.full_like(x, 2))
    for name, parameter in layer.named_parameters():
        if name.startswith("feed_forward."):
            assert parameter.grad is None
        else:
            assert torch.equal(parameter.grad, torch.zeros_like(parameter)), name


def test_a_model_with_dropped_layers_is_the_model_without_them() -> None:
    torch.manual_seed(1)
    model = Transformer(CONFIG)
    source, mask, target = torch.randint(4, 9, (2, 5)), torch.ones(2, 5, dtype=torch.bool), torch.randint(4, 9, (2, 4))
    whole = model(source, mask, target)
    model.layer_drop = 0.99
    torch.manual_seed(2)
    dropped = model(source, mask, target)
    assert not torch.allclose(dropped, whole)
    dropped.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    torch.testing.assert_close(model.eval()(source, mask, target), whole)
    torch.manual_seed(2)
    for name in ("encoder", "decoder"):
        layers = zip(getattr(model, name), layers_to_drop(3, 0.99), strict=True)
        setattr(model, name, torch.nn.ModuleList(layer for layer, is_dropped in layers if not is_dropped))
    torch.testing.assert_close(model(source, mask, target), dropped)
