"""Encoder and decoder layers: sub-layers with dropout, residual connection and layer norm, before or after."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from seq2seq.config import Activation, ModelConfig
from seq2seq.model.attention import CrossAttention, SelfAttention
from seq2seq.model.cache import KeyValueCache
from seq2seq.model.dropout import Dropout
from seq2seq.model.linear import Linear


class FeedForward(nn.Module):
    """The position-wise network (Vaswani et al. 2017, equation 2), or a gated one (Shazeer 2020)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gated = config.activation.endswith("glu")
        self.activation = _activation(config.activation)
        self.activation_dropout = Dropout(config.activation_dropout)
        self.inner = Linear(config.d_model, config.d_ff, parts=2 if self.gated else 1)
        self.output = Linear(config.d_ff, config.d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, T, D)` to `(B, T, D)`, each position by itself."""
        inner = self.inner(x)
        if self.gated:
            gate, linear = inner.chunk(2, dim=-1)
            inner = self.activation(gate) * linear
        else:
            inner = self.activation(inner)
        return self.output(self.activation_dropout(inner))


class SubLayer(nn.Module):
    """Residual connection, dropout and layer norm around a function, in the order that the config says."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.pre_norm = config.norm == "pre"
        self.norm = nn.LayerNorm(config.d_model)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """x + f(norm(x)) in pre-norm, norm(x + f(x)) in post-norm, on `(B, T, D)`."""
        if self.pre_norm:
            return x + self.dropout(function(self.norm(x)))
        return self.norm(x + self.dropout(function(x)))


class EncoderLayer(nn.Module):
    """Self-attention, then the feed-forward network."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.self_attention = SelfAttention(config.d_model, config.num_heads, config.attention_dropout)
        self.self_attention_residual = SubLayer(config)
        self.feed_forward = FeedForward(config)
        self.feed_forward_residual = SubLayer(config)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Map `(B, S, D)` to `(B, S, D)`; `mask (B, 1, 1, S)` is True where a token takes part."""
        x = self.self_attention_residual(x, lambda y: self.self_attention(y, mask))
        return self.feed_forward_residual(x, self.feed_forward)


class DecoderLayer(nn.Module):
    """Causal self-attention, attention to the encoder, then the feed-forward network."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.self_attention = SelfAttention(config.d_model, config.num_heads, config.attention_dropout)
        self.self_attention_residual = SubLayer(config)
        self.cross_attention = CrossAttention(config.d_model, config.num_heads, config.attention_dropout)
        self.cross_attention_residual = SubLayer(config)
        self.feed_forward = FeedForward(config)
        self.feed_forward_residual = SubLayer(config)

    def forward(self, x: Tensor, states: Tensor, mask: Tensor | None) -> Tensor:
        """Map all target positions `(B, T, D)` at once, given the encoder's `states (B, S, D)` and their mask."""
        x = self.self_attention_residual(x, lambda y: self.self_attention(y, causal=True))
        x = self.cross_attention_residual(x, lambda y: self.cross_attention(y, states, mask))
        return self.feed_forward_residual(x, self.feed_forward)

    def step(self, x: Tensor, cache: KeyValueCache, layer: int) -> Tensor:
        """Map one new target position `(N, 1, D)`; the cache holds the earlier ones and the encoder's side."""
        x = self.self_attention_residual(x, lambda y: self.self_attention.step(y, cache, layer))
        x = self.cross_attention_residual(x, lambda y: self.cross_attention.step(y, cache, layer))
        return self.feed_forward_residual(x, self.feed_forward)


def _activation(name: Activation) -> Callable[[Tensor], Tensor]:
    match name:
        case "relu" | "reglu":
            return F.relu
        case "gelu" | "geglu":
            return F.gelu
        case "silu" | "swiglu":
            return F.silu
