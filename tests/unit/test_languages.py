import pytest

from seq2seq.languages import differ, language_of


@pytest.mark.parametrize(
    ("code", "language"),
    [("de", "de"), ("DE", "de"), ("deu", "de"), ("ger", "de"), ("zh-Hant", "zh"), ("zho_Hans", "zh"), ("jap", "ja"),
     ("hsb", "hsb"), ("sr@latin", "sr"), ("source", "source"), ("", "")],
)  # fmt: skip
def test_the_language_of_a_code(code: str, language: str) -> None:
    assert language_of(code) == language


def test_codes_of_three_letters_are_those_of_iso() -> None:
    lingua = pytest.importorskip("lingua")
    for language in lingua.Language.all():
        assert language_of(language.iso_code_639_3.name) == language.iso_code_639_1.name.lower()


def test_what_is_not_known_does_not_differ() -> None:
    assert not differ(("zh", "en"), ("zho", "eng"))
    assert not differ(("", "en"), ("fr", "en"))
    assert not differ(("pt", "en"), ("pt-BR", "en"))
    assert not differ(("zho_Hans", "en"), ("zh-hans", "en"))
    assert differ(("de", "en"), ("en", "de"))
    assert not differ(("eng_Latn", "zh-Hans"), ("en-US", "zh-CN"))
    assert differ(("pt-BR", "en"), ("pt-PT", "en"))
    assert differ(("zh-Hans", "zh-Hant"), ("zh-Hant", "zh-Hans"))
    assert differ(("yue", "en"), ("zh", "en"))
