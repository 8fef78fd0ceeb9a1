"""The Transformer: an encoder, a decoder, embeddings and the output projection (Vaswani et al. 2017)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from seq2seq.config import ModelConfig
from seq2seq.errors import ConfigError
from seq2seq.model.attention import CrossAttention, SelfAttention
from seq2seq.model.attention import initialise as initialise_attention
from seq2seq.model.cache import KeyValueCache
from seq2seq.model.dropout import Dropout, drop_words
from seq2seq.model.layer_drop import layers_to_drop, pass_by
from seq2seq.model.layers import DecoderLayer, EncoderLayer
from seq2seq.model.linear import Linear
from seq2seq.model.positions import sinusoidal_positions


class Memory(NamedTuple):
    """What the encoder hands the decoder."""

    states: Tensor  # (B, S, D)
    mask: Tensor  # (B, S), True where a source token takes part


class Transformer(nn.Module):
    """Encoder-decoder Transformer with sinusoidal positions.

    Token ids are the tokenizer's business: the model has no special ids, only masks.

    Attributes:
        layer_drop, source_word_dropout, target_word_dropout: how likely layers and embeddings are dropped in training;
            settings of a training, not of the model.
    """

    layer_drop = source_word_dropout = target_word_dropout = 0.0

    def __init__(self, config: ModelConfig) -> None:
        """Make a model with freshly initialised weights.

        Raises:
            ConfigError: if the vocabulary sizes are not filled in.
        """
        super().__init__()
        if not (config.source_vocab_size and config.target_vocab_size):
            raise ConfigError("`model.source_vocab_size` and `model.target_vocab_size`: must be set to build a model")
        self.config = config
        self.source_embedding = nn.Embedding(config.source_vocab_size, config.d_model)
        self.target_embedding = nn.Embedding(config.target_vocab_size, config.d_model)
        self.output = Linear(config.d_model, config.target_vocab_size, bias=config.output_bias)
        self.encoder = nn.ModuleList(EncoderLayer(config) for _ in range(config.encoder_layers))
        self.decoder = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_layers))
        # Post-norm layers end in a norm already.
        pre = config.norm == "pre"
        self.encoder_norm = nn.LayerNorm(config.d_model) if pre else nn.Identity()
        self.decoder_norm = nn.LayerNorm(config.d_model) if pre else nn.Identity()
        self.dropout = Dropout(config.dropout)
        self.positions: Tensor
        self.register_buffer("positions", sinusoidal_positions(config.max_length, config.d_model), persistent=False)
        self.embedding_scale = math.sqrt(config.d_model) if config.scale_embeddings else 1.0
        self._tie()
        self.initialise()

    def _tie(self) -> None:
        match self.config.tied_embeddings:
            case "all":
                self.source_embedding.weight = self.output.weight = self.target_embedding.weight
            case "inputs":
                self.source_embedding.weight = self.target_embedding.weight
            case "decoder":
                self.output.weight = self.target_embedding.weight
            case "none":
                pass

    def initialise(self) -> None:
        """Glorot-uniform matrices, zero biases, embeddings from N(0, 1/D) so that sqrt(D) times them has variance 1.

        Depth-scaled (DS-Init, Zhang et al. 2019, arXiv 1908.11365), matrices of layer l, counted from 1,
        are smaller by the square root of l, and so is what layers high up add to the residual stream: it keeps deep
        post-norm stacks, whose gradients vanish otherwise, trainable. Nothing else of the model changes, so translating
        and exports know nothing of it; DeepNorm (Wang et al. 2022) would need another residual connection in all.
        """
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=self.config.d_model**-0.5)
            elif isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, SelfAttention | CrossAttention):
                initialise_attention(module)
        if self.config.initialisation == "depth_scaled":
            self._scale_by_depth()
        # The output projection is drawn like the embedding that it may be tied to.
        nn.init.normal_(self.output.weight, std=self.config.d_model**-0.5)

    @torch.no_grad()
    def _scale_by_depth(self) -> None:
        for stack in (self.encoder, self.decoder):
            for depth, layer in enumerate(stack, 1):
                for module in layer.modules():
                    if isinstance(module, nn.Linear):
                        module.weight.mul_(depth**-0.5)

    def forward(self, source: Tensor, source_mask: Tensor, target_input: Tensor) -> Tensor:
        """Logits `(B, T, V)` of every next target token, all positions in parallel.

        Args:
            source: token ids `(B, S)`.
            source_mask: `(B, S)`, True where a source token takes part.
            target_input: token ids `(B, T)`, the target shifted right.
        """
        return self.decode(target_input, self.encode(source, source_mask))

    def encode(self, source: Tensor, source_mask: Tensor) -> Memory:
        """Encode token ids `(B, S)`; `source_mask (B, S)` is True where a token takes part."""
        x = self._embed(self.source_embedding, source, word_dropout=self.source_word_dropout)
        mask = attention_mask(source_mask)
        for layer, is_dropped in self._drawn(self.encoder):
            x = pass_by(layer, x) if is_dropped else layer(x, mask)
        return Memory(self.encoder_norm(x), source_mask)

    def decode(self, target_input: Tensor, memory: Memory) -> Tensor:
        """Logits `(B, T, V)` given all target tokens `(B, T)` at once; position t sees tokens up to t."""
        logits: Tensor = self.output(self.decoder_states(target_input, memory))
        return logits

    def decoder_states(self, target_input: Tensor, memory: Memory) -> Tensor:
        """The decoder's last states `(B, T, D)`, before the output projection."""
        x = self._embed(self.target_embedding, target_input, word_dropout=self.target_word_dropout)
        mask = attention_mask(memory.mask)
        for layer, is_dropped in self._drawn(self.decoder):
            x = pass_by(layer, x) if is_dropped else layer(x, memory.states, mask)
        states: Tensor = self.decoder_norm(x)
        return states

    def start(self, memory: Memory, beam_size: int = 1) -> KeyValueCache:
        """A cache for decoding the memory's sentences step by step, `beam_size` rows each."""
        cross = [layer.cross_attention.keys_values(memory.states) for layer in self._decoder_layers()]
        return KeyValueCache(cross, attention_mask(memory.mask), beam_size)

    def decode_step(self, tokens: Tensor, cache: KeyValueCache) -> Tensor:
        """Logits `(N, V)` of the next tokens, given the latest ones `(N,)`; the cache grows by one position."""
        x = self._embed(self.target_embedding, tokens[:, None], cache.length)
        for index, layer in enumerate(self._decoder_layers()):
            x = layer.step(x, cache, index)
        cache.length += 1
        logits: Tensor = self.output(self.decoder_norm(x)[:, 0])
        return logits

    def _decoder_layers(self) -> list[DecoderLayer]:
        return cast("list[DecoderLayer]", list(self.decoder))  # a ModuleList does not know what it holds

    def _drawn(self, layers: nn.ModuleList) -> Iterator[tuple[nn.Module, bool]]:
        """Layers, and whether each is dropped this time."""
        p = self.layer_drop if self.training else 0.0
        return zip(layers, layers_to_drop(len(layers), p) if p else [False] * len(layers), strict=True)

    def _embed(
        self, embedding: nn.Embedding, tokens: Tensor, offset: int = 0, word_dropout: float = 0.0
    ) -> Tensor:
        """Scaled embeddings plus positions, `(B, T)` to `(B, T, D)` (Vaswani et al. 2017, sections 3.4 and 3.5)."""
        positions = self.positions[offset : offset + tokens.size(1)]
        scaled = embedding(tokens) * self.embedding_scale
        if self.training and word_dropout:
            scaled = drop_words(scaled, word_dropout)
        embedded: Tensor = self.dropout(scaled + positions)
        return embedded


def attention_mask(mask: Tensor) -> Tensor | None:
    """A padding mask `(B, S)` in the shape of attention weights `(B, 1, 1, S)`; None where nothing is padded.

    Without a mask, attention takes its faster path. To look whether there is padding, one would have to wait for a GPU.
    """
    return None if mask.device.type == "cpu" and mask.all() else mask[:, None, None, :]
