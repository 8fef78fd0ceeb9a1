from __future__ import annotations

import random
import unicodedata
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.config import PrepareConfig
from seq2seq.data.cleaning import _NUMBER, _bare, _latin_key, _words, clean, near_duplicate_key, split_held_out
from seq2seq.data.corpus import SentencePair
from seq2seq.data.tags import without_tag
from seq2seq.errors import DataError

CONFIG = PrepareConfig()
TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
PAIRS = st.lists(st.builds(SentencePair, TEXT, TEXT), max_size=12)


def cleaned(
    *pairs: tuple[str, str], config: PrepareConfig = CONFIG, held_out: list[tuple[str, str]] | None = None
) -> tuple[list[SentencePair], dict[str, int]]:
    counts: Counter[str] = Counter()
    held = [SentencePair(*pair) for pair in held_out or []]
    kept = list(clean([SentencePair(*pair) for pair in pairs], config, held, counts))
    return kept, dict(counts)


def corpus(number: int, seed: int = 1) -> list[SentencePair]:
    """Sentences of made-up words; every fifth is near an earlier one in some way."""
    generator = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(generator.choices(letters, k=generator.randint(2, 6))) for _ in range(400)]
    pairs: list[SentencePair] = []
    while len(pairs) < number:
        source, target = (" ".join(generator.choices(words, k=generator.randint(1, 12))) for _ in range(2))
        if pairs and len(pairs) % 5 == 0:
            old = generator.choice(pairs)
            source = generator.choice(
                [old.source.upper() + "!", " ".join(reversed(old.source.split())), f"{old.source} {words[0]}", source]
            )
            target = generator.choice([old.target, target])
        pairs.append(SentencePair(source, target))
    return pairs


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        (("", "b"), "empty"),
        (("\x00\x07", "b"), "empty"),
        (("a", " \u2028\u00a0"), "empty"),
        (("a" * 1001, "b" * 1001), "too_long"),
        (("a", "b" * 1001), "too_long"),
        (("aaaaa", "b" * 21), "ratio"),
        (("a" * 81, "b" * 20), "ratio"),
    ],
)
def test_unfit_pairs_are_dropped_and_counted_by_the_first_reason(pair: tuple[str, str], reason: str) -> None:
    assert cleaned(pair, pair) == ([], {reason: 2})


@pytest.mark.parametrize(
    "pair", [("a" * 1000, "b" * 1000), ("是", "b" * 20), ("a" * 80, "b" * 20), ("a\u2028b", "c\u200dd")]
)
def test_fit_pairs_are_kept_as_they_are(pair: tuple[str, str]) -> None:
    assert cleaned(pair) == ([pair], {})


def test_control_characters_go_and_text_stays() -> None:
    kept, _ = cleaned(("\ufeff a\x00b\tc\rd\x85e \u00ad", "\u3000g\u0301é\x1b "))
    assert kept == [("ab c d e \u00ad", "ǵé")]


def test_control_characters_do_not_hide_wrongly_decoded_text() -> None:
    wrong = "„Anführung“".encode().decode("latin-1")
    assert cleaned(("quotation", wrong)) == ([], {"mojibake": 1})
    kept, _ = cleaned(("quotation", wrong), config=replace(CONFIG, drop_mojibake=False))
    assert not any("\x80" <= char < "\xa0" for char in kept[0].target)


@pytest.mark.parametrize(("form", "expected"), [("none", "g\u0301ﬁ"), ("nfc", "ǵﬁ"), ("nfkc", "ǵfi")])
def test_text_gets_the_unicode_form_that_is_asked_for(form: str, expected: str) -> None:
    assert cleaned(("g\u0301ﬁ", "b"), config=replace(CONFIG, unicode_form=form))[0] == [(expected, "b")]


def test_the_first_of_identical_pairs_is_kept() -> None:
    pairs = [("a", "b"), ("a", "c"), (" a ", "b\x00"), ("A", "b"), ("a b", ""), ("a", "b")]
    assert cleaned(*pairs) == ([("a", "b"), ("a", "c"), ("A", "b")], {"duplicate": 2, "empty": 1})
    assert cleaned(*pairs, config=replace(CONFIG, deduplicate=False))[1] == {"empty": 1}


