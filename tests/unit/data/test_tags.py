import pytest

from seq2seq.data.tags import tagged_language, without_tags


@pytest.mark.parametrize(
    ("tag", "language"),
    [("<2de>", "de"), ("<2zh-Hans>", "zh-Hans"), (">>deu<<", "deu"), (">>cmn_Hans<<", "cmn_Hans"), ("<bt>", ""),
     ("<2>", ""), ("<2formal>", ""), ("", "")],
)  # fmt: skip
def test_a_tag_tells_the_language(tag: str, language: str) -> None:
    sources = [f"{tag} A dog.", f"{tag} Cats."] * 3
    assert tagged_language(sources) == tagged_language(["A dog."], tag) == language
    assert without_tags(sources) == (["A dog.", "Cats."] * 3 if tag else sources)


def test_several_tags_tell_none() -> None:
    assert tagged_language(["<2de> A dog.", "<2fr> A cat."]) == tagged_language([]) == ""
    assert without_tags(["<2de> A dog.", "<2fr> A cat."]) == ["A dog.", "A cat."]
    assert without_tags(["<b> is a word", "and this", "and this"]) == ["<b> is a word", "and this", "and this"]
