from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.config import TokenizerConfig
from seq2seq.data.case_folding import fold_case, folding_case
from seq2seq.data.tokenizer import Tokenizer, train_tokenizer
from seq2seq.errors import ConfigError, TokenizerError

SYMBOL = "<2DE>"


@pytest.fixture(scope="module", params=[True, False], ids=["joint", "separate"])
def joint(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(scope="module")
def folder(
    joint: bool,
    tokenizer_config: TokenizerConfig,
    source_lines: list[str],
    target_lines: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A tokenizer of text in title case that folds the case of its source side."""
    config = replace(
        tokenizer_config, normalization="nfkc", fold_source_case=True, joint=joint, user_symbols=(SYMBOL,)
    )
    folder = tmp_path_factory.mktemp("folded") / "t"
    train_tokenizer(config, *([line.title() for line in lines] for lines in (source_lines, target_lines)), folder)
    return folder


@pytest.fixture(scope="module")
def folded(folder: Path) -> Tokenizer:
    return Tokenizer.load(folder)


def test_source_text_is_the_same_in_any_case(folded: Tokenizer, source_lines: list[str]) -> None:
    expected = folded.encode_source(source_lines)
    assert expected == folded.encode_source([line.title() for line in source_lines])
    upper = [line.replace("ß", "ẞ").upper() for line in source_lines]  # "ß".upper() is "SS", another word
    assert expected == folded.encode_source(upper)
    assert folded.encode_source(upper, 0.1, 3) == folded.encode_source(source_lines, 0.1, 3)
    assert [folded.decode_source(ids) for ids in expected] == source_lines
    assert folded.source_pieces("DER") == folded.source_pieces("der")


def test_target_text_keeps_its_case(folded: Tokenizer, target_lines: list[str]) -> None:
    for lines in (target_lines, [line.title() for line in target_lines]):
        assert [folded.decode_target(ids) for ids in folded.encode_target(lines)] == lines


def test_pieces_are_of_the_text_as_it_is_read(folded: Tokenizer, joint: bool) -> None:
    source, target = (
        [piece for piece in side.tokens(range(side.size)) if not piece.startswith("<")]
        for side in (folded.source, folded.target)
    )
    assert all(piece == piece.lower() for piece in source) == (not joint)
    assert any(piece != piece.lower() for piece in target)


def test_symbols_are_no_text(folded: Tokenizer) -> None:
    folded.check_tag(SYMBOL)
    assert SYMBOL in folded.source_pieces(f"{SYMBOL} Der")


def test_joint_means_the_same_ids(folded: Tokenizer, folder: Path, joint: bool) -> None:
    assert folded.joint == joint
    assert joint == (folded.source.tokens(range(330)) == folded.target.tokens(range(330)))
    assert sorted(path.name for path in folder.iterdir()) == ["source.model", "target.model", "tokenizer.toml"]


@pytest.mark.parametrize("joint", [False], indirect=True)
def test_joint_models_of_different_pieces_are_refused(folded: Tokenizer, tmp_path: Path) -> None:
    folded.save(tmp_path / "t")
    description = tmp_path / "t" / "tokenizer.toml"
    description.write_text(description.read_text(encoding="utf-8").replace("joint = false", "joint = true"))
    with pytest.raises(TokenizerError, match="have different pieces; train them together"):
        Tokenizer.load(tmp_path / "t")


def test_text_that_is_kept_as_it_is_cannot_be_folded() -> None:
    with pytest.raises(ConfigError, match=r"^`tokenizer.normalization` = 'identity': .*; use 'nfkc', or leave"):
        TokenizerConfig(normalization="identity", fold_source_case=True)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_lines_are_folded_as_models_do(text: str) -> None:
    normalizer = sentencepiece.SentencePieceNormalizer(rule_name="nfkc_cf")
    (line,) = fold_case([text])
    assert normalizer.normalize(line) == normalizer.normalize(text)


def test_a_length_of_many_bytes(folder: Path) -> None:
    """The rule has more bytes than one or two sevens of bits can count."""
    model = (folder / "target.model").read_bytes()
    added = folding_case(model)[len(model) :]
    assert len(added) > 1 << 14
    processor = sentencepiece.SentencePieceProcessor(model_proto=model + added)
    assert processor.encode("ABC", out_type=str) == processor.encode("abc", out_type=str)
