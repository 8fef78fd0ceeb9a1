"""What a decoder remembers between steps while translations are searched: the beams of a sentence share one store."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_ROOM = 32  # tokens that there is room for at first


class StepCache:
    """Keys and values of every decoder layer, for `B` sentences with `K` beams each; `N = B * K` rows.

    Each step adds `K` entries to a sentence's store, one for each beam, and nothing in it is ever moved. Which entries
    are a beam's own past, a mask says; so to reorder beams is to reorder rows of the mask.
    """

    def __init__(self, cross: Sequence[Tensor], memory_mask: Tensor | None, beam_size: int) -> None:
        """Start before the first token.

        Args:
            cross: for each layer, keys and values `(2, B, H, S, D/H)` of the encoder's states.
            memory_mask: `(B, 1, 1, S)`, added to attention: 0 where a source token takes part, else -inf; or None.
            beam_size: rows for each sentence, `K`.
        """
        self.cross = list(cross)
        self.memory_mask = memory_mask
        self.beam_size = beam_size
        self.length = 0
        _, num_sentences, num_heads, _, width = self.cross[0].shape
        room = _ROOM * beam_size
        self._stores = [keys.new_empty(2, num_sentences, num_heads, room, width) for keys in self.cross]
        # Added to attention: 0 where an entry is of a beam's past, else -inf. A single beam's past is all there is.
        shape = (num_sentences, 1, beam_size, room)
        self._mask = self.cross[0].new_full(shape, -torch.inf) if beam_size > 1 else None

    @property
    def num_sentences(self) -> int:
        """Sentences that are still being decoded, `B`."""
        return self.cross[0].size(1)

    def grow(self) -> Tensor | None:
        """Begin a step; the mask `(B, 1, K, entries)` that its self-attention has, None where all entries take part."""
        first = self.length * self.beam_size
        end = first + self.beam_size
        if end > self._stores[0].size(3):
            self._make_room()
        self.length += 1
        if self._mask is None:
            return None
        self._mask[:, 0, :, first:end].diagonal(dim1=1, dim2=2).fill_(0.0)
        return self._mask[:, :, :, :end]

    def append(self, layer: int, keys_values: Tensor) -> tuple[Tensor, Tensor]:
        """Add the latest keys and values `(2, B, H, K, D/H)`; all keys, and all values, each `(B, H, entries, D/H)`."""
        end = self.length * self.beam_size
        store = self._stores[layer]
        store[:, :, :, end - self.beam_size : end] = keys_values
        keys, values = store[:, :, :, :end].unbind(0)
        return keys, values

    def select(self, rows: Tensor) -> None:
        """Reorder the rows: row `n` goes on from what was row `rows[n]` `(N,)`, a row of the same sentence."""
        if self._mask is not None:
            self._mask = self._mask.flatten(0, 2).index_select(0, rows).view_as(self._mask)

    def keep_sentences(self, sentences: Tensor) -> None:
        """Drop all but the given sentences `(B_new,)`, with their beams, and put these into the given order.

        Those that come to stand elsewhere are copied; it is cheap if they are few.
        """
        order, end = sentences.tolist(), self.length * self.beam_size
        moves = [(place, sentence) for place, sentence in enumerate(order) if place != sentence]
        if any(sentence < len(order) for _, sentence in moves):  # would be overwritten before it is copied
            self._stores = [store.index_select(1, sentences) for store in self._stores]
            self.cross = [cross.index_select(1, sentences) for cross in self.cross]
            moves = []
        for store, cross in zip(self._stores, self.cross, strict=True):
            for place, sentence in moves:
                store[:, place, :, :end] = store[:, sentence, :, :end]
                cross[:, place] = cross[:, sentence]
        self._stores = [store[:, : len(order)] for store in self._stores]
        self.cross = [cross[:, : len(order)] for cross in self.cross]
        if self._mask is not None:
            self._mask = self._mask.index_select(0, sentences)
        if self.memory_mask is not None:
            self.memory_mask = self.memory_mask.index_select(0, sentences)

    def _make_room(self) -> None:
        """Double the room."""
        self._stores = [torch.cat([store, torch.empty_like(store)], dim=3) for store in self._stores]
        if self._mask is not None:
            self._mask = torch.cat([self._mask, torch.full_like(self._mask, -torch.inf)], dim=3)
