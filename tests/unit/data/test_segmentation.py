from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.data.segmentation import BpeDropout, Piece, UnigramSampling

TEXTS = ["▁", "a", "b", "c", "ab", "bc", "abc", "▁a", "▁ab", "ca"]
UNIGRAM = {text: Piece(i, -1.0 - 0.3 * i) for i, text in enumerate(TEXTS)}
BPE = {text: Piece(i, float(-i)) for i, text in enumerate(["ab", "▁a", "▁ab", "bc", "abc", "a", "b", "c", "▁"])}
WORDS = st.text("abc", min_size=1, max_size=12).map(lambda text: f"▁{text}")


def all_segmentations(word: str) -> Iterator[tuple[str, ...]]:
    if not word:
        yield ()
    for length in range(1, len(word) + 1):
        if word[:length] in UNIGRAM:
            for rest in all_segmentations(word[length:]):
                yield word[:length], *rest


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0])
def test_unigram_probabilities(alpha: float) -> None:
    word = "▁abcab"
    weights = {
        tuple(UNIGRAM[text].token for text in texts): math.exp(alpha * sum(UNIGRAM[text].score for text in texts))
        for texts in all_segmentations(word)
    }
    draw, generator, number = UnigramSampling(UNIGRAM, alpha), Random(1), 20_000
    drawn = Counter(tuple(draw(word, generator)) for _ in range(number))
    assert set(drawn) <= set(weights)
    for tokens, weight in weights.items():
        probability = weight / sum(weights.values())
        deviation = math.sqrt(number * probability * (1 - probability))
        assert abs(drawn[tokens] - number * probability) < 5 * deviation + 1


@given(word=WORDS, seed=st.integers(0))
def test_unigram_with_high_alpha_takes_the_best(word: str, seed: int) -> None:
    best = max(all_segmentations(word), key=lambda texts: sum(UNIGRAM[text].score for text in texts))
    scores = sorted(sum(UNIGRAM[text].score for text in texts) for texts in all_segmentations(word))
    if len(scores) == 1 or scores[-1] - scores[-2] > 0.01:
        assert UnigramSampling(UNIGRAM, 1e4)(word, Random(seed)) == [UNIGRAM[text].token for text in best]


def test_unigram_goes_round_what_leads_nowhere() -> None:
    pieces = {"ab": Piece(0, -1.0), "b": Piece(1, -1.0), "c": Piece(2, -1.0)}  # "a" alone is no piece
    assert UnigramSampling(pieces, 0.1)("abc", Random(1)) == [0, 2]


@given(word=WORDS, share=st.floats(0, 0.99), seed=st.integers(0))
def test_bpe_dropout_keeps_the_word(word: str, share: float, seed: int) -> None:
    texts = list(BPE)
    assert "".join(texts[token] for token in BpeDropout(BPE, share)(word, Random(seed))) == word


def test_bpe_merges_by_rank_from_the_left() -> None:
    texts = list(BPE)
    tokens = BpeDropout(BPE, 0.0)("▁abcabab", Random(1))
    assert [texts[token] for token in tokens] == ["▁ab", "c", "ab", "ab"]


def test_bpe_dropout_probability() -> None:
    draw, generator = BpeDropout(BPE, 0.3), Random(1)
    split = sum(len(draw("bc", generator)) == 2 for _ in range(10_000))
    assert 2700 < split < 3300  # 3000 expected, 46 is one standard deviation


@pytest.mark.parametrize("draw", [UnigramSampling(UNIGRAM, 0.2), BpeDropout(BPE, 0.3)])
def test_function_of_the_generator(draw: UnigramSampling | BpeDropout) -> None:
    assert [draw("▁abcabc", Random(seed)) for seed in range(20)] == [
        draw("▁abcabc", Random(seed)) for seed in range(20)
    ]