def test_what_is_nearly_held_out_on_either_side_is_dropped() -> None:
    pairs = [("Good morning!", "x"), ("y", "GUTEN  Morgen."), ("Guten Morgen", "Good morning"), ("z", "z")]
    held_out = [("good morning", "guten morgen")]
    # The third one too: a corpus of the other direction has the same test text, turned.
    assert cleaned(*pairs, held_out=held_out) == ([pairs[3]], {"overlap": 3})
    assert cleaned(*pairs, held_out=held_out, config=replace(CONFIG, remove_overlap=False)) == (pairs, {})


def test_held_out_text_does_not_come_in_another_direction() -> None:
    held_out = [("<2de> Good morning!", "Guten Morgen.")]
    near = [("<2en> Guten Morgen", "Good morning"), ("<2fr> good morning", "Bonjour"), ("Good morning", "Bom dia")]
    assert cleaned(*near, ("<2de> Good night", "Gute Nacht"), held_out=held_out)[1] == {"overlap": 3}
    words = [f"{a}{a} {b}{b} {a}{b}{a} {b}{a}{b}" for a in "abcdefgh" for b in "ijklmnop"]
    pairs = [SentencePair(f"<2{to}> {text}", f"{to} {text.upper()}") for text in words for to in ("de", "fr")]
    train, _, test = split_held_out(pairs, 0, 10, seed=1)
    held = {pair.source.partition(" ")[2] for pair in test}
    assert len(held) == 10 and not held & {pair.source.partition(" ")[2] for pair in train}


@pytest.mark.parametrize("tags", [("<2de>", "<2en>"), (">>deu<<", ">>eng<<")])
def test_nor_does_what_is_near_it(tags: tuple[str, str]) -> None:
    texts = [f"{a}{a} {b}{b} {a}{b}{a} {b}{a}{b} {a}a{b}" for a in "abcdefgh" for b in "ijklmnop"]
    forth = [SentencePair(f"{tags[0]} {text}", text.upper().replace(" ", "1 ")) for text in texts]
    back = [SentencePair(f"{tags[1]} {target} more", source.partition(" ")[2]) for source, target in forth]
    train, validation, test = split_held_out([*forth, *back], 5, 5, seed=1)
    held_out = {without_tag(text).removesuffix(" more") for pair in (*validation, *test) for text in pair}
    assert len(held_out) == 20 and len(train) == 108
    assert not held_out & {without_tag(text).removesuffix(" more") for pair in train for text in pair}


@given(pairs=PAIRS, held_out=PAIRS)
def test_every_pair_is_kept_or_counted_and_cleaning_again_changes_nothing(
    pairs: list[SentencePair], held_out: list[SentencePair]
) -> None:
    counts: Counter[str] = Counter()
    kept = list(clean(pairs, CONFIG, held_out, counts))
    assert len(kept) + counts.total() == len(pairs)
    assert all("\n" not in text and text == text.strip() != "" for pair in kept for text in pair)
    again: Counter[str] = Counter()
    assert list(clean(kept, CONFIG, held_out, again)) == kept and not again
    for side in (0, 1):
        held = {near_duplicate_key(pair[side]) for pair in held_out}
        assert not any(near_duplicate_key(pair[side]) in held for pair in kept)


@pytest.mark.parametrize(
    "texts",
    [
        ["Hello, World!", "hello world", "HELLO-WORLD", "“Hello” world…"],
        ["Straße", "STRASSE"],
        ["page 7 of 10", "Page 12 of 1,000", "page ３ of 4"],
        ["Turn off {name}", "turn off {entity_id}.", "Turn off: {}"],
        ["café", "cafe\u0301", "ＣＡＦÉ"],
        ["...", ". . ."],
        ["今日は、良い。", "今日は良い"],
    ],
)
def test_texts_that_nearly_equal_have_one_key(texts: list[str]) -> None:
    assert len({near_duplicate_key(text) for text in texts}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Turn on {name}", "Turn on name"),
        ("Turn on {name}", "Turn on"),
        ("cafe", "café"),
        ("!", "?"),
        ("की", "का"),  # they differ in a combining vowel only
        ("今日は", "昨日は"),
    ],
)
def test_texts_that_differ_have_different_keys(one: str, other: str) -> None:
    assert near_duplicate_key(one) != near_duplicate_key(other)


