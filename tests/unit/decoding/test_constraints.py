"""Rules hold in every search, and take nothing else away."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_model import END, Toy, assert_same, bounds

from seq2seq.config import DecodingConfig
from seq2seq.decoding.beam import beam_search
from seq2seq.decoding.constraints import minimum_length, no_repeat_ngram, suppress
from seq2seq.decoding.sampling import greedy, sample

CPU = torch.device("cpu")
CONFIG = DecodingConfig()
WIDTH = 150  # more than there are translations
seeds = st.integers(0, 10_000)


def repeats(tokens: tuple[int, ...], size: int) -> bool:
    ngrams = [tokens[i : i + size] for i in range(len(tokens) - size + 1)]
    return len(set(ngrams)) < len(ngrams)


def brute_force(toy: Toy, sentence: int, longest: int, allowed: Callable[[tuple[int, ...]], bool]):
    return [each for each in toy.best(sentence, longest, CONFIG) if allowed(each.tokens)]


@given(seed=seeds, size=st.integers(1, 3))
@settings(max_examples=20)
def test_no_ngram_twice_is_brute_force_without_repeats(seed: int, size: int) -> None:
    toy, lengths = Toy(seed, vocab_size=4), [5, 2, 4]
    step, cache = no_repeat_ngram(toy.step, toy.cache(range(3), WIDTH), size, CPU)
    found = beam_search(step, cache, bounds(*lengths), CONFIG)
    for sentence, longest in enumerate(lengths):
        assert_same(found[sentence], brute_force(toy, sentence, longest, lambda tokens: not repeats(tokens, size)))


@given(seed=seeds)
@settings(max_examples=20)
def test_least_length_is_brute_force_without_shorter_ones(seed: int) -> None:
    toy, least, lengths = Toy(seed, vocab_size=4), [3, 1, 4, 2], [5, 2, 4, 4]
    step, cache = minimum_length(toy.step, toy.cache(range(4), WIDTH), torch.tensor(least), END)
    found = beam_search(step, cache, bounds(*lengths), CONFIG)
    for sentence, (low, high) in enumerate(zip(least, lengths, strict=True)):
        assert_same(found[sentence], brute_force(toy, sentence, high, lambda tokens: len(tokens) + 1 >= low))  # noqa: B023


@given(seed=seeds)
@settings(max_examples=20)
def test_suppressed_tokens_are_never_said(seed: int) -> None:
    toy = Toy(seed, vocab_size=4)
    found = beam_search(suppress(toy.step, [0, 3]), toy.cache([2], WIDTH), bounds(4), CONFIG)
    assert_same(found[0], brute_force(toy, 2, 4, lambda tokens: set(tokens) <= {2}))


def searches():
    return [
        lambda step, cache, limits: beam_search(step, cache, limits, CONFIG),
        lambda step, cache, limits: sample(step, cache, limits, CONFIG, [(i,) for i in range(6)]),
    ]


@pytest.mark.parametrize("search", searches(), ids=["beam", "sample"])
def test_rules_hold_together_while_sentences_leave(search) -> None:
    least, longest = [2, 3, 8, 5, 6, 9], [2, 9, 12, 5, 7, 12]
    for seed in range(10):
        toy = Toy(seed, vocab_size=7)
        step, cache = no_repeat_ngram(suppress(toy.step, [3]), toy.cache(range(6), 3), 2, CPU)
        step, cache = minimum_length(step, cache, torch.tensor(least), END)
        for i, found in enumerate(search(step, cache, bounds(*longest))):
            for each in found:
                assert least[i] <= len(each.tokens) + 1 <= longest[i]
                assert not repeats(each.tokens, 2) and not {END, 3} & set(each.tokens)
                assert each.log_prob == pytest.approx(toy.log_prob(i, each.tokens), abs=1e-4)


def test_rules_do_not_make_a_beam_of_one_other_than_greedy() -> None:
    def constrained(toy: Toy):
        step, cache = no_repeat_ngram(toy.step, toy.cache(range(6)), 2, CPU)
        return minimum_length(step, cache, torch.tensor([4] * 6), END)

    for seed in range(10):
        toy, limits = Toy(seed), bounds(*[12] * 6)
        assert beam_search(*constrained(toy), limits, CONFIG) == greedy(*constrained(toy), limits, CONFIG)


def test_where_nothing_may_be_said_it_ends_early() -> None:
    """Four different tokens cannot make nine without repeats, however long it must be."""
    toy = Toy(1)
    step, cache = no_repeat_ngram(toy.step, toy.cache(range(6), 2), 1, CPU)
    step, cache = minimum_length(step, cache, torch.tensor([10] * 6), END)
    for i, found in enumerate(beam_search(step, cache, bounds(*[20] * 6), CONFIG)):
        assert found
        for each in found:
            assert sorted(each.tokens) == [0, 2, 3, 4]
            assert each.log_prob == pytest.approx(toy.log_prob(i, each.tokens), abs=1e-4)
