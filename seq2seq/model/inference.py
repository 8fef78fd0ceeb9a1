"""The model as translating computes it: the encoder, and one decoder step at a time for all beams of all sentences.

The numbers are those of `Transformer.encode` and `Transformer.decode_step`, by fewer operations: no module is called,
weights lie as their precision likes them, and keys and values are never moved.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seq2seq.config import WeightPrecision
from seq2seq.model.attention import CrossAttention, SelfAttention, merge_heads, split_heads
from seq2seq.model.layers import DecoderLayer, EncoderLayer, FeedForward, SubLayer
from seq2seq.model.lora import weight_of
from seq2seq.model.projections import Projection, projection
from seq2seq.model.step_cache import StepCache
from seq2seq.model.transformer import Transformer

_Linear = Callable[[nn.Linear], Projection]


class InferenceModel:
    """A model's encoder, decoder and output projection, for translating.

    Attributes:
        output: maps the decoder's states `(N, D)` to logits `(N, V)`.
    """

    def __init__(self, model: Transformer, precision: WeightPrecision = "float32") -> None:
        """Lay out a model's weights; in float32 those that the CPU needs in no other order are the model's own."""

        def linear(layer: nn.Linear) -> Projection:
            return projection(weight_of(layer).detach(), layer.bias, precision)

        self._precision: WeightPrecision = precision
        self._positions, self._scale = model.positions, model.embedding_scale
        self._source_embedding, self._target_embedding = model.source_embedding, model.target_embedding
        self._encoder = [_EncoderLayer(cast(EncoderLayer, layer), linear) for layer in model.encoder]
        self._decoder = [_DecoderLayer(cast(DecoderLayer, layer), linear) for layer in model.decoder]
        self._encoder_norm, self._decoder_norm = _norm(model.encoder_norm), _norm(model.decoder_norm)
        self._output = model.output
        self.output = linear(model.output)

    def start(self, source: Tensor, source_mask: Tensor, beam_size: int) -> StepCache:
        """Encode token ids `(B, S)`, where `source_mask (B, S)` is True; the cache before the first target token."""
        mask = additive_mask(source_mask)
        x = self._embed(self._source_embedding, source, self._positions[: source.size(1)])
        for layer in self._encoder:
            x = layer(x, mask)
        states = self._encoder_norm(x)
        return StepCache([layer.cross.keys_values(states) for layer in self._decoder], mask, beam_size)

    def step(self, tokens: Tensor, cache: StepCache) -> Tensor:
        """The decoder's states `(N, D)` that say what comes next, given the latest tokens `(N,)`."""
        x = self._embed(self._target_embedding, tokens, self._positions[cache.length])
        mask = cache.grow()
        for number, layer in enumerate(self._decoder):
            x = layer(x, cache, number, mask)
        return self._decoder_norm(x)

    def output_among(self, tokens: Tensor) -> Projection:
        """The output projection to some tokens `(V',)` of the vocabulary only."""
        weight, bias = weight_of(self._output).detach()[tokens], self._output.bias
        return projection(weight, bias if bias is None else bias[tokens], self._precision)

    def _embed(self, embedding: nn.Module, tokens: Tensor, positions: Tensor) -> Tensor:
        return torch.add(positions, embedding(tokens), alpha=self._scale)


