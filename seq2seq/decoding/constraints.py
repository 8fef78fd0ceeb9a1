"""Rules for what may be said, as wrappers around a step: what they forbid gets the log-probability -inf.

What is left keeps the model's own log-probability, so a hypothesis has the same one with and without rules. A rule that
must remember something returns a cache too, which is put around the step's own:

    step, cache = no_repeat_ngram(step, cache, 3)

`minimum_length` goes around all others: it gives way where they leave nothing but the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic

import torch
from torch import Tensor

from seq2seq.decoding.search import Cache, Step


class Remembering(Generic[Cache]):
    """A cache, and beside it a tensor that is reordered and narrowed as the cache is."""

    def __init__(self, inner: Cache, values: Tensor) -> None:
        """Put a tensor beside a cache: `values` is `(N, ...)` by row, row `b * K + k` being row `k` of sentence `b`."""
        self.inner = inner
        self.values = values

    @property
    def num_sentences(self) -> int:
        """Sentences still searched, `B`."""
        return self.inner.num_sentences

    @property
    def beam_size(self) -> int:
        """Rows of each sentence, `K`."""
        return self.inner.beam_size

    def select(self, rows: Tensor) -> None:
        """Let row `n` go on from what was row `rows[n]` `(N,)`."""
        self.inner.select(rows)
        self.values = self.values[rows]

    def keep_sentences(self, sentences: Tensor) -> None:
        """Drop all but the given sentences `(B_new,)`, with their rows."""
        by_sentence = self.values.view(self.num_sentences, self.beam_size, *self.values.shape[1:])
        self.values = by_sentence[sentences].flatten(0, 1)
        self.inner.keep_sentences(sentences)


def suppress(step: Step[Cache], tokens: Sequence[int]) -> Step[Cache]:
    """Never say these tokens."""

    forbidden = torch.tensor(list(tokens), dtype=torch.int64)

    def suppressed(latest: Tensor, cache: Cache) -> Tensor:
        log_probs = step(latest, cache)
        return log_probs.index_fill_(1, forbidden.to(log_probs.device), -torch.inf)

    return suppressed


def no_repeat_ngram(
    step: Step[Cache], cache: Cache, size: int, device: torch.device
) -> tuple[Step[Remembering[Cache]], Remembering[Cache]]:
    """Say no sequence of `size` tokens twice (Paulus et al. 2018, section 2.5, arXiv 1705.04304)."""

    def once(latest: Tensor, remembering: Remembering[Cache]) -> Tensor:
        log_probs = step(latest, remembering.inner)
        remembering.values = history = torch.cat([remembering.values, latest[:, None]], dim=1)  # (N, 1 + T)
        spoken = history[:, 1:]  # the start token is not said
        if spoken.size(1) >= size:
            ngrams = spoken.unfold(1, size, 1)  # (N, T - size + 1, size)
            begun = spoken[:, spoken.size(1) - size + 1 :]  # (N, size - 1)
            rows, places = (ngrams[:, :, :-1] == begun[:, None, :]).all(dim=2).nonzero(as_tuple=True)
            log_probs[rows, ngrams[rows, places, -1]] = -torch.inf
        return log_probs

    nothing = torch.empty(cache.num_sentences * cache.beam_size, 0, dtype=torch.int64, device=device)
    return once, Remembering(cache, nothing)


def minimum_length(
    step: Step[Cache], cache: Cache, lengths: Tensor, end_id: int
) -> tuple[Step[Remembering[Cache]], Remembering[Cache]]:
    """Do not end before a length in tokens, the end token included, unless nothing else may be said.

    Args:
        step: the model, with all other rules around it already.
        cache: of the step.
        lengths: `(B,)` the least length of each sentence, at most its greatest; on the step's device.
        end_id: the end token.
    """

    def long_enough(latest: Tensor, remembering: Remembering[Cache]) -> Tensor:
        log_probs = step(latest, remembering.inner)
        remembering.values = remembering.values - 1
        if (remembering.values > 0).any():
            end = log_probs[:, end_id].clone()
            log_probs[:, end_id] = -torch.inf
            may_end = (remembering.values <= 0) | (log_probs.amax(dim=1) == -torch.inf)
            log_probs[:, end_id] = torch.where(may_end, end, -torch.inf)
        return log_probs

    return long_enough, Remembering(cache, lengths.repeat_interleave(cache.beam_size))
