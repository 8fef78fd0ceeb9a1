"""The model as translating computes it: the encoder, and one decoder step at a time for all beams of all sentences.

The same numbers as `Transformer.encode` and `Transformer.decode_step`, by way of fewer and larger operations: no modules
are called, keys and values are never moved, and the beams of a sentence are one block of queries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seq2seq.config import WeightPrecision
from seq2seq.model.attention import SelfAttention, merge_heads, split_heads
from seq2seq.model.layers import DecoderLayer, EncoderLayer, FeedForward, SubLayer
from seq2seq.model.lora import weight_of
from seq2seq.model.transformer import Transformer

Function = Callable[[Tensor], Tensor]
Maker = Callable[[nn.Linear], Function]
_FIRST_LENGTH = 32  # tokens that a cache has room for at first


class StepCache:
    """Keys and values of every decoder layer, for `B` sentences with `K` beams each; `N = B * K` rows.

    A sentence's beams share one store of keys and values: each step adds `K` entries, one for each beam, and nothing is
    ever moved. Which of the entries are a beam's own past is what the mask says, so that to reorder beams is to reorder
    rows of the mask.
    """

    def __init__(self, cross: Sequence[tuple[Tensor, Tensor]], memory_mask: Tensor | None, beam_size: int) -> None:
        """Start before the first token.

        Args:
            cross: for each layer, keys and values `(B, H, S, D/H)` of the encoder's states.
            memory_mask: `(B, 1, 1, S)`, added to attention: 0 where a source token takes part, else -inf; or None.
            beam_size: rows for each sentence, `K`.
        """
        self.cross = list(cross)
        self.memory_mask = memory_mask
        self.beam_size = beam_size
        self.length = 0
        keys = self.cross[0][0]
        room = (keys.size(0), keys.size(1), _FIRST_LENGTH * beam_size, keys.size(3))
        self._stores = [(keys.new_empty(room), keys.new_empty(room)) for _ in self.cross]  # (B, H, C, D/H)
        # Added to attention: (B, 1, K, C), 0 where an entry is of the beam's past. A single beam sees all entries.
        shape = (keys.size(0), 1, beam_size, _FIRST_LENGTH * beam_size)
        self._mask = keys.new_full(shape, -torch.inf) if beam_size > 1 else None

    @property
    def num_sentences(self) -> int:
        """Sentences that are still being decoded, `B`."""
        return self.cross[0][0].size(0)

    def begin(self) -> Tensor | None:
        """Make room for one more token of each beam; the mask `(B, 1, K, entries)` of the step, None if all is seen."""
        first, end = self.length * self.beam_size, (self.length + 1) * self.beam_size
        if end > self._stores[0][0].size(2):
            self._grow()
        self.length += 1
        if self._mask is None:
            return None
        self._mask[:, 0, :, first:end].diagonal(dim1=1, dim2=2).fill_(0.0)
        return self._mask[:, :, :, :end]

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store the keys and values `(B, H, K, D/H)` of the latest tokens; return all so far, `(B, H, K * T, D/H)`."""
        end = self.length * self.beam_size
        stored_keys, stored_values = self._stores[layer]
        stored_keys[:, :, end - self.beam_size : end] = keys
        stored_values[:, :, end - self.beam_size : end] = values
        return stored_keys[:, :, :end], stored_values[:, :, :end]

    def select(self, rows: Tensor) -> None:
        """Reorder the rows: row `n` goes on from what was row `rows[n]` `(N,)`, a row of the same sentence."""
        if self._mask is not None:
            self._mask = self._mask.flatten(0, 2).index_select(0, rows).view_as(self._mask)

    def keep_sentences(self, sentences: Tensor) -> None:
        """Drop all but the given sentences `(B_new,)`, with their beams."""
        self._stores = [(k.index_select(0, sentences), v.index_select(0, sentences)) for k, v in self._stores]
        self.cross = [(k.index_select(0, sentences), v.index_select(0, sentences)) for k, v in self.cross]
        if self._mask is not None:
            self._mask = self._mask.index_select(0, sentences)
        if self.memory_mask is not None:
            self.memory_mask = self.memory_mask.index_select(0, sentences)

    def _grow(self) -> None:
        """Make room for twice as many tokens."""
        self._stores = [tuple(torch.cat([s, torch.empty_like(s)], dim=2) for s in pair) for pair in self._stores]  # type: ignore[misc]
        if self._mask is not None:
            self._mask = torch.cat([self._mask, torch.full_like(self._mask, -torch.inf)], dim=3)


