"""Models with random weights that translate like trained ones: their translations end, differ, and hold no padding.

A plain random model gives every token, padding too, about the same probability, seldom ends a translation and says much
the same for every source: two engines could agree on it, or differ, by accident.
"""

from __future__ import annotations

import torch
from torch import nn

from seq2seq.config import ModelConfig
from seq2seq.model.transformer import Transformer

SPECIAL, END = (0, 1, 2), 3


def random_model(seed: int = 1, **settings: object) -> Transformer:
    """A small model with sharp opinions; its vocabulary is that of our own tokenizers, with the special ids first."""
    sizes = {
        "encoder_layers": 2, "decoder_layers": 2, "d_model": 32, "d_ff": 48, "num_heads": 4, "max_length": 200,
        "source_vocab_size": 80, "target_vocab_size": 80,
    }  # fmt: skip
    config = ModelConfig(**{**sizes, **settings})
    torch.manual_seed(seed)
    model = Transformer(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "embedding" in name or name.startswith("output."):
                parameter.mul_(2)
            elif parameter.dim() > 1:
                parameter.mul_(2.5)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.2)
        last = model.decoder_norm if config.norm == "pre" else model.decoder[-1].feed_forward_residual.norm
        # Tried out: less, and translations do not end; more, and they are empty.
        bonus = 1.5 if config.norm == "pre" or config.output_bias or "glu" in config.activation else 2.0
        # All decoder states have a part along one direction, and special tokens lie against it.
        direction = nn.functional.normalize(torch.randn(config.d_model), dim=0)
        last.bias.add_(4 * direction)
        output = model.output.weight
        output -= (output @ direction)[:, None] * direction
        output[list(SPECIAL)] = -5 * direction
        output[END] += bonus * direction
    return model
