"""Beam search, over all sentences of a batch and all their beams at once.

At each step every live hypothesis of a sentence is extended by every token, and the 2K best of these K * V candidates
are looked at. Candidates that end and are among the K best are finished; the K best of those that do not end live on
(there are K, since a beam has only one way to end). A sentence's search is over when

* it has K finished hypotheses, times `patience` (Kasai et al. 2022, arXiv 2204.05424), or
* every live hypothesis has had to end at the greatest length.

A patience of 1 is the usual rule, CTranslate2's default and what `early_stopping=True` means to Hugging Face's
`generate`. It can miss a better hypothesis that is about to end. A beam of 1 with patience 1 stops at its first end
token: it is greedy search.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import count

import torch

from seq2seq.config import DecodingConfig
from seq2seq.decoding.search import (
    Bounds,
    Cache,
    Hypothesis,
    Path,
    Step,
    best_extensions,
    best_first,
    closed_up,
    force_end,
    hypothesis,
    tokens_of,
)


def beam_search(step: Step[Cache], cache: Cache, bounds: Bounds, config: DecodingConfig) -> list[list[Hypothesis]]:
    """The best hypotheses of each sentence, at most K, distinct, the best first.

    Args:
        step: the model, maybe with constraints around it.
        cache: of all sentences before the first token; its `beam_size` is `K`.
        bounds: start, end and greatest lengths.
        config: gives the length penalty.
    """
    beam_size, device = cache.beam_size, bounds.device
    sentences = [_Sentence(limit, beam_size, config) for limit in bounds.max_lengths.tolist()]
    searched = sentences
    tokens = torch.full((len(sentences) * beam_size,), bounds.start_id, device=device)
    # One beam of each sentence is in use: the others would be copies of it.
    totals = torch.tensor([[0.0, *[-torch.inf] * (beam_size - 1)]] * len(sentences), device=device)  # (B, K)
    for length in count(1):
        log_probs = step(tokens, cache).view(*totals.shape, -1)  # (B, K, V)
        at_end = [sentence.limit <= length for sentence in searched]
        if any(at_end):
            force_end(log_probs, torch.tensor(at_end), bounds.end_id)
        best, places = (found.tolist() for found in best_extensions(log_probs, totals, 2 * beam_size))
        for sentence, its_best, its_places in zip(searched, best, places, strict=True):
            sentence.extend(its_best, its_places, log_probs.size(2), bounds.end_id)
        kept = [b for b, sentence in enumerate(searched) if not (at_end[b] or sentence.has_enough)]
        if not kept:
            break
        if len(kept) < len(searched):
            kept = closed_up(kept)
            searched = [searched[b] for b in kept]
            cache.keep_sentences(torch.tensor(kept, device=device))
        rows = [b * beam_size + parent for b, sentence in enumerate(searched) for parent in sentence.parents]
        if rows != list(range(len(rows))):
            cache.select(torch.tensor(rows, device=device))
        tokens = torch.tensor([token for sentence in searched for token in sentence.tokens], device=device)
        totals = torch.tensor([sentence.totals for sentence in searched], device=device)
    return [sentence.finished[:beam_size] for sentence in sentences]


class _Sentence:
    """The search of one sentence: its live hypotheses, best first, and its finished ones.

    The lists are of Python's numbers: of so few, operations on tensors take longer.
    """

    def __init__(self, limit: int, beam_size: int, config: DecodingConfig) -> None:
        self.limit = limit
        self.finished: list[Hypothesis] = []
        self.totals: list[float] = []  # log-probabilities of the live hypotheses
        self.parents: list[int] = []  # the beams of the step before that they extend
        self.tokens: list[int] = []  # by these tokens
        self._paths: list[Path] = [()] * beam_size
        self._config = config
        enough = math.floor(beam_size * config.patience + 0.5)  # CTranslate2 rounds so, not halves to even numbers
        self._wanted = max(enough, config.n_best)

    @property
    def has_enough(self) -> bool:
        """Whether as many hypotheses are finished as the settings ask for."""
        return len(self.finished) >= self._wanted

    def extend(self, totals: Sequence[float], places: Sequence[int], num_tokens: int, end_id: int) -> None:
        """Let live hypotheses go on, or end, as 2K candidates say: log-probabilities, and places in `(K * V,)`."""
        beam_size = len(self._paths)
        self.totals, self.parents, self.tokens = [], [], []
        ended = False
        for rank, (total, place) in enumerate(zip(totals, places, strict=True)):
            parent, token = divmod(place, num_tokens)
            if token != end_id:
                if len(self.tokens) < beam_size:
                    self.totals.append(total)
                    self.parents.append(parent)
                    self.tokens.append(token)
            elif rank < beam_size and total > -torch.inf:
                self.finished.append(hypothesis(tokens_of(self._paths[parent]), total, self._config))
                ended = True
        if ended:
            self.finished = best_first(self.finished)[: self._wanted]
        self._paths = [(self._paths[parent], token) for parent, token in zip(self.parents, self.tokens, strict=True)]
