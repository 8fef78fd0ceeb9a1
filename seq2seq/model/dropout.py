"""Dropout: of single elements (Srivastava et al. 2014), by random numbers that cost little on a CPU, and of words."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Dropout(nn.Module):
    """Zero each element with probability `p` in training, and scale the rest by 1 / (1 - p).

    On a CPU, torch draws one random number for each element, a seventh of the time of training a small model. Here each
    64-bit number serves four elements, which makes `p` a multiple of 1/65536. Elsewhere it is torch's own dropout.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Map a tensor of any shape to the same shape."""
        if not self.training or self.p == 0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.p)
        dropped = round(self.p * 2**16)  # of the 2^16 values of 16 bits
        words = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        values = words.view(torch.int16)[: x.numel()].view(x.shape)
        scale = 2**16 / (2**16 - dropped)
        # As a comparison with its conversion, but in functions that use all of a processor's width: whole numbers below
        # the bound become at most 0, the others at least 1, times the scale.
        factors = values.to(x.dtype).sub_(dropped - 2**15 - 1).mul_(scale).clamp_(0, scale)
        return x * factors


def drop_words(embedded: Tensor, p: float) -> Tensor:
    """Zero whole embeddings `(B, T, D)` with probability `p` (Gal and Ghahramani 2016; Sennrich et al. 2016, WMT).

    Each token is drawn by itself. The others are not scaled: they stay what they are when translating.
    """
    kept = torch.rand(embedded.shape[:2], device=embedded.device) >= p
    return embedded * kept[..., None].to(embedded.dtype)
