"""Noise for training pairs: what users type, and clean text lacks, so that a model bears it (Belinkov and Bisk 2018).

Functions of a text and a generator of random numbers. None gives an empty text, or one with a line feed. Words that are
code, such as placeholders and names of files, keep their form, since translations must have them unchanged.

What becomes of the target is what users expect. Of text in capitals they expect capitals, and of a sentence without a
full stop one without it; but what is typed without capitals, with too many, with typos or without commas is to be
translated as if it were well written. An emoji is kept.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np

from seq2seq.config import NoiseConfig
from seq2seq.data.corpus import SentencePair
from seq2seq.data.words import PUNCTUATION, is_code

T = TypeVar("T")

Generator = np.random.Generator

_STREAM = 0x6E6F697365  # keeps these random numbers apart from others of the same seed and epoch
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm", "йцукенгшщзхъ", "фывапролджэ", "ячсмитьбю")  # of keyboards
_NEXT_TO: dict[str, str] = {}  # the keys beside each
for _row in _ROWS:
    for _left, _right in pairwise(_row):
        _NEXT_TO[_left] = _NEXT_TO.get(_left, "") + _right
        _NEXT_TO[_right] = _NEXT_TO.get(_right, "") + _left
_FINAL = ".!?…:;,。！？；：，、।؟۔"  # what ends a sentence or a clause
_CODE = re.compile(r">>\S*<<")  # which prepared text has in front, and no tokenizer lists
_EMOJI = tuple("😀😂😊😍😉😎😢😭😡🤔👍👎🙏👏💪🎉🔥🚀✅💡")


def noisy(
    pair: SentencePair, config: NoiseConfig, seed: int, epoch: int, number: int, tags: Collection[str] = ()
) -> SentencePair:
    """A training pair with the noise of an epoch; the pair itself if all rates are 0.

    Args:
        pair: neither side empty.
        config: the rates.
        seed, epoch, number: of the training, and of the pair in the corpus; the noise is a function of these.
        tags: first words of the source that are of these, or a language's code of Marian, keep their form and place.
    """
    if config == NoiseConfig():
        return pair
    before, rest = "", pair.source
    while ((words := rest.partition(" "))[0] in tags or _CODE.fullmatch(words[0])) and words[2]:
        before, rest = f"{before}{words[0]} ", words[2]
    added = _add(SentencePair(rest, pair.target), config, np.random.default_rng((seed, epoch, number, _STREAM)))
    return SentencePair(before + added.source, added.target)


def _add(pair: SentencePair, config: NoiseConfig, generator: Generator) -> SentencePair:
    source, target = pair
    final, every, case, emoji = generator.random(4)
    if final < config.no_final_punctuation:
        source, target = without_final_punctuation(source), without_final_punctuation(target)
    if every < config.no_punctuation:
        source = without_punctuation(source)
    if config.typos:
        source = with_typos(source, config.typos, generator)
    if case < config.upper_case:
        source, target = upper_case(source), upper_case(target)
    elif case < config.upper_case + config.title_case:
        source = title_case(source)
    elif case < config.upper_case + config.title_case + config.lower_case:
        source = lower_case(source)
    if emoji < config.emoji:
        source, target = with_emoji(SentencePair(source, target), generator)
    return SentencePair(source, target)


def with_typos(text: str, rate: float, generator: Generator) -> str:
    """A typo in a share of the words of two letters or more."""
    words = text.split(" ")
    for place in np.flatnonzero(generator.random(len(words)) < rate).tolist():
        words[place] = _of_language(words[place], lambda word: _mistyped(word, generator))
    return " ".join(words)


def upper_case(text: str) -> str:
    """A text in capitals."""
    return _each_word(text, str.upper)


def lower_case(text: str) -> str:
    """A text without capitals."""
    return _each_word(text, str.lower)


def title_case(text: str) -> str:
    """A text with a capital at the begin of each word."""
    return _each_word(text, lambda word: word[:1].upper() + word[1:])


def without_final_punctuation(text: str) -> str:
    """A text without the full stop, or the like, that ends it; if it is nothing else, as it is."""
    return text.rstrip(f"{_FINAL} ") or text


def without_punctuation(text: str) -> str:
    """A text without punctuation but for hyphens and apostrophes inside words; if it is nothing else, as it is."""
    bare = ((word, word.strip(PUNCTUATION)) for word in text.split(" "))
    words = (word if is_code(inner) else _letters(inner) for word, inner in bare)
    return " ".join(word for word in words if word).strip() or text


def with_emoji(pair: SentencePair, generator: Generator) -> SentencePair:
    """An emoji in front of both sides, or at their end."""
    emoji = _EMOJI[generator.integers(len(_EMOJI))]
    if generator.random() < 0.2:
        return SentencePair(f"{emoji} {pair.source}", f"{emoji} {pair.target}")
    return SentencePair(f"{pair.source} {emoji}", f"{pair.target} {emoji}")


def _each_word(text: str, change: Callable[[str], str]) -> str:
    return " ".join(_of_language(word, change) for word in text.split(" "))


def _of_language(word: str, change: Callable[[str], str]) -> str:
    """A word changed between the punctuation around it, unless it is code."""
    inner = word.strip(PUNCTUATION)
    if not inner or is_code(inner):
        return word
    start = word.index(inner)
    return word[:start] + change(inner) + word[start + len(inner) :]


def _mistyped(word: str, generator: Generator) -> str:
    """A word with one typo of those that change it; words of a letter stay."""
    letters = [place for place, char in enumerate(word) if char.isalpha()]
    if len(letters) < 2:
        return word
    swaps = [place for place, after in pairwise(letters) if after == place + 1 and word[place] != word[after]]
    keys = [place for place in letters if word[place].lower() in _NEXT_TO]
    match _choice(["drop", "double", *["swap"] * bool(swaps), *["key"] * bool(keys)], generator):
        case "swap":
            place = _choice(swaps, generator)
            return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
        case "key":
            place = _choice(keys, generator)
            key = _choice(_NEXT_TO[word[place].lower()], generator)
            return word[:place] + (key.upper() if word[place].isupper() else key) + word[place + 1 :]
        case "drop":
            place = _choice(letters, generator)
            return word[:place] + word[place + 1 :]
        case _:
            place = _choice(letters, generator)
            return word[:place] + word[place] + word[place:]


def _choice(items: Sequence[T], generator: Generator) -> T:
    return items[int(generator.integers(len(items)))]


def _letters(word: str) -> str:
    """A word without punctuation but for hyphens and apostrophes."""
    return "".join(char for char in word if char in "-'’" or not _is_punctuation(char))


def _is_punctuation(char: str) -> bool:
    return unicodedata.category(char)[0] == "P"
