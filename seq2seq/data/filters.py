"""Filters of sentence pairs: each looks at one pair alone, and says whether it is fit for training.

They are asked in the order that `filters_of` gives, and a pair is dropped by the first that it fails, under that
filter's name. What needs more than one pair, duplicates and the overlap with test text, is in `cleaning.py` and comes
after them.
"""

from __future__ import annotations

import math
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from itertools import groupby
from typing import NamedTuple

from seq2seq.config import PrepareConfig
from seq2seq.data.corpus import SentencePair
from seq2seq.data.sides import Sides
from seq2seq.data.words import words_of_language
from seq2seq.errors import ConfigError
from seq2seq.languages import written_language

_RATIO_FROM = 20  # characters; shorter pairs, such as 是 = "That is right.", have no usual ratio
_COPY_FROM = 4  # words; shorter texts, such as names, are often the same in both languages
_LANGUAGE_FROM = 20  # characters; of shorter texts, the language is a guess
# How sure language identification must be to drop a pair, as a probability and in nats. Of software text, these drop
# one good pair in 600, and find 99 of 100 swapped sentences.
_SURE = 0.7
_SURE_OF_SWAP = 1.0
_WIDESPREAD = ("en", "de", "fr", "es", "it", "pt", "nl", "pl", "ru", "zh", "ja")

