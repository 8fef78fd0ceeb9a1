"""Low-rank adaptation, LoRA (Hu et al. 2021, arXiv 2106.09685): small matrices that are learnt beside frozen ones."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seq2seq.model.dropout import Dropout
from seq2seq.model.transformer import Transformer

_DOWN, _UP = "lora_down", "lora_up"


class LoraLinear(nn.Linear):
    """W x + b + alpha / r * B A x, with W and b of the layer that it takes the place of (Hu et al. 2021, equation 3).

    The layer's own parameters keep their names, so a model's weights are found under the same names with and without.
    """

    lora_down: nn.Parameter  # A, (r, in), drawn at random
    lora_up: nn.Parameter  # B, (out, r), zero at first: the model begins as it was

    def __init__(self, layer: nn.Linear, rank: int, alpha: float, dropout: float) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight, self.bias = layer.weight, layer.bias
        self.lora_down = nn.Parameter(torch.empty(rank, layer.in_features))
        self.lora_up = nn.Parameter(torch.zeros(layer.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_down, a=math.sqrt(5))
        self.lora_dropout = Dropout(dropout)
        self.lora_scale = alpha / rank

    def forward(self, x: Tensor) -> Tensor:
        """Map `(..., in)` to `(..., out)`."""
        low = F.linear(self.lora_dropout(x), self.lora_down)
        return super().forward(x) + F.linear(low, self.lora_up) * self.lora_scale


def add_lora(model: Transformer, rank: int, alpha: float, dropout: float) -> None:
    """Put low-rank matrices beside all linear layers of the encoder and the decoder, and freeze all else."""
    model.requires_grad_(False)
    for stack in (model.encoder, model.decoder):
        for module in list(stack.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, nn.Linear):
                    setattr(module, name, LoraLinear(child, rank, alpha, dropout))


def lora_tensors(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The low-rank matrices among the weights of a model."""
    return {name: tensor for name, tensor in weights.items() if name.endswith((f".{_DOWN}", f".{_UP}"))}


def merged(weights: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """The weights of the plain model that computes the same: W + alpha / r * B A in place of W, A and B.

    Args:
        weights: of a model with low-rank matrices.
        scale: alpha / r.
    """
    found = {name: tensor for name, tensor in weights.items() if name not in lora_tensors(weights)}
    for name, up in weights.items():
        layer, _, kind = name.rpartition(".")
        if kind == _UP:
            down = weights[f"{layer}.{_DOWN}"]
            # in float64, so that merging costs no precision
            change = scale * up.detach().double() @ down.detach().double()
            found[f"{layer}.weight"] = (found[f"{layer}.weight"].double() + change).to(up.dtype)
    return found
