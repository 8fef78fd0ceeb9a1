"""A small real model and its tokenizer, for the tests of this folder."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
import torch

from seq2seq.config import ModelConfig, TokenizerConfig
from seq2seq.data.tokenizer import Tokenizer, train_tokenizer
from seq2seq.model.transformer import Transformer


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    """Tensors as small as these are slower on several threads, much so beside other work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def sentences() -> list[str]:
    """Sentences of 1 to 12 made-up words."""
    generator = random.Random(3)
    words = ["".join(generator.choices("abcdefghij", k=generator.randint(2, 6))) for _ in range(80)]
    return [" ".join(generator.choices(words, k=generator.randint(1, 12))) for _ in range(200)]


@pytest.fixture(scope="session")
def tokenizer(sentences: list[str], tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    config = TokenizerConfig(vocab_size=340)
    return train_tokenizer(config, sentences, sentences, tmp_path_factory.mktemp("tokenizer") / "t")


@pytest.fixture(scope="session")
def model(tokenizer: Tokenizer) -> Transformer:
    """Untrained, but sure of itself, and ready to stop: its translations have all lengths."""
    torch.manual_seed(4)
    size = tokenizer.target_vocab_size
    config = ModelConfig(
        encoder_layers=1, decoder_layers=2, d_model=16, d_ff=32, num_heads=2, max_length=64, tied_embeddings="none",
        source_vocab_size=size, target_vocab_size=size,
    )  # fmt: skip
    made = Transformer(config).eval()
    with torch.no_grad():
        made.output.weight.mul_(6)
        made.output.weight[tokenizer.eos_id].mul_(1.5)
    return made
