"""Low-rank adaptation, LoRA (Hu et al. 2021, arXiv 2106.09685): small matrices that are learnt beside frozen ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seq2seq.config import TrainingConfig
from seq2seq.model.dropout import Dropout
from seq2seq.model.linear import Linear
from seq2seq.model.transformer import Transformer

_DOWN, _UP = "lora_down", "lora_up"


class LoraLinear(Linear):
    """W x + b + alpha / r * B A x, with W and b of the layer that it takes the place of (Hu et al. 2021, equation 3).

    The layer's own parameters keep their names, so a model's weights are found under the same names with and without.
    """

    lora_down: nn.Parameter  # A, (r, in), drawn at random
    lora_up: nn.Parameter  # B, (out, r), zero at first: the model begins as it was

    def __init__(self, layer: Linear, pair: LowRank, dropout: float = 0.0) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight, self.bias = layer.weight, layer.bias
        self.parts = layer.parts
        self.lora_down, self.lora_up, self.lora_scale = pair
        self.lora_dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(..., in)` to `(..., out)`."""
        low = F.linear(self.lora_dropout(x), self.lora_down)  # of little work: on a CPU, always in full precision
        return super().forward(x) + F.linear(low, self.lora_up) * self.lora_scale


class LoraEmbedding(nn.Embedding):
    """Rows of E + alpha / r * B A; tied embeddings share both."""

    lora_down: nn.Parameter  # A, (r, D)
    lora_up: nn.Parameter  # B, (V, r)

    def __init__(self, embedding: nn.Embedding, pair: LowRank) -> None:
        nn.Module.__init__(self)
        self.num_embeddings, self.embedding_dim = embedding.num_embeddings, embedding.embedding_dim
        self.weight = embedding.weight
        self.lora_down, self.lora_up, self.lora_scale = pair

    def forward(self, tokens: Tensor) -> Tensor:
        """Map token ids of any shape to vectors `(..., D)`."""
        low = F.embedding(tokens, self.lora_up)
        return F.embedding(tokens, self.weight) + F.linear(low, self.lora_down.t()) * self.lora_scale


class LowRank(NamedTuple):
    """Two low-rank matrices and what their product is multiplied with."""

    down: nn.Parameter
    up: nn.Parameter
    scale: float

    @classmethod
    def beside(cls, weight: Tensor, rank: int, alpha: float) -> LowRank:
        """Fresh ones for a weight `(out, in)`."""
        out, inner = weight.shape
        down = nn.Parameter(torch.empty(rank, inner, device=weight.device))
        nn.init.kaiming_uniform_(down, a=math.sqrt(5))
        return cls(down, nn.Parameter(torch.zeros(out, rank, device=weight.device)), alpha / rank)


def add_lora(model: Transformer, config: TrainingConfig) -> None:
    """Put low-rank matrices beside the linear layers of encoder and decoder, and the embeddings; freeze all else."""
    model.requires_grad_(False)
    for stack in (model.encoder, model.decoder):
        for module in list(stack.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, Linear):
                    pair = LowRank.beside(child.weight, config.lora_rank, config.lora_alpha)
                    setattr(module, name, LoraLinear(child, pair, config.lora_dropout))
    if not config.lora_embedding_rank:
        return
    pairs: dict[Tensor, LowRank] = {}
    # Scaled alike, whatever the rank: lora_alpha / lora_rank.
    alpha = config.lora_alpha / config.lora_rank * config.lora_embedding_rank
    for weight in (model.source_embedding.weight, model.target_embedding.weight, model.output.weight):
        if weight not in pairs:
            pairs[weight] = LowRank.beside(weight, config.lora_embedding_rank, alpha)
    model.source_embedding = LoraEmbedding(model.source_embedding, pairs[model.source_embedding.weight])
    model.target_embedding = LoraEmbedding(model.target_embedding, pairs[model.target_embedding.weight])
    model.output = LoraLinear(model.output, pairs[model.output.weight])


def weight_of(layer: nn.Linear) -> Tensor:
    """A layer's weight `(out, in)`, with its low-rank matrices added if it has any."""
    if isinstance(layer, LoraLinear):
        return layer.weight + layer.lora_up @ layer.lora_down * layer.lora_scale
    return layer.weight


def lora_tensors(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The low-rank matrices among the weights of a model."""
    return {name: tensor for name, tensor in weights.items() if name.endswith((f".{_DOWN}", f".{_UP}"))}


def merged(weights: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """The weights of the plain model that computes the same: W + alpha / r * B A in place of W, A and B.

    Args:
        weights: of a model with low-rank matrices.
        scale: alpha / r.
    """
    low_rank = lora_tensors(weights)
    found = {name: tensor for name, tensor in weights.items() if name not in low_rank}
    for name, up in weights.items():
        layer, _, kind = name.rpartition(".")
        if kind == _UP:
            down = weights[f"{layer}.{_DOWN}"]
            # in float64, so that merging costs no precision
            change = scale * up.detach().double() @ down.detach().double()
            found[f"{layer}.weight"] = (found[f"{layer}.weight"].double() + change).to(up.dtype)
    return found
