"""Multi-head attention (Vaswani et al. 2017, section 3.2.2) on torch's `scaled_dot_product_attention`."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from seq2seq.model.cache import KeysValues, KeyValueCache
from seq2seq.model.linear import Linear


class SelfAttention(nn.Module):
    """Every position attends to the positions of its own sequence."""

    def __init__(self, d_model: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.query_key_value = Linear(d_model, d_model, parts=3)
        self.output = Linear(d_model, d_model)

    def forward(self, x: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        """Attend over `x (B, T, D)`; `mask (B, 1, 1, T)` is True where a key takes part; causal: only to the left."""
        query, key, value = (split_heads(part, self.num_heads) for part in self.query_key_value(x).chunk(3, dim=-1))
        dropout = self.dropout if self.training else 0.0
        return self.output(merge_heads(_attend(query, key, value, mask, causal, dropout)))

    def step(self, x: Tensor, cache: KeyValueCache, layer: int) -> Tensor:
        """Attend from one new position `x (N, 1, D)` to it and all that the cache holds."""
        query, key, value = (split_heads(part, self.num_heads) for part in self.query_key_value(x).chunk(3, dim=-1))
        keys, values = cache.append(layer, key, value)
        return self.output(merge_heads(_attend(query, keys, values, None, False, 0.0)))


class CrossAttention(nn.Module):
    """Every target position attends to the encoder's states."""

    def __init__(self, d_model: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.query = Linear(d_model, d_model)
        self.key_value = Linear(d_model, d_model, parts=2)
        self.output = Linear(d_model, d_model)

    def forward(self, x: Tensor, states: Tensor, mask: Tensor | None) -> Tensor:
        """Attend from `x (B, T, D)` to `states (B, S, D)` where `mask (B, 1, 1, S)` is True."""
        keys, values = self.keys_values(states)
        query = split_heads(self.query(x), self.num_heads)
        dropout = self.dropout if self.training else 0.0
        return self.output(merge_heads(_attend(query, keys, values, mask, False, dropout)))

    def keys_values(self, states: Tensor) -> KeysValues:
        """Keys and values `(B, H, S, D/H)` of the encoder's states `(B, S, D)`."""
        keys, values = self.key_value(states).chunk(2, dim=-1)
        return split_heads(keys, self.num_heads), split_heads(values, self.num_heads)

    def step(self, x: Tensor, cache: KeyValueCache, layer: int) -> Tensor:
        """Attend from one new position `x (N, 1, D)`; the beams of a sentence are one block of queries."""
        keys, values = cache.cross[layer]
        beams = x.view(cache.num_sentences, cache.beam_size, -1)  # (B, K, D)
        query = split_heads(self.query(beams), self.num_heads)  # (B, H, K, D/H)
        return self.output(merge_heads(_attend(query, keys, values, cache.memory_mask, False, 0.0))).view_as(x)


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """Reshape `(B, T, D)` to `(B, H, T, D/H)`."""
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """Reshape `(B, H, T, D/H)` to `(B, T, D)`."""
    return x.transpose(1, 2).flatten(2)


def _attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool, dropout: float
) -> Tensor:
    """softmax(Q K^T / sqrt(D/H)) V (Vaswani et al. 2017, equation 1)."""
    attended: Tensor = F.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, dropout_p=dropout, is_causal=causal
    )
    return attended


def initialise(module: SelfAttention | CrossAttention) -> None:
    """Glorot-uniform projections, each of the fused ones as the square matrix that it is; zero biases."""
    for projection in module.children():
        assert isinstance(projection, nn.Linear)
        for square in projection.weight.split(projection.in_features):
            nn.init.xavier_uniform_(square)
        nn.init.zeros_(projection.bias)