class InferenceModel:
    """A model's encoder and decoder, for translating."""

    def __init__(self, model: Transformer, precision: WeightPrecision = "float32") -> None:
        """Lay out a model's weights; in float32 they are the model's own, and follow it."""
        config = model.config
        self._linear = projection = _MAKERS[precision]

        def linear(layer: nn.Linear) -> Function:
            return projection(weight_of(layer).detach(), layer.bias)

        self.max_length = config.max_length
        self.num_heads = config.num_heads
        self.positions = model.positions
        self._embedding_scale = model.embedding_scale
        self._source_embedding = model.source_embedding
        self._target_embedding = model.target_embedding
        self._encoder = [_Encoder(cast(EncoderLayer, layer), linear) for layer in model.encoder]
        self._decoder = [_Decoder(cast(DecoderLayer, layer), linear) for layer in model.decoder]
        self._encoder_norm = _norm(model.encoder_norm)
        self._decoder_norm = _norm(model.decoder_norm)
        self._output_weight, self._output_bias = weight_of(model.output).detach(), model.output.bias
        self.output = linear(model.output)

    def start(self, source: Tensor, source_mask: Tensor, beam_size: int) -> StepCache:
        """Encode token ids `(B, S)`, where `source_mask (B, S)` is True; the cache before the first target token."""
        mask = additive_mask(source_mask)
        x = self._embed(self._source_embedding, source, self.positions[: source.size(1)])
        for layer in self._encoder:
            x = layer(x, mask)
        states = self._encoder_norm(x)
        return StepCache([layer.cross_keys_values(states) for layer in self._decoder], mask, beam_size)

    def step(self, tokens: Tensor, cache: StepCache) -> Tensor:
        """The decoder's states `(N, D)`, from which `output` makes logits, given the latest tokens `(N,)`."""
        beams = tokens.view(cache.num_sentences, cache.beam_size)
        x = self._embed(self._target_embedding, beams, self.positions[cache.length])  # (B, K, D)
        mask = cache.begin()
        for number, layer in enumerate(self._decoder):
            x = layer(x, cache, number, mask)
        return self._decoder_norm(x).flatten(0, 1)

    def output_among(self, tokens: Tensor) -> Function:
        """The output projection to some tokens `(V',)` of the vocabulary only."""
        weight, bias = self._output_weight[tokens], self._output_bias
        return self._linear(weight, bias if bias is None else bias[tokens])

    def _embed(self, embedding: nn.Module, tokens: Tensor, positions: Tensor) -> Tensor:
        return torch.add(positions, embedding(tokens), alpha=self._embedding_scale)


