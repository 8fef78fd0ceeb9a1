"""Random segmentations of words into pieces, for training that sees a word in many spellings.

SentencePiece samples too, but its generator cannot be relied on: in version 0.2.3 the same seed gives other
segmentations in each process, so a resumed training would not be the same as one without a break. Here a segmentation
is a function of the word and a `random.Random`, on every machine and with every version.

A word is a run of text that pieces can spell, with ▁ at its begin at most: as no piece of a vocabulary goes over a
space, words are segmented one by one.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Mapping, Sequence
from itertools import accumulate
from random import Random
from typing import NamedTuple, Protocol

_CACHED_WORDS = 2**15  # lattices of words, some 2 KB each


# Of the pieces that end at a place in a word: cumulative shares, up to 1, and (token, start) of each.
_Endings = tuple[Sequence[float], Sequence[tuple[int, int]]]


class Piece(NamedTuple):
    """A piece of a vocabulary. Score: unigram log-probability in nats, or minus the rank of a merge in BPE."""

    token: int
    score: float


class Segmenter(Protocol):
    """Draws one segmentation of a word, as token ids."""

    def __call__(self, word: str, generator: Random) -> list[int]:
        """Token ids whose pieces make the word."""


class UnigramSampling:
    """Segmentations x of all that there are, each with a probability in proportion to P(x)^alpha.

    Subword regularisation (Kudo 2018, section 3.3, with l = infinity): forward filtering, backward sampling.
    """

    def __init__(self, pieces: Mapping[str, Piece], alpha: float) -> None:
        self._pieces = pieces
        self._alpha = alpha
        self._longest = max(map(len, pieces), default=0)
        self._lattices: dict[str, list[_Endings]] = {}

    def __call__(self, word: str, generator: Random) -> list[int]:
        """Draw a segmentation, from the last piece to the first."""
        lattice = self._lattices.get(word)
        if lattice is None:
            if len(self._lattices) >= _CACHED_WORDS:
                self._lattices.clear()
            lattice = self._lattices[word] = self._lattice(word)
        tokens = []
        place = len(word)
        while place:
            shares, endings = lattice[place]
            token, place = endings[bisect(shares, generator.random())]
            tokens.append(token)
        tokens.reverse()
        return tokens

    def _lattice(self, word: str) -> list[_Endings]:
        """For each place in the word the pieces that end there, with their shares of the ways to that place."""
        lattice: list[_Endings] = [((), ())]
        forward = [0.0]  # log of the sum over all segmentations of word[:place] of P(x)^alpha
        for place in range(1, len(word) + 1):
            endings, scores = [], []
            for start in range(max(0, place - self._longest), place):
                piece = self._pieces.get(word[start:place])
                if piece is not None and forward[start] > -math.inf:
                    endings.append((piece.token, start))
                    scores.append(forward[start] + self._alpha * piece.score)
            highest = max(scores, default=0.0)
            shares = list(accumulate(math.exp(score - highest) for score in scores))
            forward.append(highest + math.log(shares[-1]) if shares else -math.inf)
            lattice.append(([share / shares[-1] for share in shares], endings))
        return lattice


class BpeDropout:
    """Byte-pair merges of which each is left out with some probability, anew at each step.

    BPE-dropout (Provilkov et al. 2020, algorithm 1).
    """

    def __init__(self, pieces: Mapping[str, Piece], dropout: float) -> None:
        self._pieces = pieces
        self._dropout = dropout

    def __call__(self, word: str, generator: Random) -> list[int]:
        """Merge the best pair of neighbours that is not left out, until none is left."""
        symbols = list(word)
        while True:
            best, best_score = -1, -math.inf
            for place in range(len(symbols) - 1):
                merged = self._pieces.get(symbols[place] + symbols[place + 1])
                if merged is not None and merged.score > best_score and generator.random() >= self._dropout:
                    best, best_score = place, merged.score
            if best < 0:
                return [self._pieces[symbol].token for symbol in symbols]
            symbols[best : best + 2] = [symbols[best] + symbols[best + 1]]
