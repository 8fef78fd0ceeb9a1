"""Beam search on toy models, against brute force and greedy search."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_model import END, START, Toy, assert_same, bounds, next_state

from seq2seq.config import DecodingConfig
from seq2seq.decoding.beam import beam_search
from seq2seq.decoding.sampling import greedy

penalties = st.builds(
    DecodingConfig,
    length_penalty=st.sampled_from([0.0, 0.6, 1.0, 2.0]),
    length_penalty_form=st.sampled_from(["power", "gnmt"]),
)
seeds = st.integers(0, 10_000)


@given(seed=seeds, config=penalties, lengths=st.lists(st.integers(1, 4), min_size=1, max_size=4))
@settings(max_examples=30)
def test_full_width_is_brute_force(seed: int, config: DecodingConfig, lengths: list[int]) -> None:
    toy = Toy(seed, vocab_size=4)
    width = sum(3**length for length in range(4))  # as many as there are translations
    found = beam_search(toy.step, toy.cache(range(len(lengths)), width), bounds(*lengths), config)
    for sentence, longest in enumerate(lengths):
        assert_same(found[sentence], toy.best(sentence, longest, config))


@given(seed=seeds, config=penalties)
@settings(max_examples=30)
def test_a_beam_of_one_is_greedy(seed: int, config: DecodingConfig) -> None:
    toy = Toy(seed)
    limits = bounds(9, 1, 12, 5, 12, 12)
    narrow = beam_search(toy.step, toy.cache(range(6)), limits, config)
    straight = greedy(toy.step, toy.cache(range(6)), limits, config)
    assert narrow == straight
    for sentence, (found,) in enumerate(straight):
        assert found.log_prob == pytest.approx(toy.log_prob(sentence, found.tokens), abs=1e-4)
        assert len(found.tokens) < limits.max_lengths[sentence]


@given(seed=seeds, config=penalties, beam_size=st.integers(2, 6))
@settings(max_examples=30)
def test_n_best_is_sorted_distinct_and_truly_scored(seed: int, config: DecodingConfig, beam_size: int) -> None:
    toy = Toy(seed)
    found = beam_search(toy.step, toy.cache(range(6), beam_size), bounds(12, 8, 3, 12, 9, 12), config)
    for sentence, n_best in enumerate(found):
        assert len(n_best) == beam_size == len({each.tokens for each in n_best})
        assert n_best == sorted(n_best, key=lambda each: -each.score)
        for each in n_best:
            assert each.log_prob == pytest.approx(toy.log_prob(sentence, each.tokens), abs=1e-4)
            assert END not in each.tokens


@given(seed=seeds, beam_size=st.integers(1, 4), order=st.permutations(range(6)))
@settings(max_examples=30)
def test_neighbours_and_their_order_do_not_matter(seed: int, beam_size: int, order: list[int]) -> None:
    toy, config = Toy(seed), DecodingConfig()
    limits = [10, 2, 7, 12, 1, 12]
    alone = [
        beam_search(toy.step, toy.cache([sentence], beam_size), bounds(limits[sentence]), config)[0]
        for sentence in range(6)
    ]
    together = beam_search(toy.step, toy.cache(order, beam_size), bounds(*(limits[i] for i in order)), config)
    assert together == [alone[sentence] for sentence in order]


def test_wider_beams_find_no_worse_on_average() -> None:
    config = DecodingConfig(length_penalty=0.0)
    toy, means = Toy(3, num_sentences=100), []
    for beam_size in (1, 2, 4, 16):
        found = beam_search(toy.step, toy.cache(range(100), beam_size), bounds(*[9] * 100), config)
        means.append(sum(hypotheses[0].score for hypotheses in found))
    assert means == sorted(means)


def test_sentences_leave_when_they_are_done() -> None:
    toy = Toy(1)
    cache = toy.cache(range(6), 3)
    beam_search(toy.step, cache, bounds(1, 2, 3, 4, 5, 6), DecodingConfig())
    assert cache.steps == sorted(cache.steps, reverse=True)
    assert cache.steps[0] == 18 and cache.steps[-1] < 18
    assert all(cache.steps[length] <= 3 * (6 - length) for length in range(len(cache.steps)))


def test_length_penalty_favours_longer_translations() -> None:
    def mean_length(alpha: float) -> float:
        config = DecodingConfig(length_penalty=alpha)
        toy = Toy(2, num_sentences=50, sharpness=1.0)
        found = beam_search(toy.step, toy.cache(range(50), 4), bounds(*[20] * 50), config)
        return sum(len(hypotheses[0].tokens) for hypotheses in found) / 50

    assert mean_length(0.0) < mean_length(1.0) < mean_length(3.0)


def test_impatience_still_gives_as_many_as_are_asked_for() -> None:
    toy = Toy(1, vocab_size=6)
    (found,) = beam_search(toy.step, toy.cache([0], 4), bounds(8), DecodingConfig(beam_size=4, n_best=4, patience=0.3))
    assert len(found) == 4


@pytest.mark.parametrize("patience", [1.0, 1.5])
def test_with_patience_a_better_one_that_is_about_to_end_is_waited_for(patience: float) -> None:
    """Two are finished after two steps, when the best of all lacks its end only."""
    toy = Toy(1, vocab_size=4)
    first = next_state(0, START)
    second = next_state(first, 2)
    third = next_state(second, 3)
    toy.tables[0, first] = torch.tensor([0.01, 0.3, 0.6, 0.09]).log()
    toy.tables[0, second] = torch.tensor([0.005, 0.3, 0.005, 0.69]).log()
    toy.tables[0, third] = torch.tensor([0.003, 0.99, 0.003, 0.004]).log()
    cache = toy.cache([0], 2)
    config = DecodingConfig(length_penalty=1.0, patience=patience)
    (found,) = beam_search(toy.step, cache, bounds(20), config)
    assert [each.tokens for each in found] == ([(2,), ()] if patience == 1 else [(2, 3), (2,)])
    assert len(cache.steps) == (2 if patience == 1 else 3), "and not longer"