@given(text=st.text(st.characters(codec="latin-1")))
def test_the_quick_key_of_latin_text_is_the_key(text: str) -> None:
    quick = _latin_key(text)
    assert quick in (None, _NUMBER.sub("0", "".join(_bare(text).split())))
    assert quick is not None or any(char in "{¨¯´µ¸¼½¾" for char in text)


@given(text=st.text(st.characters(codec="utf-8")))
def test_keys_do_not_depend_on_the_unicode_form(text: str) -> None:
    keys = {near_duplicate_key(unicodedata.normalize(form, text)) for form in ("NFC", "NFD")}
    assert keys == {near_duplicate_key(text)}


@pytest.mark.parametrize("seed", range(3))
def test_no_training_text_is_near_held_out_text(seed: int) -> None:
    pairs = corpus(1500)
    train, validation, test = split_held_out(pairs, 60, 40, seed)
    assert (len(validation), len(test)) == (60, 40)
    held_out = [*validation, *test]
    for side in (0, 1):
        held = {near_duplicate_key(pair[side]) for pair in held_out}
        assert len(held) == len(held_out)
        assert not any(near_duplicate_key(pair[side]) in held for pair in train)
        # The definition itself, pair by pair, against the quick search.
        held_words = [set(_words(pair[side])) for pair in held_out]
        for words in (set(_words(pair[side])) for pair in train):
            assert not any(len(words & other) >= 0.8 * len(words | other) for other in held_words)


def test_only_what_is_near_held_out_text_is_lost() -> None:
    pairs = corpus(400)
    train, validation, test = split_held_out(pairs, 60, 40, seed=1)
    held_out, kept = {*validation, *test}, {*train}
    for pair in pairs:
        near = any(
            near_duplicate_key(pair[side]) == near_duplicate_key(other[side])
            or 5 * len(words & set(_words(other[side]))) >= 4 * len(words | set(_words(other[side])))
            for side in (0, 1)
            for words in [set(_words(pair[side]))]
            for other in held_out
        )
        assert near != (pair in kept)


def test_the_split_is_a_function_of_the_seed_and_keeps_the_order() -> None:
    pairs = list(dict.fromkeys(corpus(500)))
    place = {pair: index for index, pair in enumerate(pairs)}
    parts = split_held_out(pairs, 20, 20, seed=1)
    assert parts == split_held_out(pairs, 20, 20, seed=1) != split_held_out(pairs, 20, 20, seed=2)
    assert all(sorted(part, key=place.__getitem__) == part for part in parts)
    assert not set(parts[1]) & set(parts[2])


def test_sentences_of_three_words_are_held_out_before_shorter_ones() -> None:
    long = [
        SentencePair(f"{letter * 2} {letter * 3} {letter * 4}", f"x{letter} y{letter} z{letter}") for letter in "abcde"
    ]
    short = [SentencePair(letter * 5, letter * 6) for letter in "fghij"]
    assert set(split_held_out([*short, *long], 3, 2, seed=1)[1]) <= set(long)
    _, validation, test = split_held_out([*short, *long], 6, 1, seed=1)
    assert set(long) <= {*validation, *test}


def test_words_of_scripts_without_spaces_are_characters() -> None:
    assert _words("今日は Tokyo 2024!") == ["今", "日", "は", "tokyo", "0"]
    near = [SentencePair("私は今日東京に行きます。", "a b c"), SentencePair("私は今日東京へ行きます。", "d e f")]
    other = [SentencePair("猫が好きです", "g h i"), SentencePair("犬がいません", "j k l")]
    for seed in range(10):
        train, _, test = split_held_out([*near, *other], 0, 1, seed)
        assert set(train) == set(other) if test[0] in near else set(train) == {*near, *other} - {*test}


def test_nothing_held_out_leaves_everything() -> None:
    pairs = corpus(20)
    assert split_held_out([*pairs, *pairs], 0, 0, seed=1) == ([*pairs, *pairs], [], [])


def test_too_little_text_to_hold_out() -> None:
    pairs = [
        SentencePair("one two three!", "a"),
        SentencePair("One two three?", "b"),
        SentencePair("four five six", "c"),
    ]
    with pytest.raises(DataError, match="3 pairs are to be held out, but only 2 of 3 differ enough; hold out fewer"):
        split_held_out(pairs, 2, 1, seed=1)
    with pytest.raises(DataError, match="all 3 pairs are near the 2 held-out ones; hold out fewer"):
        split_held_out(pairs, 1, 1, seed=1)
