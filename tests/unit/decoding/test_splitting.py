"""Long texts are cut at good places, lose nothing, and come together again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.decoding.splitting import join_texts, split_text


def at_most(size: int):
    return lambda part: len(part) <= size


@pytest.mark.parametrize(
    ("text", "size", "parts"),
    [
        ("Short enough.", 13, ["Short enough."]),
        ("One, two. Three four? Five!", 15, ["One, two.", "Three four?", "Five!"]),
        ("He said “No.” She left at once.", 20, ["He said “No.”", "She left at once."]),
        ("at 3.14 or 2,718 it stops here", 20, ["at 3.14 or 2,718", "it stops here"]),
        ("when it rains, the street is wet", 20, ["when it rains,", "the street is wet"]),
        ("first line\u2028second line", 15, ["first line", "second line"]),
        ("one two three four", 9, ["one two", "three", "four"]),
        ("我们去公园。天气很好，他们也来了。", 12, ["我们去公园。", "天气很好，他们也来了。"]),
        ("abcdefgh", 3, ["ab", "cd", "ef", "gh"]),
        ("ae\u0301\u0301\u0301o", 5, ["ae\u0301\u0301\u0301", "o"]),
        ("  spaces around  ", 20, ["spaces around"]),
        ("." * 8, 4, ["....", "...."]),
        ("What?!... He \"went.\") Ah", 12, ["What?!...", "He \"went.\")", "Ah"]),
    ],
)
def test_cuts_at_sentences_then_clauses_then_words_then_anywhere(text: str, size: int, parts: list[str]) -> None:
    assert split_text(text, at_most(size)) == parts


def test_a_long_row_of_marks_is_looked_at_once() -> None:
    text = "." * 200_000 + "x"  # in time that grows with its square, minutes
    assert "".join(split_text(text, at_most(100_000))) == text


@given(st.text(alphabet="ab .,!?。，\u2028\u0301é", max_size=80), st.integers(1, 20))
def test_nothing_is_lost_and_all_parts_fit(text: str, size: int) -> None:
    parts = split_text(text, at_most(size))
    assert all(len(part) <= size for part in parts)
    assert "".join("".join(parts).split()) == "".join(text.split())
    assert all(part == part.strip() for part in parts)


def test_what_cannot_be_cut_is_returned() -> None:
    assert split_text("ab", lambda part: False) == ["a", "b"]


def test_very_long_text_is_cut_into_equal_parts() -> None:
    parts = split_text("word " * 20_000, at_most(1000))
    assert len(parts) < 200
    assert min(map(len, parts)) > 450


def test_a_long_row_of_accents_is_cut_in_its_middle() -> None:
    parts = split_text("e" + "\u0301" * 20_000, at_most(1000))
    assert len(parts) < 50 and "".join(parts) == "e" + "\u0301" * 20_000
    assert split_text("e\u0301\u0302e\u0301\u0302", at_most(3)) == ["e\u0301\u0302"] * 2


@pytest.mark.parametrize(
    ("parts", "joined"),
    [
        (["One.", "Two."], "One. Two."),
        (["", "One.", "", "Two.", ""], "One. Two."),
        (["我们去公园。", "天气很好。"], "我们去公园。天气很好。"),
        (["한국어", "문장"], "한국어 문장"),
        (["中文", "and English"], "中文 and English"),
        (["Great day 😀", "😀 So nice."], "Great day 😀 😀 So nice."),
        ([], ""),
    ],
)
def test_parts_are_joined_as_the_script_is_written(parts: list[str], joined: str) -> None:
    assert join_texts(parts) == joined
