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

from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

import torch
from torch import Tensor

from seq2seq.config import DecodingConfig
from seq2seq.decoding.search import (
    Bounds,
    Cache,
    Hypothesis,
    SearchCache,
    Step,
    best_first,
    force_end,
    hypothesis,
)


def beam_search(step: Step[Cache], cache: Cache, bounds: Bounds, config: DecodingConfig) -> list[list[Hypothesis]]:
    """The best hypotheses of each sentence, at most K, distinct, the best first.

    Args:
        step: the model, maybe with constraints around it.
        cache: of all sentences before the first token; its `beam_size` is `K`.
        bounds: start, end and greatest lengths.
        config: gives the length penalty.
    """
    beams = _Beams.start(cache, bounds)
    finished: list[list[Hypothesis]] = [[] for _ in range(cache.num_sentences)]
    wanted = max(round(cache.beam_size * config.patience), 1)
    for length in count(1):
        at_end = beams.max_lengths <= length
        log_probs = step(beams.history[:, :, -1].flatten(), cache).view(*beams.log_probs.shape, -1)
        force_end(log_probs, at_end, bounds.end_id)
        candidates = _candidates(beams.log_probs, log_probs, bounds.end_id)
        _collect(finished, beams, candidates, wanted, config)
        live = _live(candidates, cache.beam_size)
        enough = torch.tensor([len(finished[b]) >= wanted for b in beams.sentences.tolist()])
        going_on = ~(at_end | enough)
        if not going_on.any():
            break
        if not going_on.all():
            kept = going_on.nonzero().squeeze(1)
            cache.keep_sentences(kept.to(live.tokens.device))
            beams, live = beams.keep(kept), live.keep(kept)
        beams.extend(live, cache)
    return [hypotheses[: cache.beam_size] for hypotheses in finished]


class _Candidates(NamedTuple):
    """Extensions of the beams of each sentence, best first; all `(B, C)`."""

    log_probs: Tensor  # of the whole hypothesis
    parents: Tensor  # the beam that is extended
    tokens: Tensor  # by this token
    ends: Tensor  # True where that is the end token

    def keep(self, kept: Tensor) -> _Candidates:
        """Those of the given sentences `(B_new,)`."""
        index = kept.to(self.tokens.device)
        return _Candidates(*(part[index] for part in self))


@dataclass
class _Beams:
    """The live hypotheses of the sentences that are still searched."""

    log_probs: Tensor  # (B, K), -inf for a beam that is not in use
    history: Tensor  # (B, K, T), the start token and the tokens so far
    sentences: Tensor  # (B,) on the CPU, the place of each in the whole batch
    max_lengths: Tensor  # (B,) on the CPU

    @classmethod
    def start(cls, cache: SearchCache, bounds: Bounds) -> _Beams:
        """One beam of each sentence in use: the others would be copies of it."""
        num_sentences, beam_size = cache.num_sentences, cache.beam_size
        log_probs = torch.full((num_sentences, beam_size), -torch.inf, device=bounds.device)
        log_probs[:, 0] = 0.0
        history = torch.full((num_sentences, beam_size, 1), bounds.start_id, device=bounds.device)
        return cls(log_probs, history, torch.arange(num_sentences), bounds.max_lengths)

    def keep(self, kept: Tensor) -> _Beams:
        """Those of the given sentences `(B_new,)`."""
        index = kept.to(self.history.device)
        return _Beams(self.log_probs[index], self.history[index], self.sentences[kept], self.max_lengths[kept])

    def extend(self, live: _Candidates, cache: SearchCache) -> None:
        """Let the live candidates `(B, K)` be the beams, and the cache follow them."""
        num_sentences, beam_size = live.tokens.shape
        places = torch.arange(num_sentences * beam_size, device=live.tokens.device).view(num_sentences, beam_size)
        rows = places[:, :1] + live.parents
        if not torch.equal(rows, places):
            cache.select(rows.flatten())
        past = self.history.flatten(0, 1)[rows]  # (B, K, T)
        self.history = torch.cat([past, live.tokens[:, :, None]], dim=2)
        self.log_probs = live.log_probs


def _candidates(so_far: Tensor, log_probs: Tensor, end_id: int) -> _Candidates:
    """The 2K best extensions of beams `so_far (B, K)` by tokens `log_probs (B, K, V)`."""
    beam_size, num_tokens = log_probs.shape[1:]
    totals = (so_far[:, :, None] + log_probs).flatten(1)  # (B, K * V)
    best, places = totals.topk(2 * beam_size, dim=1)
    tokens = places % num_tokens
    return _Candidates(best, places // num_tokens, tokens, tokens == end_id)


def _live(candidates: _Candidates, beam_size: int) -> _Candidates:
    """The K best candidates that do not end, best first."""
    order = candidates.ends.byte().argsort(dim=1, stable=True)[:, :beam_size]
    return _Candidates(*(part.gather(1, order) for part in candidates))


def _collect(
    finished: list[list[Hypothesis]], beams: _Beams, candidates: _Candidates, wanted: int, config: DecodingConfig
) -> None:
    """Add candidates that end, and are among the K best, to the finished ones of their sentence; keep `wanted`."""
    beam_size = beams.log_probs.size(1)
    ends = candidates.ends & candidates.log_probs.isfinite()
    sentences, ranks = ends[:, :beam_size].nonzero(as_tuple=True)  # (E,) each
    tokens = beams.history[sentences, candidates.parents[sentences, ranks], 1:].tolist()  # (E, T)
    log_probs = candidates.log_probs[sentences, ranks].tolist()
    for b, found, log_prob in zip(sentences.tolist(), tokens, log_probs, strict=True):
        own = finished[int(beams.sentences[b])]
        own.append(hypothesis(found, log_prob, config))
        own[:] = best_first(own)[:wanted]
