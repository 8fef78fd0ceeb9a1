"""Sinusoidal positions (Vaswani et al. 2017, section 3.5), in the layout of Marian and Hugging Face."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sinusoidal_positions(length: int, d_model: int) -> Tensor:
    """Position vectors `(length, d_model)`: position p, frequency i gives sin in column i, cos in column d_model/2 + i.

    The paper interleaves sines and cosines. Halves hold the same numbers in another order of columns, which no result
    depends on, and are what the formats that models are exported to expect.
    """
    half = d_model // 2
    # float64 keeps far positions exact; the table itself is float32
    frequencies = torch.exp(torch.arange(half, dtype=torch.float64) * (-2 * math.log(10_000) / d_model))
    angles = torch.arange(length, dtype=torch.float64)[:, None] * frequencies  # (length, half)
    return torch.cat([angles.sin(), angles.cos()], dim=1).float()
