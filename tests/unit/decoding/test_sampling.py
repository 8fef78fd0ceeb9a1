"""Sampling draws from what it says it draws from, and each sentence by itself."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_model import END, Toy, bounds

from seq2seq.config import DecodingConfig
from seq2seq.decoding.sampling import draw_tokens, greedy, sample, truncate

PLAIN = DecodingConfig(sample=True)
seeds = st.integers(0, 10_000)


def probabilities(scores: torch.Tensor) -> list[float]:
    return scores.softmax(dim=1)[0].tolist()


def test_nothing_is_truncated_by_default() -> None:
    log_probs = torch.randn(4, 9).log_softmax(dim=1)
    assert torch.equal(truncate(log_probs, PLAIN), log_probs)


def test_temperature_divides_logits() -> None:
    log_probs = torch.tensor([[0.6, 0.3, 0.1]]).log()
    assert probabilities(truncate(log_probs, replace(PLAIN, temperature=0.5))) == pytest.approx(
        [0.36 / 0.46, 0.09 / 0.46, 0.01 / 0.46]
    )


@pytest.mark.parametrize(
    ("settings_", "expected"),
    [
        ({"top_k": 1}, [0, 1, 0, 0]),
        ({"top_k": 2}, [0, 5 / 8, 3 / 8, 0]),
        ({"top_k": 4}, [0.15, 0.5, 0.3, 0.05]),
        ({"top_k": 9}, [0.15, 0.5, 0.3, 0.05]),
        ({"top_p": 0.49}, [0, 1, 0, 0]),
        ({"top_p": 0.51}, [0, 5 / 8, 3 / 8, 0]),
        ({"top_p": 0.79}, [0, 5 / 8, 3 / 8, 0]),
        ({"top_p": 0.81}, [0.15 / 0.95, 0.5 / 0.95, 0.3 / 0.95, 0]),
        ({"top_p": 1e-6}, [0, 1, 0, 0]),
        ({"top_k": 2, "top_p": 0.6}, [0, 1, 0, 0]),  # 5/8 of what top_k leaves is enough
        ({"epsilon": 0.04}, [0.15, 0.5, 0.3, 0.05]),
        ({"epsilon": 0.06}, [0.15 / 0.95, 0.5 / 0.95, 0.3 / 0.95, 0]),
        ({"epsilon": 0.9}, [0, 1, 0, 0]),  # the likeliest stays
        ({"top_k": 2, "epsilon": 0.37}, [0, 5 / 8, 3 / 8, 0]),  # of what top_k leaves, normalised anew
    ],
)
def test_top_k_and_top_p_keep_the_likeliest(settings_: dict[str, float], expected: list[float]) -> None:
    log_probs = torch.tensor([[0.15, 0.5, 0.3, 0.05]]).log()
    assert probabilities(truncate(log_probs, replace(PLAIN, **settings_))) == pytest.approx(expected)


@given(seed=seeds, top_p=st.floats(0.01, 0.99), top_k=st.integers(1, 30))
@settings(max_examples=30)
def test_top_p_is_the_smallest_set_and_top_k_has_its_size(seed: int, top_p: float, top_k: int) -> None:
    logits = torch.randn(5, 30, generator=torch.Generator().manual_seed(seed))
    probs = logits.softmax(dim=1)
    for row, scores in zip(probs, truncate(logits, replace(PLAIN, top_p=top_p)), strict=True):
        kept = row[scores > -torch.inf]
        assert kept.sum() >= top_p - 1e-5
        assert kept.sum() - kept.min() < top_p + 1e-5
        assert len(kept) == 30 or kept.min() >= row[scores == -torch.inf].max()
    assert ((truncate(logits, replace(PLAIN, top_k=top_k)) > -torch.inf).sum(dim=1) == top_k).all()


def test_tokens_are_drawn_with_their_probability() -> None:
    scores = torch.tensor([0.5, 0.0, 0.2, 0.3, 0.0]).log().expand(10_000, 5) + 3  # need not be normalised
    noise = (torch.arange(10_000).double() + 0.5) / 10_000
    assert draw_tokens(scores, noise).bincount(minlength=5).tolist() == pytest.approx([5000, 0, 2000, 3000, 0], abs=1)


def test_impossible_tokens_are_never_drawn() -> None:
    scores = torch.full((3, 6), -torch.inf)
    scores[:, [2, 4]] = 0.0
    noise = torch.tensor([0.0, 0.5, math.nextafter(1.0, 0.0)], dtype=torch.float64)
    assert draw_tokens(scores, noise).tolist() == [2, 4, 4]


@given(seed=seeds)
@settings(max_examples=20)
def test_samples_depend_on_seeds_and_not_on_neighbours(seed: int) -> None:
    toy, limits = Toy(seed), [10, 2, 7, 12, 1, 12]
    together = sample(toy.step, toy.cache(range(6), 3), bounds(*limits), PLAIN, [(seed, i) for i in range(6)])
    for i in range(6):
        (alone,) = sample(toy.step, toy.cache([i], 3), bounds(limits[i]), PLAIN, [(seed, i)])
        assert alone == together[i]
    others = sample(toy.step, toy.cache(range(6), 3), bounds(*limits), PLAIN, [(seed + 1, i) for i in range(6)])
    assert others != together


def test_samples_have_the_probabilities_of_the_model() -> None:
    """Also of whole translations, and whatever the temperature, log_prob is the model's own."""
    toy, size = Toy(5, vocab_size=3, sharpness=1.0), 20_000
    (found,) = sample(toy.step, toy.cache([0], size), bounds(4), PLAIN, [(1,)])
    counts = Counter(each.tokens for each in found)
    for tokens in toy.sequences(4):
        if len(tokens) < 3:  # others may have been made to end
            assert counts[tokens] / size == pytest.approx(math.exp(toy.log_prob(0, tokens)), abs=0.02)
    (hot,) = sample(toy.step, toy.cache([0], 50), bounds(4), replace(PLAIN, temperature=3.0, top_k=2), [(1,)])
    for each in hot:
        assert each.log_prob == pytest.approx(toy.log_prob(0, each.tokens), abs=1e-4)
        assert END not in each.tokens
    assert hot == sorted(hot, key=lambda each: -each.score)


def test_the_likeliest_token_alone_is_greedy() -> None:
    toy = Toy(6)
    limits = bounds(*[12] * 6)
    config = replace(PLAIN, top_k=1)
    assert sample(toy.step, toy.cache(range(6)), limits, config, [(i,) for i in range(6)]) == greedy(
        toy.step, toy.cache(range(6)), limits, config
    )


def test_finished_sentences_leave() -> None:
    toy = Toy(7)
    cache = toy.cache(range(6), 2)
    sample(toy.step, cache, bounds(1, 2, 3, 4, 5, 6), PLAIN, [(i,) for i in range(6)])
    assert all(rows <= 2 * (6 - length) for length, rows in enumerate(cache.steps))