_HANGUL = re.compile("[\uac00-\ud7a3]")
_HAN = re.compile("[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_WIDTHS = {"FULLWIDTH", "HALFWIDTH"}  # of letters that are else as usual
_CAPITAL_AT_END = re.compile(r"(?<=([^\W\d_]))[ÃÂ](?=—|[»”’…–](?![^\W\d_]))")
_NON_ASCII = re.compile("[^\x00-\x7f]+")
_NUMBER = re.compile(r"\d+(?:[.,’'\u00a0\u202f ]\d+)*")
_NO_DIGIT = re.compile(r"\D")
_DIGITS = re.compile(r"\d+")
_DIGITS_READ = 1000


class Filter(NamedTuple):
    """A reason to drop a pair."""

    name: str
    drops: Callable[[SentencePair], bool]


def filters_of(config: PrepareConfig, languages: tuple[str, str], sides: Sides | None = None) -> list[Filter]:
    """The filters that are switched on, in the order in which they are asked.

    Args:
        config: what to drop.
        languages: codes of the source and the target language.
        sides: what `drop_swapped` goes by.

    Raises:
        ConfigError: if there is no such script, or if language identification is not installed, or does not know a
            language.
    """
    assert sides or not config.drop_swapped, "`drop_swapped` needs to know the corpus"
    scripts = (config.source_scripts, config.target_scripts)
    for script in {*scripts[0], *scripts[1]}:
        if not _is_script(script):
            raise ConfigError(
                f"`prepare.source_scripts`, `prepare.target_scripts`: {script!r}: no letter is of it; there are LATIN, "
                "CYRILLIC, ARABIC, DEVANAGARI, CJK (for Han), HIRAGANA, KATAKANA, HANGUL and more"
            )
    found = [
        Filter("empty", is_empty),
        Filter("mojibake", is_mojibake) if config.drop_mojibake else None,
        Filter("too_long", partial(is_too_long, limit=config.max_characters)),
        Filter("too_many_words", partial(has_too_many_words, limit=config.max_words)) if config.max_words else None,
        Filter("ratio", partial(differs_in_length, limit=config.max_ratio)),
        Filter("repetition", partial(repeats, limit=config.max_repetition)) if config.max_repetition else None,
        Filter("copy", is_copy) if config.drop_copies else None,
        Filter("letters", partial(has_few_letters, least=config.min_letters)) if config.min_letters else None,
        Filter("script", partial(has_other_script, scripts=scripts)) if any(scripts) else None,
        Filter("numbers", numbers_differ) if config.match_numbers else None,
        Filter("swapped", sides.are_swapped) if config.drop_swapped and sides else None,
        Filter("language", other_language(languages)) if config.identify_language else None,
    ]
    return [each for each in found if each is not None]


def is_empty(pair: SentencePair) -> bool:
    """A side holds nothing, or only space."""
    return not all(side.strip() for side in pair)


def is_too_long(pair: SentencePair, limit: int) -> bool:
    """A side has more characters than `limit`."""
    return max(map(len, pair)) > limit


def has_too_many_words(pair: SentencePair, limit: int) -> bool:
    """A side has more words, between spaces, than `limit`."""
    return any(len(side.split()) > limit for side in pair)


def differs_in_length(pair: SentencePair, limit: float) -> bool:
    """The longer side, of more than 20 characters, has more than `limit` times the characters of the other.

    In the ratio, a Han character counts as three, and one of Hangul as two: they say as much as so many letters.
    """
    shorter, longer = sorted(len(side) + 2 * len(_HAN.findall(side)) + len(_HANGUL.findall(side)) for side in pair)
    return max(map(len, pair)) > _RATIO_FROM and longer > limit * shorter


def repeats(pair: SentencePair, limit: int) -> bool:
    """A side has a letter, or a word with letters, more than `limit` times in a row: `aaaaaaa`, `no no no no`.

    Rows of other characters, dashes or dots, are lines and leaders.
    """
    return any(_longest_row(side) > limit or _longest_row(side.split()) > limit for side in pair)


def is_copy(pair: SentencePair) -> bool:
    """The sides are the same but for case and space, and have four words or more."""
    source, target = (side.casefold().split() for side in pair)
    return source == target and len(source) >= _COPY_FROM


def has_few_letters(pair: SentencePair, least: float) -> bool:
    """Of a side's characters but for space, a share less than `least` are letters, marks of letters included."""
    return any(_letters(side) < least * sum(not char.isspace() for char in side) for side in pair)


def has_other_script(pair: SentencePair, scripts: tuple[Sequence[str], Sequence[str]]) -> bool:
    """Half of a side's letters or more are of none of its scripts; a side without scripts may have any.

    A character's script is the first word of its Unicode name: LATIN, CYRILLIC, GREEK, CJK, HIRAGANA, HANGUL, ...
    Marks that lengthen or repeat, which several scripts have, are of none.
    """
    for side, allowed in zip(pair, scripts, strict=True):
        found = Counter(script_of(char) for char in side if char.isalpha() and unicodedata.category(char) != "Lm")
        if allowed and 2 * sum(found[script] for script in allowed) <= found.total() > 0:
            return True
    return False


def _is_script(name: str) -> bool:
    """Whether letters have a script; half a second for one that none has."""
    return any(_script_of(char) == name for code in range(sys.maxunicode + 1) if (char := chr(code)).isalpha())


@cache
def script_of(char: str) -> str:
    """The script of a character, by its Unicode name; empty if it has none."""
    return _script_of(char)


def _script_of(char: str) -> str:
    words = unicodedata.name(char, "").split(" ")
    return words[1] if words[0] in _WIDTHS and len(words) > 1 else words[0]


def numbers_differ(pair: SentencePair) -> bool:
    """The sides do not hold the same numbers from 10 on, in any order and however often.

    Separators do not count, and dates may be written in any order. A single digit is often spelt out in one of the
    languages.
    """
    source, target = pair
    return any(char.isdecimal() for char in source + target) and all(
        numbers(source) != numbers(target) for numbers in (_numbers, _rows_of_digits)
    )


def is_mojibake(pair: SentencePair) -> bool:
    """A side has text that was decoded wrongly."""
    return any(map(was_misread, pair))


def was_misread(text: str) -> bool:
    """A text has `Ã¤` for `ä` and the like, or replacement characters.

    Characters beyond ASCII that, as bytes of Windows-1252 or Latin-1, are UTF-8 of letters or punctuation of Europe,
    are taken for it. `MENÜ…`, whose end is UTF-8 of a Syriac letter, is not; nor is `Ä“`, of the Latin letter `ē`, but
    two such letters are; nor the end of `MANHÃ…`, once in a text.
    """
    if text.isascii():
        return False
    if "\ufffd" in text:
        return True
    forgiven = [found.span() for found in _CAPITAL_AT_END.finditer(text) if found[1].isupper()]
    if len(forgiven) == 1:
        text = f"{text[: forgiven[0][0]]}{text[forgiven[0][1] :]}"
    found = [read for chars in _NON_ASCII.findall(text) if (read := _as_utf8(chars))]
    letters = "".join(read for read in found if all(map(_is_latin, read)))
    return len(letters) > 1 or any(map(_is_surely_european, found))


def other_language(languages: tuple[str, str]) -> Callable[[SentencePair], bool]:
    """A filter of pairs of which a side is surely in another language, or which are swapped.

    It looks at words only, since names of files, functions and options are of no language.

    Raises:
        ConfigError: if it is not installed, or does not know a language.
    """
    try:
        import lingua
    except ImportError:
        raise ConfigError(
            "`prepare.identify_language` = true: needs the package lingua; pip install 'seq2seq[language-id]'"
        ) from None
    known = {language.iso_code_639_1.name.lower(): language for language in lingua.Language.all()}
    codes = [written_language(language) for language in languages]
    if unknown := [code for code in codes if code not in known]:
        raise ConfigError(
            f"`prepare.identify_language` = true: does not know the language {unknown[0]!r}; it knows "
            f"{', '.join(sorted(known))}"
        )
    if codes[0] == codes[1]:
        raise ConfigError(f"`prepare.identify_language` = true: both languages are {codes[0]!r}; set it to false")
    # lingua knows Serbian in Cyrillic letters alone; in Latin ones, it takes it for what is much the same.
    latin_serbian = ("hr", "bs") if codes[0] not in ("hr", "bs") and codes[1] not in ("hr", "bs") else ()
    owns = [{known[each] for each in (code, *(latin_serbian if code == "sr" else ()))} for code in codes]
    # Among all languages, short texts would be taken for a rare one: these two, and those that much of the web is in.
    candidates = {*owns[0], *owns[1], *(known[code] for code in _WIDESPREAD)}
    detector = lingua.LanguageDetectorBuilder.from_languages(*candidates).build()

    def drops(pair: SentencePair) -> bool:
        texts = [" ".join(words_of_language(side)) for side in pair]
        shares = [
            {found.language: found.value for found in detector.compute_language_confidence_values(text)}
            for text in texts
        ]
        for text, own, found in zip(texts, owns, shares, strict=True):
            others = max(share for language, share in found.items() if language not in own)
            if len(text) >= _LANGUAGE_FROM and others >= _SURE:
                return True
        source, target = (
            math.log(sum(found[each] for each in owns[1]) + 1e-9)
            - math.log(sum(found[each] for each in owns[0]) + 1e-9)
            for found in shares
        )
        return source - target > _SURE_OF_SWAP

    return drops


def _longest_row(items: Sequence[str]) -> int:
    """How often an item with letters comes in a row, at most."""
    rows = (sum(1 for _ in row) for item, row in groupby(items) if any(map(str.isalpha, item)))
    return max(rows, default=0)


def _letters(text: str) -> int:
    return sum(unicodedata.category(char)[0] in "LM" for char in text)


def _numbers(text: str) -> set[int]:
    """Numbers with their thousands and decimals: 1,000 and 0.50."""
    return _from_10([_NO_DIGIT.sub("", found) for found in _NUMBER.findall(text)])


def _rows_of_digits(text: str) -> set[int]:
    """What stands between separators: the same of 2026-11-25 and 25.11.2026."""
    return _from_10(_DIGITS.findall(text))


def _from_10(rows: Iterable[str]) -> set[int]:
    """The numbers that rows of digits are, from 10 on, by their last digits: Python reads no number of thousands."""
    return {number for row in rows if (number := int(row[-_DIGITS_READ:])) > 9}


def _as_utf8(chars: str) -> str:
    """The text of characters beyond ASCII that are bytes of UTF-8, read one by one; empty if they are none."""
    if len(chars) < 2:
        return ""
    try:
        return bytes(_byte(char) for char in chars).decode("utf-8")
    except ValueError:
        return ""


def _is_surely_european(text: str) -> bool:
    # Greek and Cyrillic come in words; alone, such a letter is chance: the end of `LLEGÓ…` or of `«SÍ»`.
    return all(map(_is_european, text)) and (len(text) > 1 or not "\u0370" <= text < "\u0530")


def _byte(char: str) -> int:
    """The byte that Windows-1252, or where it has none Latin-1, reads as a character."""
    try:
        return char.encode("cp1252")[0]
    except UnicodeEncodeError:
        return char.encode("latin-1")[0]


def _is_latin(char: str) -> bool:
    """Letters of Latin-1 and Latin Extended-A, and the commas below of Romanian, of two bytes in UTF-8."""
    return "\u00a0" <= char < "\u0180" or "\u0218" <= char <= "\u021b"


def _is_european(char: str) -> bool:
    """Latin-1's letters, Greek, Cyrillic, general punctuation and currencies, of two bytes or three in UTF-8."""
    code = ord(char)
    return 0xA0 <= code < 0x100 or 0x370 <= code < 0x530 or 0x2010 <= code < 0x2150
