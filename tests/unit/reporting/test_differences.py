import re
from html import unescape

from hypothesis import given
from hypothesis import strategies as st
from strict_html import Page

from seq2seq.reporting.differences import marked, unmatched, words

texts = st.text(st.sampled_from("ab cd.,<>&\"'|。漢字かな\t\u00a0éहि\u0301🙂"), max_size=40) | st.text(max_size=30)


def plain(html: str) -> str:
    return unescape(re.sub(r"</?(mark|u)>", "", html))


@given(texts, st.data())
def test_marking_changes_nothing_but_marks(text: str, data: st.DataObject) -> None:
    size = len(words(text))
    flags = [data.draw(st.lists(st.booleans(), min_size=size, max_size=size)) for _ in range(2)]
    html = marked(text, *flags)
    assert plain(html) == text
    assert not re.search(r"<(?!/?(mark|u)>)", html)
    if "\r" not in text and "\0" not in text:
        Page(html)


@given(texts, texts)
def test_equal_texts_have_no_differences_and_others_some(one: str, other: str) -> None:
    a, b = words(one), words(other)
    assert not any(unmatched(a, a))
    assert len(unmatched(a, b)) == len(a)
    assert unmatched(a, []) == [True] * len(a)
    # What is matched is a common subsequence, of the same length from both sides.
    if a != b:
        assert any(unmatched(a, b)) or any(unmatched(b, a))


def test_words_that_differ_are_marked_with_the_spaces_between_them() -> None:
    found, first = words("A man is in the home."), words("A man on the home.")
    flags = unmatched(found, first)
    assert marked("A man is in the home.", flags, [False] * len(found)) == "A man <mark>is in</mark> the home."


def test_both_marks_may_overlap() -> None:
    assert marked("a b c", [True, True, False], [False, True, True]) == "<mark>a <u>b</u></mark><u> c</u>"


def test_words_without_spaces_are_characters_and_punctuation_stands_alone() -> None:
    assert words("漢字を、don't") == ["漢", "字", "を", "、", "don", "'", "t"]
    assert words("हिन्दी") == ["हिन्दी"]  # vowel signs stay with their letters


def test_text_is_escaped() -> None:
    text = "<script>alert('x')</script> & \"y\""
    none = [False] * len(words(text))
    assert "<script" not in marked(text, none, none)
    assert "<script" not in marked(text, [True] * len(none), [True] * len(none))


def test_endless_lines_are_not_compared() -> None:
    assert not any(unmatched(["a"] * 2000, ["b"] * 2000))
