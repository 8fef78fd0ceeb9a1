"""How good each of some translations of a sentence would be if another one were the reference, for all pairs at once.

The scores are those of sacreBLEU's `sentence_chrf` and `sentence_bleu` as they are by default, from 0 to 100:

* chrF2 (Popović 2015): characters 1- to 6-grams without white space, beta 2, the mean over the orders that both texts
  have n-grams of;
* BLEU (Papineni et al. 2002): cased words of the tokenizer 13a, exponential smoothing, effective order (only the orders
  that the translation has n-grams of). Made for languages that put spaces between words; for others, take chrF.

Matches of counted n-grams, `sum(min(a, b))`, are the common elements of two sets if the i-th occurrence of an n-gram is
an element of its own. With each text's set as a row of zeros and ones, the matches of all pairs of N texts are a
product of matrices: time is in `O(N^2 F)`, with `F` distinct n-grams, but it is BLAS that takes it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from functools import cache
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

Floats = NDArray[np.float64]

_CHARACTERS, _WORDS = 6, 4  # the longest n-grams
_BETA = 2


def chrf_utilities(texts: Sequence[str]) -> Floats:
    """The chrF `(N, N)` of each text (row) against each as the reference (column)."""
    characters = ["".join(text.split()) for text in texts]
    precision, recall, orders = (np.zeros((len(texts), len(texts))) for _ in range(3))
    for order in range(1, _CHARACTERS + 1):
        matches, totals = _matches(characters, order)
        both = (totals[:, None] > 0) & (totals > 0)
        at_least_one = np.maximum(totals, 1)
        precision += np.where(both, matches / at_least_one[:, None], 0)
        recall += np.where(both, matches / at_least_one, 0)
        orders += both
    precision, recall = (part / np.maximum(orders, 1) for part in (precision, recall))
    weighted = _BETA**2 * precision + recall
    return 100 * (1 + _BETA**2) * precision * recall / np.where(weighted > 0, weighted, 1)


def bleu_utilities(texts: Sequence[str], rewards_length: bool = False) -> Floats:
    """The BLEU `(N, N)` of each text (row) against each as the reference (column).

    Where texts are too short on the whole, each word more makes BLEU of them all better, be it in a sentence that is
    long enough by itself. With `rewards_length`, the brevity penalty of a text longer than its reference is over 1.
    """
    words = [_tokenizer()(text.rstrip()).split() for text in texts]
    logs, misses, orders = (np.zeros((len(texts), len(texts))) for _ in range(3))
    any_match = np.zeros(logs.shape, bool)
    for order in range(1, _WORDS + 1):
        matches, totals = _matches(words, order)
        has_some, at_least_one = totals[:, None] > 0, np.maximum(totals, 1)[:, None]
        misses += has_some & (matches == 0)  # each halves what stands for no match
        share = np.where(matches > 0, matches, 0.5**misses) / at_least_one
        logs += np.where(has_some, np.log(share), 0)
        orders += has_some
        any_match |= matches > 0
    lengths = np.array([len(each) for each in words], dtype=np.float64)
    missing = 1 - lengths / np.maximum(lengths, 1)[:, None]
    brevity = np.exp(missing if rewards_length else np.minimum(missing, 0))
    return np.where(any_match, 100 * brevity * np.exp(logs / np.maximum(orders, 1)), 0)


def _matches(texts: Sequence[Sequence[Hashable]], order: int) -> tuple[Floats, Floats]:
    """The n-grams of an order that each two of N texts have in common `(N, N)`, and that each text has `(N,)`."""
    numbers: dict[Hashable, int] = {}
    sets = []
    for text in texts:
        seen: defaultdict[Hashable, int] = defaultdict(int)
        elements = []
        for ngram in zip(*(text[start:] for start in range(order)), strict=False):
            seen[ngram] += 1
            elements.append(numbers.setdefault((ngram, seen[ngram]), len(numbers)))
        sets.append(elements)
    totals = np.array([len(each) for each in sets])
    held = np.zeros((len(texts), len(numbers)), np.float32)  # whole numbers below 2^24 are exact
    held[np.repeat(np.arange(len(texts)), totals), np.array(list(chain(*sets)), dtype=np.int64)] = 1
    rows = torch.from_numpy(held)  # torch keeps to the one thread that a worker has, which NumPy's BLAS does not
    return (rows @ rows.T).double().numpy(), totals.astype(np.float64)


@cache
def _tokenizer() -> Tokenizer13a:
    return Tokenizer13a()  # type: ignore[no-untyped-call]
