"""Tokenizers for the tests of this folder: small, of made-up words, for both algorithms."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from seq2seq.config import TokenizerConfig
from seq2seq.data.tokenizer import Tokenizer, train_tokenizer


def _lines(syllables: str, seed: int) -> list[str]:
    generator = random.Random(seed)
    words = ["".join(generator.choices(syllables.split(), k=generator.randint(1, 4))) for _ in range(500)]
    return [" ".join(generator.choices(words, k=8)) for _ in range(300)]


@pytest.fixture(scope="session")
def source_lines() -> list[str]:
    return _lines("ber die gen straß läuf grü über män ner zwölf 中文 ha be ge sehen kin der spiel en", 1)


@pytest.fixture(scope="session")
def target_lines() -> list[str]:
    return _lines("the a dog hou se street run s green ov er men twelve ha ve see n chil dren play ing", 2)


@pytest.fixture(scope="session", params=["unigram", "bpe"])
def tokenizer_config(request: pytest.FixtureRequest) -> TokenizerConfig:
    return TokenizerConfig(algorithm=request.param, vocab_size=330, normalization="identity")


@pytest.fixture(scope="session")
def tokenizer(
    tokenizer_config: TokenizerConfig,
    source_lines: list[str],
    target_lines: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Tokenizer:
    """Joint, identity normalisation, byte fallback."""
    return train_tokenizer(tokenizer_config, source_lines, target_lines, tmp_path_factory.mktemp("tokenizer") / "t")


@pytest.fixture(scope="session")
def nfkc_tokenizer(
    tokenizer_config: TokenizerConfig,
    source_lines: list[str],
    target_lines: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Tokenizer:
    config = replace(tokenizer_config, normalization="nfkc")
    return train_tokenizer(config, source_lines, target_lines, tmp_path_factory.mktemp("tokenizer") / "t")
