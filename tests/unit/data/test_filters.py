"""Each filter by itself, at its bounds; then their order."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from seq2seq.config import PrepareConfig
from seq2seq.data.corpus import SentencePair
from seq2seq.data.filters import (
    differs_in_length,
    filters_of,
    has_few_letters,
    has_other_script,
    has_too_many_words,
    is_copy,
    is_empty,
    is_mojibake,
    is_too_long,
    numbers_differ,
    other_language,
    repeats,
)
from seq2seq.data.sides import Sides
from seq2seq.errors import ConfigError

ENGLISH = "The file could not be opened for reading."
GERMAN = "Die Datei konnte nicht zum Lesen geöffnet werden."


def on_either_side(drops: Callable[[SentencePair], bool], text: str, other: str = "plain words") -> bool:
    """Whether a filter drops a text, which it must do on both sides alike."""
    found = {drops(SentencePair(text, other)), drops(SentencePair(other, text))}
    assert len(found) == 1
    return found.pop()


@pytest.mark.parametrize(("text", "expected"), [("", True), (" \u2028\u00a0", True), (".", False)])
def test_empty(text: str, expected: bool) -> None:
    assert on_either_side(is_empty, text) is expected


def test_lengths() -> None:
    assert on_either_side(lambda pair: is_too_long(pair, 11), "x" * 12)
    assert not on_either_side(lambda pair: is_too_long(pair, 12), "x" * 12)
    assert on_either_side(lambda pair: has_too_many_words(pair, 2), "a b\u00a0c")
    assert not on_either_side(lambda pair: has_too_many_words(pair, 3), "a b  c ")


def test_ratio_counts_from_twenty_characters_on() -> None:
    assert on_either_side(lambda pair: differs_in_length(pair, 4), "x" * 21, "yyyyy")
    assert not on_either_side(lambda pair: differs_in_length(pair, 4), "x" * 20, "y")
    assert not on_either_side(lambda pair: differs_in_length(pair, 4.2), "x" * 21, "yyyyy")


@pytest.mark.parametrize(
    ("text", "translation"),
    [
        ("Device is already configured", "设备已配置"),
        ("Please turn on the light in the kitchen.", "请打开厨房里的灯。"),
        ("Configuration settings", "設定"),
        ("Authentication failed.", "인증 실패"),
    ],
)
def test_a_han_character_is_as_long_as_three_letters_and_one_of_hangul_as_two(text: str, translation: str) -> None:
    assert not on_either_side(lambda pair: differs_in_length(pair, 4), text, translation)
    assert on_either_side(lambda pair: differs_in_length(pair, 4), text * 3, translation)


@pytest.mark.parametrize("text", ["Nooooo", "no no no no", "I am very very very very glad"])
def test_rows_of_one_letter_or_word_are_repetition(text: str) -> None:
    assert on_either_side(lambda pair: repeats(pair, 3), text)
    assert not on_either_side(lambda pair: repeats(pair, 5), text)


@pytest.mark.parametrize("text", ["--------", "1 ........... 2", "- - - - -", "1000000", "no, no, no no", "the tttree"])
def test_lines_leaders_and_numbers_are_no_repetition(text: str) -> None:
    assert not on_either_side(lambda pair: repeats(pair, 3), text)


def test_copies_differ_in_case_and_space_at_most_and_have_four_words() -> None:
    assert is_copy(SentencePair("Mozilla Firefox Web Browser", "mozilla  firefox web browser"))
    assert not is_copy(SentencePair("Mozilla Firefox Browser", "Mozilla Firefox Browser"))
    assert not is_copy(SentencePair("Mozilla Firefox Web Browser", "Mozilla Firefox Webbrowser"))


def test_share_of_letters() -> None:
    assert on_either_side(lambda pair: has_few_letters(pair, 0.5), "ab 123")
    assert not on_either_side(lambda pair: has_few_letters(pair, 0.5), "ab 12")
    assert not on_either_side(lambda pair: has_few_letters(pair, 1.0), "हिन्दी भाषा", "ab")  # vowel signs are marks


@pytest.mark.parametrize(
    ("text", "scripts", "expected"),
    [
        ("Привет, мир", ("LATIN",), True),
        ("Привет, мир", ("CYRILLIC",), False),
        ("Hello мир", ("LATIN",), False),
        ("Hi мир", ("LATIN",), True),
        ("日本語のテキスト", ("CJK", "HIRAGANA", "KATAKANA"), False),
        ("日本語のテキスト", ("HANGUL",), True),
        ("ユーザー", ("KATAKANA",), False),
        ("人々", ("CJK",), False),
        ("ﾕｰｻﾞ Ａ", ("KATAKANA",), False),
        ("12:30", ("GREEK",), False),
        ("Привет", (), False),
    ],
)
def test_script(text: str, scripts: tuple[str, ...], expected: bool) -> None:
    assert has_other_script(SentencePair(text, "any"), (scripts, ())) is expected
    assert has_other_script(SentencePair("any", text), ((), scripts)) is expected


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("1,000 files in 2026", "2026: 1.000 Dateien", False),
        ("12 500 km", "12,500 km", False),
        ("two of 7", "2 von sieben", False),
        ("chapter 03", "Kapitel 3", False),
        ("in 2025", "im Jahr 2026", True),
        ("10 and 10", "10", False),
        ("on 2026-11-05", "am 05.11.2026", False),
        ("on 2026-11-05", "am 06.11.2026", False),
        ("on 2026-11-25", "am 24.11.2026", True),
        ("10 of 20", "20 von 30", True),
        ("٢٠٢٦ سنة", "2026", False),
        ("1" * 5000, "1" * 5000, False),
        ("1" * 5000, "2" * 5000, True),
    ],
)
def test_numbers(source: str, target: str, expected: bool) -> None:
    assert numbers_differ(SentencePair(source, target)) is expected


@pytest.mark.parametrize("text", ["geöffnet", "für „Sie“", "naïve café", "Привет, мир", "Ελλάδα", "5 € – «да»", "’s",
                                  "Dziękuję ci", "zażółć gęślą", "îmi pare rău", "Nešťastný kůň"])  # fmt: skip
@pytest.mark.parametrize("wrong", ["cp1252", "latin-1"])
def test_text_that_was_decoded_wrongly_is_mojibake(text: str, wrong: str) -> None:
    read = "".join(bytes([byte]).decode(wrong, "replace" if wrong == "latin-1" else "ignore") for byte in text.encode())
    assert not on_either_side(is_mojibake, text)
    if wrong == "latin-1" or len(read) == len(text.encode()):  # Windows-1252 lacks five bytes
        assert on_either_side(is_mojibake, read)


@pytest.mark.parametrize("text", ["HÃ”TEL", "SCHÃ–N", "schÃ¶n", "fÃ»r", "GRÃ–ÃŸe", "PÃ… FÃ…", "PERÃ’ CIÃ’"])
def test_marks_inside_words_are_mojibake(text: str) -> None:
    assert on_either_side(is_mojibake, text)


def test_replacement_characters_are_mojibake() -> None:
    assert on_either_side(is_mojibake, "ge\ufffdffnet")


@pytest.mark.parametrize("text", ["MENÜ…", "Ä“", "ÄÖÜ", "Ö»", "日本語", "€", "“Ü”", "é…", "à «", "ÉTÉ", "Ñandú",
                                  "Pulse «SÍ» aquí", "LLEGÓ…", "“JÓ”", "«PERÒ»",
                                  "“ATÉ AMANHÃ”", "«AMANHÃ»", "A MANHÃ—e a noite", "XÃ…",
                                  "PÅ…", "dziękuję ą", "Ä“ und ein Ö”"])  # fmt: skip
def test_text_of_european_languages_is_no_mojibake(text: str) -> None:
    assert not on_either_side(is_mojibake, text)


def test_language_tells_swapped_and_foreign_sides() -> None:
    drops = other_language(("en", "de_DE"))
    assert not drops(SentencePair(ENGLISH, GERMAN))
    assert drops(SentencePair(GERMAN, ENGLISH))
    assert drops(SentencePair(ENGLISH, ENGLISH))
    assert drops(SentencePair("Le fichier n'a pas pu être ouvert en lecture.", GERMAN))
    assert not drops(SentencePair("OpenOffice", "OpenOffice"))
    assert not drops(SentencePair("/etc/einstellungen/der_benutzer.conf", "/etc/settings/of_the_users.conf"))


def test_cantonese_is_written_in_chinese() -> None:
    assert not other_language(("en", "yue"))(SentencePair(ENGLISH, "請打開廚房裡的燈，然後把門關上。"))


@pytest.mark.parametrize("languages", [("en", "sr"), ("en", "sr-Latn"), ("eng", "srp")])
def test_serbian_may_be_in_either_script(languages: tuple[str, str]) -> None:
    drops = other_language(languages)
    for serbian in ("Nije moguće otvoriti datoteku za čitanje.", "Није могуће отворити датотеку за читање."):
        assert not drops(SentencePair(ENGLISH, serbian))
        assert drops(SentencePair(serbian, ENGLISH))
    assert drops(SentencePair(ENGLISH, GERMAN))


@pytest.mark.parametrize(
    ("languages", "named"), [(("en", "tlh"), "'tlh'"), (("", "de"), "''"), (("en-US", "en-GB"), "both languages")]
)
def test_languages_that_cannot_be_told_are_refused(languages: tuple[str, str], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        other_language(languages)


def test_without_the_library_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lingua", None)
    with pytest.raises(ConfigError, match=r"pip install 'seq2seq\[language-id\]'"):
        filters_of(PrepareConfig(identify_language=True), ("en", "de"))


def test_filters_are_asked_in_the_order_of_the_settings() -> None:
    config = PrepareConfig(
        max_words=9, max_repetition=3, drop_copies=True, min_letters=0.1, source_scripts=("LATIN",),
        match_numbers=True, drop_swapped=True, identify_language=True,
    )  # fmt: skip
    names = [each.name for each in filters_of(config, ("en", "de"), Sides({}))]
    assert names == [
        "empty", "mojibake", "too_long", "too_many_words", "ratio", "repetition", "copy", "letters", "script",
        "numbers", "swapped", "language",
    ]  # fmt: skip
    assert [each.name for each in filters_of(PrepareConfig(), ("", ""))] == ["empty", "mojibake", "too_long", "ratio"]
