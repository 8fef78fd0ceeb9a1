"""Attention weights against torch's own attention, which can give them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from seq2seq.model.attention import CrossAttention
from seq2seq.model.attention_weights import attention_weights, cross_attention_weights
from seq2seq.model.transformer import attention_mask
from tests.random_models import random_model


def some_mask(sentences: int, length: int) -> torch.Tensor:
    return torch.arange(length) < torch.arange(1, sentences + 1)[:, None]


@pytest.mark.parametrize("num_heads", [1, 4])
def test_weights_are_those_of_torch_for_the_same_parameters(num_heads: int) -> None:
    torch.manual_seed(1)
    ours = CrossAttention(16, num_heads, dropout=0.0)
    theirs = nn.MultiheadAttention(16, num_heads, batch_first=True)
    theirs.in_proj_weight.data = torch.cat([ours.query.weight, ours.key_value.weight])
    theirs.in_proj_bias.data = torch.cat([ours.query.bias, ours.key_value.bias])
    x, states, mask = torch.randn(3, 5, 16), torch.randn(3, 7, 16), some_mask(3, 7)
    found = attention_weights(ours, x, states, attention_mask(mask))
    _, expected = theirs(x, states, states, key_padding_mask=~mask, average_attn_weights=False)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_every_layer_has_rows_that_sum_to_one_and_leave_padding_out(norm: str) -> None:
    model = random_model(norm=norm, decoder_layers=3)
    source, mask, target = torch.randint(4, 80, (4, 6)), some_mask(4, 6), torch.randint(4, 80, (4, 5))
    layers = cross_attention_weights(model, source, mask, target)
    assert [tuple(layer.shape) for layer in layers] == [(4, 4, 5, 6)] * 3
    for layer in layers:
        torch.testing.assert_close(layer.sum(dim=-1), torch.ones(4, 4, 5))
        assert (layer.masked_select(~mask[:, None, None, :]) == 0).all()


def test_the_values_that_the_weights_mix_are_what_attention_gives() -> None:
    attention = CrossAttention(16, 4, dropout=0.0)
    x, states, mask = torch.randn(3, 5, 16), torch.randn(3, 7, 16), attention_mask(some_mask(3, 7))
    _, values = attention.keys_values(states)
    mixed = (attention_weights(attention, x, states, mask) @ values).transpose(1, 2).flatten(2)
    torch.testing.assert_close(attention.output(mixed), attention(x, states, mask))


def test_the_model_is_left_without_hooks() -> None:
    model = random_model()
    tokens = torch.randint(4, 80, (1, 3))
    with pytest.raises(IndexError):
        cross_attention_weights(model, tokens, torch.ones(1, 3, dtype=torch.bool), torch.tensor([[999]]))
    cross_attention_weights(model, tokens, torch.ones(1, 3, dtype=torch.bool), tokens)
    assert not any(module._forward_pre_hooks for module in model.modules())
