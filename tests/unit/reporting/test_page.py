import pytest
from strict_html import Page, loads, text_of

from seq2seq.reporting.page import Section, note, page, table, who

EVIL = "</title><script>alert(1)</script>"


def test_the_page_needs_nothing_else_and_is_well_formed() -> None:
    html = page(EVIL, EVIL, [Section("one", EVIL, "<p>content</p>"), Section("none", "Nothing", "")])
    found = Page(html)
    assert html.startswith("<!doctype html>")
    assert loads(html) == []
    assert found.count("script") == 1 and found.count("section") == 1
    assert found.count("a") == 1
    assert "alert(1)" in text_of(html)
    assert 'charset="utf-8"' in html


def test_light_dark_and_print_are_provided_for() -> None:
    html = page("t", "", [])
    assert "prefers-color-scheme: dark" in html and "@media print" in html


def test_a_table_has_its_cells_in_order() -> None:
    html = table(["a", "b"], [["1", "2"], ["group"], ["3", "4"]], faint=[False, False, True])
    assert [text for text in Page(html).text if text.strip()] == ["a", "b", "1", "2", "group", "3", "4"]
    assert Page(html).count("td", "number") == 2
    assert Page(html).count("tr", "few") == 1
    with pytest.raises(ValueError):
        table(["a", "b"], [["1", "2", "3"]])


def test_names_and_notes_are_escaped() -> None:
    assert text_of(who(EVIL, 7)) == text_of(note(EVIL)) == EVIL
    assert Page(who("a", 7)).count("span", "s2") == 1