class _EncoderLayer:
    """Maps `(B, S, D)` to the same."""

    def __init__(self, layer: EncoderLayer, linear: _Linear) -> None:
        self._attention = _SelfAttention(layer.self_attention, linear)
        self._feed_forward = _feed_forward(layer.feed_forward, linear)
        self._residuals = _residual(layer.self_attention_residual), _residual(layer.feed_forward_residual)

    def __call__(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = self._residuals[0](x, lambda y: self._attention(y, mask))
        return self._residuals[1](x, self._feed_forward)


class _DecoderLayer:
    """Maps the latest position of each row, `(N, D)`, to the same."""

    def __init__(self, layer: DecoderLayer, linear: _Linear) -> None:
        self._attention = _SelfAttention(layer.self_attention, linear)
        self.cross = _CrossAttention(layer.cross_attention, linear)
        self._feed_forward = _feed_forward(layer.feed_forward, linear)
        residuals = layer.self_attention_residual, layer.cross_attention_residual, layer.feed_forward_residual
        self._residuals = [_residual(each) for each in residuals]

    def __call__(self, x: Tensor, cache: StepCache, number: int, mask: Tensor | None) -> Tensor:
        x = self._residuals[0](x, lambda y: self._attention.step(y, cache, number, mask))
        x = self._residuals[1](x, lambda y: self.cross.step(y, cache, number))
        return self._residuals[2](x, self._feed_forward)


class _SelfAttention:
    def __init__(self, attention: SelfAttention, linear: _Linear) -> None:
        self._num_heads = attention.num_heads
        self._query_key_value, self._output = linear(attention.query_key_value), linear(attention.output)

    def __call__(self, x: Tensor, mask: Tensor | None) -> Tensor:
        projected = self._query_key_value(x).chunk(3, dim=-1)
        query, key, value = (split_heads(part, self._num_heads) for part in projected)
        return self._output(merge_heads(F.scaled_dot_product_attention(query, key, value, attn_mask=mask)))

    def step(self, x: Tensor, cache: StepCache, number: int, mask: Tensor | None) -> Tensor:
        beams = (cache.num_sentences, cache.beam_size, 3, self._num_heads, -1)
        projected = self._query_key_value(x).view(beams).permute(2, 0, 3, 1, 4)  # (3, B, H, K, D/H)
        keys, values = cache.append(number, projected[1:])
        attended = F.scaled_dot_product_attention(projected[0], keys, values, attn_mask=mask)
        return self._output(attended.transpose(1, 2).reshape(x.shape))


class _CrossAttention:
    def __init__(self, attention: CrossAttention, linear: _Linear) -> None:
        self._num_heads = attention.num_heads
        self._query, self._output = linear(attention.query), linear(attention.output)
        self._key_value = linear(attention.key_value)

    def keys_values(self, states: Tensor) -> Tensor:
        """Keys and values `(2, B, H, S, D/H)` of the encoder's states `(B, S, D)`."""
        projected = self._key_value(states).unflatten(-1, (2, self._num_heads, -1))
        return projected.permute(2, 0, 3, 1, 4).contiguous()

    def step(self, x: Tensor, cache: StepCache, number: int) -> Tensor:
        beams = (cache.num_sentences, cache.beam_size, self._num_heads, -1)
        query = self._query(x).view(beams).transpose(1, 2)  # (B, H, K, D/H)
        keys, values = cache.cross[number].unbind(0)
        attended = F.scaled_dot_product_attention(query, keys, values, attn_mask=cache.memory_mask)
        return self._output(attended.transpose(1, 2).reshape(x.shape))


def additive_mask(mask: Tensor) -> Tensor | None:
    """What is added to attention weights `(B, 1, 1, S)` for a mask `(B, S)`; None where nothing is padded."""
    if mask.all():
        return None
    return torch.zeros(mask.shape, device=mask.device).masked_fill_(~mask, -torch.inf)[:, None, None, :]


def _norm(module: nn.Module) -> Projection:
    if isinstance(module, nn.Identity):
        return lambda x: x
    assert isinstance(module, nn.LayerNorm)
    shape, weight, bias, epsilon = module.normalized_shape, module.weight, module.bias, module.eps
    return lambda x: torch.layer_norm(x, shape, weight, bias, epsilon)


def _residual(layer: SubLayer) -> Callable[[Tensor, Projection], Tensor]:
    norm = _norm(layer.norm)
    if layer.pre_norm:
        return lambda x, function: function(norm(x)).add_(x)
    return lambda x, function: norm(function(x).add_(x))


def _feed_forward(layer: FeedForward, linear: _Linear) -> Projection:
    inner, output = linear(layer.inner), linear(layer.output)
    activation = torch.relu_ if layer.activation is F.relu else layer.activation

    def gated(x: Tensor) -> Tensor:
        gate, plain = inner(x).chunk(2, dim=-1)
        return output(activation(gate).mul_(plain))

    return gated if layer.gated else lambda x: output(activation(inner(x)))
