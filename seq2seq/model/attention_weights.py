"""What a trained model attends to: the weights that `scaled_dot_product_attention` computes and keeps to itself."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from seq2seq.model.attention import CrossAttention, split_heads
from seq2seq.model.transformer import Transformer


@torch.no_grad()
def cross_attention_weights(
    model: Transformer, source: Tensor, source_mask: Tensor, target_input: Tensor
) -> list[Tensor]:
    """The weights `(B, H, T, S)` with which target positions draw on source positions, of each decoder layer.

    Every row sums to 1 and is 0 where the mask is False. The model should be in evaluation mode.

    Args:
        model: the model, of which one forward pass is made.
        source: token ids `(B, S)`.
        source_mask: `(B, S)`, True where a source token takes part.
        target_input: token ids `(B, T)`, the target shifted right: row t is attended to when token t is predicted.
    """
    found: list[Tensor] = []

    def note(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        assert isinstance(module, CrossAttention)
        found.append(attention_weights(module, *arguments))

    hooks = [module.register_forward_pre_hook(note) for module in model.modules() if isinstance(module, CrossAttention)]
    try:
        model.decoder_states(target_input, model.encode(source, source_mask))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def attention_weights(attention: CrossAttention, x: Tensor, states: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(Q K^T / sqrt(D/H)) `(B, H, T, S)` (Vaswani et al. 2017, equation 1); arguments as in its `forward`."""
    keys, _ = attention.keys_values(states)
    query = split_heads(attention.query(x), attention.num_heads)
    products = query @ keys.transpose(-2, -1) / math.sqrt(query.size(-1))
    if mask is not None:
        products = products.masked_fill(~mask, -math.inf)
    return products.softmax(dim=-1)