class _Encoder:
    """An encoder layer."""

    def __init__(self, layer: EncoderLayer, linear: Maker) -> None:
        self._attention = _SelfAttention(layer.self_attention, linear)
        self._residuals = _residual(layer.self_attention_residual), _residual(layer.feed_forward_residual)
        self._feed_forward = _feed_forward(layer.feed_forward, linear)

    def __call__(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = self._residuals[0](x, lambda y: self._attention(y, mask))
        return self._residuals[1](x, self._feed_forward)


class _Decoder:
    """A decoder layer."""

    def __init__(self, layer: DecoderLayer, linear: Maker) -> None:
        cross = layer.cross_attention
        self.num_heads = cross.num_heads
        self._attention = _SelfAttention(layer.self_attention, linear)
        self._query, self._key_value, self._output = map(linear, (cross.query, cross.key_value, cross.output))
        residuals = layer.self_attention_residual, layer.cross_attention_residual, layer.feed_forward_residual
        self._residuals = [_residual(each) for each in residuals]
        self._feed_forward = _feed_forward(layer.feed_forward, linear)

    def cross_keys_values(self, states: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = self._key_value(states).chunk(2, dim=-1)
        return split_heads(keys, self.num_heads).contiguous(), split_heads(values, self.num_heads).contiguous()

    def __call__(self, x: Tensor, cache: StepCache, number: int, mask: Tensor | None) -> Tensor:
        x = self._residuals[0](x, lambda y: self._attention.step(y, cache, number, mask))
        x = self._residuals[1](x, lambda y: self._cross(y, *cache.cross[number], cache.memory_mask))
        return self._residuals[2](x, self._feed_forward)

    def _cross(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        query = split_heads(self._query(x), self.num_heads)
        return self._output(merge_heads(F.scaled_dot_product_attention(query, keys, values, attn_mask=mask)))


class _SelfAttention:
    def __init__(self, attention: SelfAttention, linear: Maker) -> None:
        self.num_heads = attention.num_heads
        self._query_key_value, self._output = linear(attention.query_key_value), linear(attention.output)

    def __call__(self, x: Tensor, mask: Tensor | None) -> Tensor:
        query, key, value = self._project(x)
        return self._output(merge_heads(F.scaled_dot_product_attention(query, key, value, attn_mask=mask)))

    def step(self, x: Tensor, cache: StepCache, number: int, mask: Tensor | None) -> Tensor:
        query, key, value = self._project(x)
        keys, values = cache.append(number, key, value)
        return self._output(merge_heads(F.scaled_dot_product_attention(query, keys, values, attn_mask=mask)))

    def _project(self, x: Tensor) -> Sequence[Tensor]:
        projected = self._query_key_value(x).unflatten(-1, (3, self.num_heads, -1))  # (B, T, 3, H, D/H)
        return projected.permute(2, 0, 3, 1, 4).unbind(0)  # three of (B, H, T, D/H)


def additive_mask(mask: Tensor) -> Tensor | None:
    """What is added to attention weights `(B, 1, 1, S)` for a mask `(B, S)`; None where nothing is padded."""
    if mask.all():
        return None
    return torch.zeros(mask.shape, device=mask.device).masked_fill_(~mask, -torch.inf)[:, None, None, :]


def _float32(weight: Tensor, bias: Tensor | None) -> Function:
    return lambda x: F.linear(x, weight, bias)


def _bfloat16(weight: Tensor, bias: Tensor | None) -> Function:
    weight, bias = weight.bfloat16(), bias if bias is None else bias.bfloat16()
    return lambda x: F.linear(x.bfloat16(), weight, bias).float()


def _int8(weight: Tensor, bias: Tensor | None) -> Function:
    scale = weight.abs().amax(1).clamp_(min=1e-12).double() / 127
    quantised = torch.quantize_per_channel(weight, scale, torch.zeros_like(scale, dtype=torch.long), 0, torch.qint8)
    packed = torch.ops.quantized.linear_prepack(quantised, bias)
    return lambda x: torch.ops.quantized.linear_dynamic(x, packed, False)


_MAKERS = {"float32": _float32, "bfloat16": _bfloat16, "int8": _int8}


def _norm(module: nn.Module) -> Function:
    if isinstance(module, nn.Identity):
        return lambda x: x
    assert isinstance(module, nn.LayerNorm)
    shape, weight, bias, epsilon = module.normalized_shape, module.weight, module.bias, module.eps
    return lambda x: F.layer_norm(x, shape, weight, bias, epsilon)


def _residual(layer: SubLayer) -> Callable[[Tensor, Function], Tensor]:
    norm = _norm(layer.norm)
    if layer.pre_norm:
        return lambda x, function: function(norm(x)).add_(x)
    return lambda x, function: norm(function(x).add_(x))


def _feed_forward(layer: FeedForward, linear: Maker) -> Function:
    inner, output, activation = linear(layer.inner), linear(layer.output), layer.activation
    if layer.gated:
        def gated(x: Tensor) -> Tensor:
            gate, plain = inner(x).chunk(2, dim=-1)
            return output(activation(gate).mul_(plain))
        return gated
    return lambda x: output(activation(inner(x)))
