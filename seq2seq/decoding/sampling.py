"""Searches that follow single paths: greedy search and sampling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count

import numpy as np
import torch
from torch import Tensor

from seq2seq.config import DecodingConfig
from seq2seq.decoding.search import (
    Bounds,
    Cache,
    Hypothesis,
    Step,
    best_first,
    closed_up,
    force_end,
    hypothesis,
    likeliest,
)

# Tokens (N,) from log-probabilities (N, V), the length with them, and the places in the batch of the sentences.
Choice = Callable[[Tensor, int, Sequence[int]], Tensor]


def greedy(step: Step[Cache], cache: Cache, bounds: Bounds, config: DecodingConfig) -> list[list[Hypothesis]]:
    """One hypothesis for each sentence: always the likeliest token. The cache has one row for each sentence."""
    return _follow(step, cache, bounds, config, lambda log_probs, length, sentences: likeliest(log_probs))


def sample(
    step: Step[Cache], cache: Cache, bounds: Bounds, config: DecodingConfig, seeds: Sequence[Sequence[int]]
) -> list[list[Hypothesis]]:
    """K hypotheses for each sentence, drawn independently (so they may be alike), the best first.

    Tokens are drawn from `truncate`d probabilities; log-probabilities and scores are the model's own, unchanged.

    Args:
        step: the model, maybe with constraints around it.
        cache: of all sentences before the first token; its `beam_size` is `K`, samples of each sentence.
        bounds: start, end and greatest lengths.
        config: gives temperature, top_k, top_p, epsilon and the length penalty.
        seeds: for each sentence non-negative numbers; its samples depend on them and not on the sentences beside it.
    """
    noise = _noise(seeds, int(bounds.max_lengths.max()), cache.beam_size).to(bounds.device)  # (B, T, K)

    def draw(log_probs: Tensor, length: int, sentences: Sequence[int]) -> Tensor:
        return draw_tokens(truncate(log_probs, config), noise[list(sentences), length - 1].flatten())

    return _follow(step, cache, bounds, config, draw)


def truncate(log_probs: Tensor, config: DecodingConfig) -> Tensor:
    """Unnormalised log-probabilities `(N, V)` to draw from: tempered, then without the unlikely tokens (-inf).

    First temperature, then the `top_k` likeliest tokens (Fan et al. 2018), and of these, normalised anew, the fewest
    that have a total probability of `top_p` (nucleus sampling, Holtzman et al. 2020, arXiv 1904.09751); and of these,
    normalised anew, those of at least `epsilon` (Hewitt et al. 2022, arXiv 2210.15191). The likeliest token stays.
    """
    scores = log_probs / config.temperature
    if 0 < config.top_k < scores.size(1):
        best, tokens = scores.topk(config.top_k, dim=1)
        scores = torch.full_like(scores, -torch.inf).scatter(1, tokens, best)
    if config.top_p < 1:
        ranked, tokens = scores.sort(dim=1, descending=True, stable=True)
        probs = ranked.softmax(dim=1)
        before = probs.cumsum(dim=1) - probs  # of all likelier tokens; the likeliest always stays
        scores = scores.scatter(1, tokens, ranked.masked_fill(before >= config.top_p, -torch.inf))
    if config.epsilon > 0:
        best = scores.amax(dim=1, keepdim=True)
        unlikely = scores.softmax(dim=1) < config.epsilon
        scores = scores.masked_fill(unlikely & (scores < best), -torch.inf)
    return scores


def draw_tokens(scores: Tensor, noise: Tensor) -> Tensor:
    """Draw a token for each row, with the probability `softmax(scores (N, V))`, by the inverse of its distribution.

    Args:
        scores: unnormalised log-probabilities; a token of -inf is never drawn.
        noise: `(N,)` uniform in [0, 1).
    """
    sums = scores.double().softmax(dim=1).cumsum(dim=1)
    # The first token whose sum is over the noise: it adds to the sum, so its probability is not 0.
    tokens = (sums <= noise[:, None] * sums[:, -1:]).sum(dim=1)
    return tokens.clamp(max=scores.size(1) - 1)


def _noise(seeds: Sequence[Sequence[int]], max_length: int, num_samples: int) -> Tensor:
    """Uniform numbers `(B, T, K)` in [0, 1), each sentence's from a generator of its own."""
    # In float32 a number could be rounded to 1.
    rows = [np.random.default_rng(tuple(seed)).random((max_length, num_samples)) for seed in seeds]
    return torch.from_numpy(np.stack(rows))


def _follow(
    step: Step[Cache], cache: Cache, bounds: Bounds, config: DecodingConfig, choose: Choice
) -> list[list[Hypothesis]]:
    """Extend each row by the token that `choose` takes, until all rows of a sentence have ended and it leaves."""
    num_rows, device = cache.beam_size, bounds.device
    limits = bounds.max_lengths.tolist()
    sentences = [[_Row() for _ in range(num_rows)] for _ in limits]
    searched = list(range(len(sentences)))
    tokens = torch.full((len(sentences) * num_rows,), bounds.start_id, device=device)
    totals = torch.zeros(len(tokens), device=device)  # (N,) log-probabilities so far
    for length in count(1):
        log_probs = step(tokens, cache)  # (N, V)
        at_end = [limits[i] <= length for i in searched]
        if any(at_end):
            force_end(log_probs.view(len(searched), num_rows, -1), torch.tensor(at_end), bounds.end_id)
        tokens = choose(log_probs, length, searched)  # (N,)
        totals = totals + log_probs.gather(1, tokens[:, None]).squeeze(1)
        rows = [row for i in searched for row in sentences[i]]
        for row, token, total in zip(rows, tokens.tolist(), totals.tolist(), strict=True):
            row.extend(token, total, bounds.end_id)
        kept = [b for b, i in enumerate(searched) if not all(row.ended for row in sentences[i])]
        if not kept:
            break
        if len(kept) < len(searched):
            kept = closed_up(kept)
            searched = [searched[b] for b in kept]
            chosen = torch.tensor(kept, device=device)
            tokens, totals = (each.view(-1, num_rows)[chosen].flatten() for each in (tokens, totals))
            cache.keep_sentences(chosen)
    return [best_first([hypothesis(row.tokens, row.log_prob, config) for row in rows]) for rows in sentences]


class _Row:
    """A path that is followed; what is chosen for it after its end, while others of its sentence go on, is dropped."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.log_prob = 0.0
        self.ended = False

    def extend(self, token: int, log_prob: float, end_id: int) -> None:
        """Go on with a token; `log_prob` is that of the whole path with it."""
        if self.ended:
            return
        self.log_prob = log_prob
        self.ended = token == end_id
        if not self.ended:
            self.tokens.append(token)
