"""Searches that follow single paths: greedy search and sampling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count

import numpy as np
import torch
from torch import Tensor

from seq2seq.config import DecodingConfig
from seq2seq.decoding.search import Bounds, Cache, Hypothesis, Step, best_first, force_end, hypothesis

# Tokens (N,) from log-probabilities (N, V), the length with them, and the places in the batch (B,) of the sentences.
Choice = Callable[[Tensor, int, Tensor], Tensor]


def greedy(step: Step[Cache], cache: Cache, bounds: Bounds, config: DecodingConfig) -> list[list[Hypothesis]]:
    """One hypothesis for each sentence: always the likeliest token. The cache has one row for each sentence."""
    return _follow(step, cache, bounds, config, lambda log_probs, length, sentences: log_probs.argmax(dim=1))


def sample(
    step: Step[Cache], cache: Cache, bounds: Bounds, config: DecodingConfig, seeds: Sequence[Sequence[int]]
) -> list[list[Hypothesis]]:
    """K hypotheses for each sentence, drawn independently (so they may be alike), the best first.

    Tokens are drawn from `truncate`d probabilities; log-probabilities and scores are the model's own, unchanged.

    Args:
        step: the model, maybe with constraints around it.
        cache: of all sentences before the first token; its `beam_size` is `K`, samples of each sentence.
        bounds: start, end and greatest lengths.
        config: gives temperature, top_k, top_p and the length penalty.
        seeds: for each sentence non-negative numbers; its samples depend on them and not on the sentences beside it.
    """
    noise = _noise(seeds, int(bounds.max_lengths.max()), cache.beam_size).to(bounds.device)  # (B, T, K)

    def draw(log_probs: Tensor, length: int, sentences: Tensor) -> Tensor:
        return draw_tokens(truncate(log_probs, config), noise[sentences, length - 1].flatten())

    return _follow(step, cache, bounds, config, draw)


def truncate(log_probs: Tensor, config: DecodingConfig) -> Tensor:
    """Unnormalised log-probabilities `(N, V)` to draw from: tempered, then without the unlikely tokens (-inf).

    First temperature, then the `top_k` likeliest tokens (Fan et al. 2018), and of these, normalised anew, the fewest
    that have a total probability of `top_p` (nucleus sampling, Holtzman et al. 2020, arXiv 1904.09751).
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
    finished: list[list[Hypothesis]] = [[] for _ in range(cache.num_sentences)]
    sentences, max_lengths = torch.arange(cache.num_sentences), bounds.max_lengths  # (B,), of those that go on
    totals = torch.zeros(cache.num_sentences, num_rows, device=device)  # (B, K) log-probabilities
    history = torch.full((cache.num_sentences, num_rows, 1), bounds.start_id, device=device)  # (B, K, T)
    ended = torch.zeros_like(totals, dtype=torch.bool)  # (B, K)
    for length in count(1):
        at_end = max_lengths <= length
        log_probs = step(history[:, :, -1].flatten(), cache)
        force_end(log_probs.view(*totals.shape, -1), at_end, bounds.end_id)
        tokens = choose(log_probs, length, sentences.to(device)).view_as(totals)
        gains = log_probs.gather(1, tokens.view(-1, 1)).view_as(totals)
        totals = torch.where(ended, totals, totals + gains)
        tokens = tokens.masked_fill(ended, bounds.end_id)  # a row that has ended is padded until its sentence leaves
        history = torch.cat([history, tokens[:, :, None]], dim=2)
        ended = ended | (tokens == bounds.end_id)
        going_on = ~(at_end | ended.all(dim=1).cpu())
        if going_on.all():
            continue
        for b in (~going_on).nonzero().squeeze(1).tolist():
            rows = zip(history[b, :, 1:].tolist(), totals[b].tolist(), strict=True)
            found = [hypothesis(_until(bounds.end_id, tokens), total, config) for tokens, total in rows]
            finished[int(sentences[b])] = best_first(found)
        if not going_on.any():
            break
        kept = going_on.nonzero().squeeze(1)
        sentences, max_lengths = sentences[kept], max_lengths[kept]
        kept = kept.to(device)
        totals, history, ended = totals[kept], history[kept], ended[kept]
        cache.keep_sentences(kept)
    return finished


def _until(end_id: int, tokens: list[int]) -> list[int]:
    return tokens[: tokens.index(end_id)]
