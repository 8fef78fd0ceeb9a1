"""A toy model that a search can be checked against by hand."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import pytest
import torch
from torch import Tensor

from seq2seq.config import DecodingConfig
from seq2seq.decoding.search import Bounds, Hypothesis, hypothesis

START, END = 0, 1  # of the toy; its other tokens are ordinary
STATES = 97


class ToyCache:
    """Each row has a state, which its tokens so far have led to; each sentence has a table that gives probabilities."""

    def __init__(self, tables: Tensor, sentences: Sequence[int], beam_size: int) -> None:
        self.tables = tables[list(sentences)]  # (B, STATES, V)
        self.beam_size = beam_size
        self.states = torch.zeros(len(sentences) * beam_size, dtype=torch.int64)
        self.steps: list[int] = []  # rows of each step

    @property
    def num_sentences(self) -> int:
        return len(self.tables)

    def select(self, rows: Tensor) -> None:
        assert rows.shape == self.states.shape
        assert torch.equal(rows // self.beam_size, torch.arange(len(rows)) // self.beam_size), "of the same sentence"
        assert not torch.equal(rows, torch.arange(len(rows))), "nothing to reorder"
        self.states = self.states[rows]

    def keep_sentences(self, sentences: Tensor) -> None:
        self.tables = self.tables[sentences]
        self.states = self.states.view(-1, self.beam_size)[sentences].flatten()


class Toy:
    """Log-probabilities that depend on the sentence and on all tokens so far, through tables of random numbers."""

    def __init__(self, seed: int, vocab_size: int = 5, num_sentences: int = 6, sharpness: float = 2.0) -> None:
        logits = torch.randn(num_sentences, STATES, vocab_size, generator=torch.Generator().manual_seed(seed))
        self.tables = (logits * sharpness).log_softmax(dim=2)
        self.vocab_size = vocab_size

    def cache(self, sentences: Sequence[int], beam_size: int = 1) -> ToyCache:
        return ToyCache(self.tables, sentences, beam_size)

    def step(self, tokens: Tensor, cache: ToyCache) -> Tensor:
        cache.steps.append(len(tokens))
        cache.states = next_state(cache.states, tokens)
        sentences = torch.arange(cache.num_sentences).repeat_interleave(cache.beam_size)
        return cache.tables[sentences, cache.states]

    def log_prob(self, sentence: int, tokens: Sequence[int]) -> float:
        """Of a whole translation, its end included, one token after another."""
        state, total = 0, 0.0
        for latest, token in itertools.pairwise([START, *tokens, END]):
            state = next_state(state, latest)
            total += float(self.tables[sentence, state, token])
        return total

    def sequences(self, longest: int) -> Iterator[tuple[int, ...]]:
        """All translations of up to `longest` tokens, the end included."""
        others = [token for token in range(self.vocab_size) if token != END]
        for length in range(longest):
            yield from itertools.product(others, repeat=length)

    def best(self, sentence: int, longest: int, config: DecodingConfig) -> list[Hypothesis]:
        """All translations, the best first, by brute force."""
        found = [hypothesis(list(s), self.log_prob(sentence, s), config) for s in self.sequences(longest)]
        return sorted(found, key=lambda each: -each.score)


def next_state(state, token):
    """The same for a number and for a tensor of them."""
    return (state * 31 + token * 17 + 7) % STATES


def bounds(*max_lengths: int) -> Bounds:
    return Bounds(START, END, torch.tensor(max_lengths), torch.device("cpu"))


def assert_same(found: Sequence[Hypothesis], expected: Sequence[Hypothesis]) -> None:
    """The same hypotheses, best first; those whose scores differ by rounding alone may stand in another order."""
    assert [each.score for each in found] == pytest.approx([each.score for each in expected], abs=1e-4)
    by_tokens = {each.tokens: each for each in expected}
    assert {each.tokens for each in found} == by_tokens.keys()
    for each, in_its_place in zip(found, expected, strict=True):
        assert by_tokens[each.tokens].score == pytest.approx(in_its_place.score, abs=1e-5), "but for rounding"
        assert each.score == pytest.approx(by_tokens[each.tokens].score, abs=1e-4)
        assert each.log_prob == pytest.approx(by_tokens[each.tokens].log_prob, abs=1e-4)
