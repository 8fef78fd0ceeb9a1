"""Noise of all kinds, planted into made-up text of two made-up languages: the filters find it, and leave the rest."""

from __future__ import annotations

import random

from seq2seq.data.corpus import SentencePair
from tests.benchmarks.planted_noise import all_filters, measure

LETTERS = ("aeioubdklmnt", "äöüyrsvwgfhz")  # of the two languages


def made_up(number: int) -> list[SentencePair]:
    """Different sentences with the same number on both sides; word N of one language is word N of the other."""
    generator = random.Random(1)
    words = [
        ["".join(generator.choices(letters, k=generator.randint(3, 8))) for _ in range(300)] for letters in LETTERS
    ]
    chosen = [[generator.randrange(300) for _ in range(generator.randint(4, 12))] for _ in range(number)]
    return [
        SentencePair(*(" ".join([str(100 + i), *(words[side][place] for place in places)]) for side in (0, 1)))
        for i, places in enumerate(chosen)
    ]


def test_planted_noise_is_caught_and_clean_text_is_kept() -> None:
    pairs = made_up(1500)
    found = measure(pairs[:1200], pairs[1200:1400], pairs[1400:], ("xx", "yy"), all_filters(), number=40, seed=1)
    for kind in found.kinds:
        assert len(kind.pairs) == 40, kind.kind
        assert kind.caught >= 0.99 * len(kind.pairs), kind.kind
    assert found.clean == 200
    assert not found.lost
