"""One model for many directions, on the user interface of Home Assistant: `python recipes/multilingual.py`.

A source text begins with the tag of the language to translate into, such as <2de>; the tags in `tokenizer.user_symbols`
say which languages there are. Training text is between English and each of the others, both ways. Between the first two
others none is trained on, but tested (zero-shot translation, Johnson et al. 2017).
"""

from __future__ import annotations

import random
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, permutations
from pathlib import Path

from seq2seq_recipes.quickstart import PACKAGE, strings

from seq2seq.config import Config
from seq2seq.data.cleaning import near_duplicate_key
from seq2seq.data.corpus import SentencePair
from seq2seq.errors import RecipeError
from seq2seq.fetch import fetch_wheel, one_line, write_text
from seq2seq.recipe import main_for
from seq2seq.telling import say

PIVOT = "en"
_TAG = re.compile(r"<2(.+)>")
_LEAST_WORDS = 3  # of an English text to test with

Texts = Mapping[str, Mapping[str, str]]  # by language and key
Direction = tuple[str, str]


def fetch(config: Config, output: Path) -> None:
    """Write training text of the trained directions, validation text of all of these, and a test set for each."""
    others = languages_of(config.tokenizer.user_symbols)
    with zipfile.ZipFile(fetch_wheel(PACKAGE)) as wheel:
        texts = {
            language: {key: one_line(text) for key, text in strings(wheel, language).items()}
            for language in (PIVOT, *others)
        }
    trained = [direction for other in others for direction in ((PIVOT, other), (other, PIVOT))]
    sizes = {name: getattr(config.recipe, name) for name in ("validation_size", "test_size")}
    for name in (name for name, size in sizes.items() if size < len(trained)):
        raise RecipeError(f"`recipe.{name}` = {sizes[name]}: {len(trained)} directions need one pair each; raise it")
    validation, test = held_out_keys(texts, *(size // len(trained) for size in sizes.values()))
    held_out = {near_duplicate_key(texts[language][key]) for key in (*validation, *test) for language in texts}

    def pairs(directions: Iterable[Direction], keys: Iterable[str]) -> Iterator[SentencePair]:
        return chain.from_iterable(tagged(texts, direction, keys) for direction in directions)

    def is_new(key: str) -> bool:
        return not any(key in side and near_duplicate_key(side[key]) in held_out for side in texts.values())

    train = dict.fromkeys(pairs(trained, [key for key in texts[PIVOT] if is_new(key)]))
    say(f"train: {write_text(train, config.data, output, 'train'):,} sentence pairs in {len(trained)} directions")
    write_text(pairs(trained, validation), config.data, output, "validation")
    write_text(pairs(trained, test), config.data, output, "test")
    for direction in (*trained, *permutations(others[:2], 2)):
        write_text(pairs([direction], test), config.data, output, f"test_{'-'.join(direction)}")


def languages_of(tags: Sequence[str]) -> list[str]:
    """The languages beside English that tags such as <2de> name.

    Raises:
        RecipeError: if they are fewer than two, or none of the tags is <2en>.
    """
    found = [match[1] for tag in tags if (match := _TAG.fullmatch(tag))]
    others = [language for language in found if language != PIVOT]
    if len(others) < 2 or PIVOT not in found:
        raise RecipeError(
            f"`tokenizer.user_symbols` = {list(tags)}: expected <2{PIVOT}> and the tags of two other languages or "
            "more, such as <2de> and <2fr>"
        )
    return others


def held_out_keys(texts: Texts, validation_size: int, test_size: int) -> tuple[list[str], list[str]]:
    """Keys of validation and test texts, which all languages have, and which differ from one another in English.

    Raises:
        RecipeError: if there are too few.
    """
    by_text: dict[str, str] = {}
    for key, text in texts[PIVOT].items():
        if all(side.get(key) for side in texts.values()) and len(text.split()) >= _LEAST_WORDS:
            by_text.setdefault(near_duplicate_key(text), key)
    keys = sorted(by_text.values())
    if len(keys) < validation_size + test_size:
        raise RecipeError(
            f"{', '.join(texts)}: have {len(keys)} texts in common, which is less than validation and test need; lower "
            "`recipe.validation_size` and `recipe.test_size`"
        )
    drawn = random.Random(1).sample(keys, validation_size + test_size)
    return drawn[:validation_size], drawn[validation_size:]


def tagged(texts: Texts, direction: Direction, keys: Iterable[str]) -> Iterator[SentencePair]:
    """The pairs of a direction that say something on both sides, with the tag of its target language."""
    source, target = (texts[language] for language in direction)
    for key in keys:
        if source.get(key) and target.get(key):
            yield SentencePair(f"<2{direction[1]}> {source[key]}", target[key])


if __name__ == "__main__":
    main_for(__file__)
