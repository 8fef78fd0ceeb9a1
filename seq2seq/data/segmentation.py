"""Random segmentations of words into pieces, for training that sees a word in many spellings.

SentencePiece samples too, but from a generator that cannot be seeded for good: since version 0.2.2 the same seed gives
other segmentations in every process, so that a resumed training would not be the same as one without a break. Here a
segmentation is a function of the word and a `random.Random`, on every machine and in every version.

A word is a run of characters that are all pieces, with ▁ at its begin at most: since no piece of a vocabulary goes over a
space, words can be segmented one by one.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Mapping
from itertools import accumulate
from random import Random
from typing import NamedTuple, Protocol

_CACHED_WORDS = 2**15  # lattices of words, some 2 KB each


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
            ends = lattice[place]
            choice = bisect(ends.shares, generator.random() * ends.shares[-1])
            tokens.append(ends.tokens[choice])
            place = ends.starts[choice]
        return tokens[::-1]

    def _lattice(self, word: str) -> list[_Endings]:
        """For each place in the word the pieces that end there, with their shares of the way to that place."""
        lattice = [_Endings([], [], [])]
        forward = [0.0]  # log of the sum over all segmentations of word[:place] of P(x)^alpha
        for place in range(1, len(word) + 1):
            starts, tokens, scores = [], [], []
            for start in range(max(0, place - self._longest), place):
                piece = self._pieces.get(word[start:place])
                if piece is not None and forward[start] > -math.inf:
                    starts.append(start)
                    tokens.append(piece.token)
                    scores.append(forward[start] + self._alpha * piece.score)
            highest = max(scores, default=0.0)
            shares = list(accumulate(math.exp(score - highest) for score in scores))
            forward.append(highest + math.log(shares[-1]) if shares else -math.inf)
            lattice.append(_Endings(starts, tokens, shares))
        return lattice


class _Endings(NamedTuple):
    starts: list[int]
    tokens: list[int]
    shares: list[float]  # cumulative


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
