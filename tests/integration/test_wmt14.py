"""The recipes of Vaswani et al. 2017 are what the paper says, as far as that needs no data."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from seq2seq.config import Config, load_config
from seq2seq.data.batching import Examples, TokenSequences, plan_batches
from seq2seq.model.transformer import Transformer
from seq2seq.settings import to_dict
from seq2seq.training.schedule import learning_rate
from seq2seq.training.setup import with_vocabulary

FOLDER = Path(str(resources.files("seq2seq_recipes")))


class Paper(NamedTuple):
    """Table 3 and sections 5 and 6 of the paper."""

    d_model: int
    d_ff: int
    num_heads: int
    dropout: float
    steps: int
    averaged: int
    parameters: float
    warmup: int = 4000
    layers: int = 6
    label_smoothing: float = 0.1
    tokens: int = 25_000  # of the target in a step


PAPER = {
    "wmt14_en_de": Paper(512, 2048, 8, 0.1, 100_000, 5, 65e6),
    "wmt14_en_de_big": Paper(1024, 4096, 16, 0.3, 300_000, 20, 213e6),
}


@pytest.fixture(params=PAPER)
def recipe(request: pytest.FixtureRequest) -> tuple[Config, Paper]:
    return load_config(FOLDER / f"{request.param}.toml"), PAPER[request.param]


class Pieces(NamedTuple):
    """A tokenizer as far as its size goes."""

    source_vocab_size: int
    target_vocab_size: int
    joint: bool


def test_the_model_has_the_papers_sizes_and_parameters(recipe: tuple[Config, Paper]) -> None:
    config, paper = recipe
    model = config.model
    assert (model.d_model, model.d_ff, model.num_heads, model.dropout) == paper[:4]
    assert (model.encoder_layers, model.decoder_layers, model.norm, model.activation) == (6, 6, "post", "relu")
    assert (config.tokenizer.algorithm, config.tokenizer.joint, model.tied_embeddings) == ("bpe", True, "all")
    size = config.tokenizer.vocab_size
    assert size == 37_000
    with torch.device("meta"):
        parameters = Transformer(with_vocabulary(config, Pieces(size, size, True)).model).parameters()
    assert sum(each.numel() for each in parameters) == pytest.approx(paper.parameters, rel=0.03)


def test_the_learning_rate_is_equation_3(recipe: tuple[Config, Paper]) -> None:
    config, paper = recipe
    assert (config.training.steps, config.training.warmup_steps) == (paper.steps, paper.warmup)
    for step in (1, 10, 1000, 3999, 4000, 4001, 50_000, paper.steps):
        expected = paper.d_model**-0.5 * min(step**-0.5, step * paper.warmup**-1.5)
        assert learning_rate(config.training, step) == pytest.approx(expected, rel=1e-4)


def test_a_step_has_about_25000_target_tokens(recipe: tuple[Config, Paper]) -> None:
    """Of sentences of 29 pieces in the mean, and translations that are longer by 3%, give or take 17%."""
    config, paper = recipe
    generator = np.random.default_rng(1)
    source = np.exp(generator.normal(3.15, 0.65, 200_000))
    target = source * np.exp(generator.normal(0.03, 0.17, len(source)))
    lengths = [np.clip(side, 2, config.data.max_length).astype(np.int64) for side in (source, target)]
    sides = [TokenSequences(np.zeros(side.sum(), dtype=np.int32), np.cumsum(side)) for side in lengths]
    plan = plan_batches(Examples(*sides), config.training.batch_tokens, config.training.seed, 0)
    mean = np.mean([lengths[1][batch].sum() for batch in plan])
    assert config.training.accumulate * mean == pytest.approx(paper.tokens, rel=0.05)


def test_the_optimiser_and_the_regularisation_are_the_papers(recipe: tuple[Config, Paper]) -> None:
    config, paper = recipe
    training = config.training
    assert (training.adam_betas, training.adam_epsilon, training.weight_decay) == ((0.9, 0.98), 1e-9, 0.0)
    assert (training.label_smoothing, training.clip_norm) == (paper.label_smoothing, 0.0)
    assert config.recipe.average == paper.averaged <= training.keep_checkpoints


def test_translations_are_searched_for_as_in_the_paper(recipe: tuple[Config, Paper]) -> None:
    """Section 6.1: beam size 4, alpha 0.6, at most 50 tokens longer than the input."""
    wanted = {
        "beam_size": 4, "length_penalty": 0.6, "length_penalty_form": "gnmt", "max_length_ratio": 1.0,
        "max_length_offset": 50,
    }  # fmt: skip
    decoding = to_dict(recipe[0].decoding)
    assert {name: decoding[name] for name in wanted} == wanted
