import re

from hypothesis import given
from hypothesis import strategies as st
from strict_html import Page, text_of

from seq2seq.reporting.sentences import MOST_SHOWN, Translated, examples, spread
from seq2seq.reporting.systems import System

EVIL = "<script>alert('x')</script> & more"


def a_test(size: int, systems: int = 2, reference: bool = True, source: bool = True) -> Translated:
    lines = [f"line {i} of the test" for i in range(size)]
    found = [[f"{line} {'x' * (k * i)}" for i, line in enumerate(lines)] for k in range(systems)]
    return Translated(
        [f"Zeile {i}" for i in range(size)] if source else None,
        lines if reference else None,
        [System(f"system {k}", each, k, "") for k, each in enumerate(found)],
    )


def shown(html: str, after: str) -> list[int]:
    """The numbers of the sentences under a heading."""
    part = re.split("<h3>|<details>", html.partition(after)[2])[0]
    return [int(number.replace(",", "")) for number in re.findall(r"Sentence ([\d,]+)", part)]


@given(st.integers(0, 2000), st.integers(1, 400))
def test_spreading_is_even_and_complete_for_short_lists(length: int, most: int) -> None:
    found = spread(length, most)
    assert len(found) == min(length, most) == len(set(found))
    assert all(0 <= place < length for place in found)
    if length <= most:
        assert found == list(range(length))


def test_all_of_a_small_test_set_are_shown_with_all_their_texts() -> None:
    html = examples(a_test(5))
    assert shown(html, "All sentences") == [1, 2, 3, 4, 5]
    text = text_of(html[html.index("<h3>All sentences") :])
    for expected in ("Zeile 3", "line 3 of the test xxx", "reference", "source", "system 1"):
        assert expected in text


def test_a_large_test_set_is_cut_to_some_that_do_not_depend_on_scores() -> None:
    html = examples(a_test(1000))
    assert f"{MOST_SHOWN} of 1,000 sentences" in text_of(html)
    assert shown(html, "of 1,000 sentences") == [i + 1 for i in spread(1000, MOST_SHOWN)]


def test_worst_best_and_most_different_sentences_are_found() -> None:
    html = examples(a_test(30))
    assert shown(html, "Largest differences between systems, by chrF") == list(range(30, 22, -1))
    assert shown(html, "Lowest mean chrF") == list(range(30, 22, -1))
    assert shown(html, "Highest mean chrF") == list(range(1, 9))


def test_one_system_has_no_differences_from_others() -> None:
    html = examples(a_test(30, systems=1))
    assert "Largest differences" not in html and "<mark>" not in html
    assert "Lowest chrF" in html


def test_without_a_reference_sentences_are_shown_unscored() -> None:
    html = examples(a_test(4, reference=False))
    assert "chrF" not in html and "<u>" not in html and "Largest" not in html
    assert shown(html, "All sentences") == [1, 2, 3, 4]
    assert "<mark>" in html


def test_a_source_is_shown_only_if_it_is_there() -> None:
    assert "source" not in text_of(examples(a_test(4, source=False)))


def test_text_is_escaped_and_can_be_searched() -> None:
    evil = Translated([EVIL, "a"], [EVIL, "b"], [System(EVIL, [EVIL, "c"], 0, ""), System("two", ["d", EVIL], 1, "")])
    html = examples(evil)
    page = Page(html)
    assert page.count("script") == 0
    assert page.count("input") == 1
    assert text_of(html).count(EVIL) >= 5


def test_empty_lines_are_no_trouble() -> None:
    html = examples(Translated(["", "a"], ["", "b"], [System("one", ["", ""], 0, ""), System("two", ["", "x"], 1, "")]))
    assert shown(html, "All sentences") == [1, 2]
