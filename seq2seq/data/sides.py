"""Which side of a pair its words belong on, as the corpus itself teaches; what tells that sides are swapped.

No language has to be known for it: a word that half a corpus has on its source side is one of the source language. All
words of a pair count together (naive Bayes), so that a name or a word of both languages does not decide alone.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from seq2seq.data.corpus import SentencePair
from seq2seq.data.tags import tag_of, tags_of_directions, without_tag
from seq2seq.data.words import words_of_language

_SAMPLE = 50_000  # pairs to learn from
_LEAST = 3  # times that a part of a word must have been seen
_SURE = 3.0  # nats for the swapped reading
_CACHED = 200_000  # words
_LETTERS = re.compile(r"[^\W\d_]+")


class Sides:
    """What tells of a pair whether its sides are swapped."""

    def __init__(self, by_tag: Mapping[str, _Odds]) -> None:
        """Judge pairs whose source begins with a tag of a direction by others with the same one; "": of all pairs."""
        self._by_tag = by_tag

    @classmethod
    def learn(cls, pairs: Iterable[SentencePair]) -> Sides:
        """Learn from pairs, most of which have their sides in order; of many, from 50,000 drawn at random.

        Where most begin with tags, and not all with one, these are of several directions, each with its own order.
        """
        sample = _sample(pairs)
        tags = tags_of_directions([pair.source for pair in sample])
        if len(tags) < 2:
            return cls({"": _Odds.learn(sample)})
        of_tag: dict[str, list[SentencePair]] = {tag: [] for tag in tags}
        for pair in sample:
            if tag := tag_of(pair.source):
                of_tag[tag].append(SentencePair(without_tag(pair.source), pair.target))
        return cls({tag: _Odds.learn(its) for tag, its in of_tag.items()})

    def are_swapped(self, pair: SentencePair) -> bool:
        """Each side's words surely belong on the other side; of a pair of names or code, nobody can say."""
        if (odds := self._by_tag.get("")) is not None:
            return odds.are_swapped(pair)
        # In a swapped pair, the tag may have moved with its text: nothing is known of a direction without a tag then.
        odds = self._by_tag.get(tag_of(pair.source))
        return odds is not None and odds.are_swapped(SentencePair(without_tag(pair.source), pair.target))


class _Odds:
    """How much more each part of a word belongs on the source side than on the target side."""

    def __init__(self, odds: Mapping[str, float]) -> None:
        """Judge by the logarithms of odds, in nats, of words between spaces and of four letters in a row."""
        self._odds = odds
        self._of_word: dict[str, float] = {}

    @classmethod
    def learn(cls, pairs: Iterable[SentencePair]) -> _Odds:
        """Learn from pairs, most of which have their sides in order."""
        counts = (Counter[str](), Counter[str]())
        for pair in pairs:
            for count, words in zip(counts, _own_words(pair, words_of_language), strict=True):
                for word in words:
                    count.update(_parts(word))
        source, target = counts
        return cls(
            {
                part: math.log((source[part] + 0.5) / (target[part] + 0.5))
                for part in source.keys() | target.keys()
                if source[part] + target[part] >= _LEAST
            }
        )

    def are_swapped(self, pair: SentencePair) -> bool:
        """Each side's words surely belong on the other side; of a pair of names or code, nobody can say."""
        source, target = _own_words(pair, words_of_language)
        if source or target:
            return sum(map(self._belonging, target)) - sum(map(self._belonging, source)) > _SURE
        # `NAME=Wert`: within code, only whole words count, and those of each side must tell; parts of names say little.
        source, target = _own_words(pair, _LETTERS.findall)
        return self._of_whole(target) > _SURE / 2 and self._of_whole(source) < -_SURE / 2

    def _belonging(self, word: str) -> float:
        """How much more a word belongs on the source side, in nats."""
        found = self._of_word.get(word)
        if found is None:
            if len(self._of_word) >= _CACHED:
                self._of_word.clear()
            # In order: sums of floats depend on it.
            found = self._of_word[word] = sum(self._odds.get(part, 0.0) for part in sorted(_parts(word)))
        return found

    def _of_whole(self, words: Iterable[str]) -> float:
        return sum(self._odds.get(f" {word} ", 0.0) for word in words)


def _sample(pairs: Iterable[SentencePair]) -> list[SentencePair]:
    """Of all pairs, each as likely as any other (Vitter 1985, algorithm R)."""
    generator = random.Random(1)
    kept: list[SentencePair] = []
    for number, pair in enumerate(pairs, 1):
        if number <= _SAMPLE:
            kept.append(pair)
        elif (place := int(generator.random() * number)) < _SAMPLE:
            kept[place] = pair
    return kept


def _own_words(pair: SentencePair, words_of: Callable[[str], list[str]]) -> tuple[list[str], list[str]]:
    """The words of each side that the other has not, without case, in order."""
    source, target = ({word.casefold() for word in words_of(side)} for side in pair)
    return sorted(source - target), sorted(target - source)


def _parts(word: str) -> set[str]:
    """The word between spaces, and all its rows of four characters, these spaces included."""
    word = f" {word} "
    return {word, *(word[start : start + 4] for start in range(len(word) - 3))}
