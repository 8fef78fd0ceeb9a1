"""What the decoder remembers between steps of `Transformer.decode_step`, so that each step costs one position."""

from __future__ import annotations

import torch
from torch import Tensor

KeysValues = tuple[Tensor, Tensor]


class KeyValueCache:
    """Keys and values of every decoder layer, for `B` sentences with `K` beams each; `N = B * K` rows.

    Row `b * K + k` is beam `k` of sentence `b`. Self-attention keeps keys and values `(N, H, T, D/H)` of the tokens so
    far. Cross-attention keeps them `(B, H, S, D/H)` once for each sentence: its beams share them.
    """

    def __init__(self, cross: list[KeysValues], memory_mask: Tensor | None, beam_size: int) -> None:
        """Start before the first token.

        Args:
            cross: for each layer, keys and values `(B, H, S, D/H)` of the memory.
            memory_mask: `(B, 1, 1, S)`, True where a source token takes part; None where all do.
            beam_size: rows for each sentence, `K`.
        """
        self.cross = cross
        self.memory_mask = memory_mask
        self.beam_size = beam_size
        self.length = 0
        self._self: list[KeysValues | None] = [None] * len(cross)

    @property
    def num_sentences(self) -> int:
        """Sentences that are still being decoded, `B`."""
        return self.cross[0][0].size(0)

    def append(self, layer: int, keys: Tensor, values: Tensor) -> KeysValues:
        """Add one position `(N, H, 1, D/H)` to a layer's self-attention; return all positions so far."""
        past = self._self[layer]
        if past is not None:
            keys = torch.cat([past[0], keys], dim=2)
            values = torch.cat([past[1], values], dim=2)
        self._self[layer] = (keys, values)
        return keys, values
