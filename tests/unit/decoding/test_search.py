"""What searches share."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.config import DecodingConfig
from seq2seq.decoding.search import best_extensions, best_first, force_end, hypothesis, length_penalty, likeliest


@pytest.mark.parametrize(
    ("form", "alpha", "length", "penalty"),
    [
        ("power", 0.0, 9, 1.0),
        ("power", 1.0, 9, 9.0),
        ("power", 0.5, 9, 3.0),
        ("gnmt", 0.0, 9, 1.0),
        ("gnmt", 1.0, 1, 1.0),
        ("gnmt", 0.6, 25, 5.0**0.6),  # Wu et al. 2016, equation 14
    ],
)
def test_length_penalty(form, alpha: float, length: int, penalty: float) -> None:
    config = DecodingConfig(length_penalty=alpha, length_penalty_form=form)
    assert length_penalty(length, config) == pytest.approx(penalty)


def test_score_counts_the_end_token() -> None:
    config = DecodingConfig(length_penalty=1.0)
    assert hypothesis([7, 8, 9], -2.0, config)[:3] == ((7, 8, 9), -2.0, -0.5)
    assert hypothesis([], -2.0, config).score == -2.0


@given(st.lists(st.floats(-100, 0)))
def test_best_comes_first_and_the_earlier_of_equals(log_probs: list[float]) -> None:
    config = DecodingConfig(length_penalty=0.0)
    found = best_first([hypothesis([i], log_prob, config) for i, log_prob in enumerate(log_probs)])
    assert [(each.score, -each.tokens[0]) for each in found] == sorted(
        [(each.score, -each.tokens[0]) for each in found], reverse=True
    )


def test_forced_end_keeps_its_probability() -> None:
    log_probs = torch.randn(3, 2, 5)
    before = log_probs.clone()
    force_end(log_probs, torch.tensor([False, True, False]), 4)
    assert torch.equal(log_probs[[0, 2]], before[[0, 2]])
    assert torch.equal(log_probs[1, :, 4], before[1, :, 4])
    assert (log_probs[1, :, :4] == -torch.inf).all()


@given(
    st.integers(1, 3), st.integers(1, 5), st.sampled_from([4, 31, 32, 33, 64, 100, 321, 1000]), st.integers(0, 10_000)
)
def test_best_extensions_are_those_of_topk(num_sentences: int, beam_size: int, num_tokens: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    log_probs = torch.randn(num_sentences, beam_size, num_tokens, generator=generator).log_softmax(2)
    log_probs[:, :, :2] = -torch.inf
    totals = torch.randn(num_sentences, beam_size, generator=generator)
    totals[0, 1:] = -torch.inf  # beams that are not in use
    number = min(2 * beam_size, num_tokens - 2)
    best, places = best_extensions(log_probs, totals, number)
    everything = (totals[:, :, None] + log_probs).flatten(1)
    assert torch.equal(best, everything.topk(number, dim=1).values)
    assert torch.equal(everything.gather(1, places), best)
    assert all(len(set(row)) == number for row in places.tolist())


@pytest.mark.parametrize("rows", [1, 100])
def test_likeliest_is_argmax(rows: int) -> None:
    log_probs = torch.randn(rows, 777, generator=torch.Generator().manual_seed(1))
    assert torch.equal(likeliest(log_probs), log_probs.argmax(1))
