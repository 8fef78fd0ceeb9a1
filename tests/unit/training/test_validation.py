"""Validation text: what `translate` would be given."""

from __future__ import annotations

from pathlib import Path

import pytest

from seq2seq.config import Config, CorpusConfig, DataConfig, DecodingConfig
from seq2seq.training.validation import read_validation_pairs


@pytest.mark.parametrize(
    ("in_text", "of_corpus", "of_decoding", "expected"),
    [
        ("", "", "", ""),
        ("", "<2de>", "", "<2de> "),
        ("", "", "<2de>", "<2de> "),  # as `translate` does
        ("", "<2fr>", "<2de>", "<2fr> "),
        ("<2fr> ", "", "<2de>", "<2fr> "),  # what was prepared has its tags
        ("de: ", "", "de:", "de: "),
        ("hot", "", "hot", "hot hot"),
    ],
)
def test_each_source_has_one_tag(
    in_text: str, of_corpus: str, of_decoding: str, expected: str, tmp_path: Path
) -> None:
    for language in ("en", "de"):
        (tmp_path / f"a.{language}").write_text(f"{in_text}dog\n{in_text}cat\n")
    corpus = CorpusConfig(source=str(tmp_path / "a.en"), target=str(tmp_path / "a.de"), tag=of_corpus)
    config = Config(data=DataConfig(validation=corpus), decoding=DecodingConfig(tag=of_decoding))
    assert [pair.source for pair in read_validation_pairs(config)] == [f"{expected}dog", f"{expected}cat"]


def test_a_run_may_have_none() -> None:
    assert read_validation_pairs(Config(decoding=DecodingConfig(tag="<2de>"))) == []
