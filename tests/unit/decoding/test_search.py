"""What searches share."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.config import DecodingConfig
from seq2seq.decoding.search import best_first, force_end, hypothesis, length_penalty


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
    assert hypothesis([7, 8, 9], -2.0, config) == ((7, 8, 9), -2.0, -0.5)
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
