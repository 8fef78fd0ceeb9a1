"""Words spelt backwards, made up: `python recipes/reverse.py` trains in half a minute."""

from __future__ import annotations

import random
from itertools import islice
from pathlib import Path

from seq2seq.config import Config
from seq2seq.data.corpus import SentencePair
from seq2seq.fetch import write_text
from seq2seq.recipe import main_for

SIZES = {"train": 6000, "validation": 200, "test": 200}
LETTERS = "abcdefghij"


def fetch(config: Config, output: Path) -> None:
    """Write made-up words and the same backwards, no word twice; a fixed seed makes the same ones every time."""
    generator = random.Random(1)
    words: dict[str, None] = {}
    while len(words) < sum(SIZES.values()):
        words[" ".join(generator.choices(LETTERS, k=generator.randint(3, 8)))] = None
    pairs = (SentencePair(word, word[::-1]) for word in words)
    for name, size in SIZES.items():
        write_text(islice(pairs, size), config.data, output, name)


if __name__ == "__main__":
    main_for(__file__)
