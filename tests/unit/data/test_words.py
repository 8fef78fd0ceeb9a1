from __future__ import annotations

import pytest

from seq2seq.data.words import words_of_language


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("See the „Netz-Datei“, don’t (or do!)", ["See", "the", "Netz-Datei", "don’t", "or", "do"]),
        ("ls -l /etc sd_bus_new() After= NoPage a<b {name} 日本語", ["ls", "l", "日本語"]),
        ("don't … ...", ["don't"]),
    ],
)
def test_words_of_language(text: str, words: list[str]) -> None:
    assert words_of_language(text) == words
