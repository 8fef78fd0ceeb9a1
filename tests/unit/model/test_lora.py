"""Low-rank matrices begin as nothing, are all that is learnt, and can be merged away."""

from __future__ import annotations

import pytest
import torch

from seq2seq.config import TrainingConfig
from seq2seq.model.lora import add_lora, lora_tensors, merged, weight_of
from seq2seq.model.transformer import Transformer
from tests.random_models import random_model

SETTINGS = TrainingConfig(initialise_from="somewhere", lora_rank=3, lora_embedding_rank=5, lora_alpha=6.0)


def some_logits(model: Transformer) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    source, target = (torch.randint(4, 80, (4, length), generator=generator) for length in (7, 5))
    with torch.no_grad():
        return model(source, torch.ones_like(source, dtype=torch.bool), target)


def with_random_lora(**settings: object) -> Transformer:
    model = random_model(**settings)
    add_lora(model, SETTINGS)
    with torch.no_grad():
        for tensor in lora_tensors(dict(model.named_parameters())).values():
            torch.nn.init.normal_(tensor, std=0.2)
    return model.eval()


@pytest.mark.parametrize("tied", ["none", "inputs", "decoder", "all"])
def test_a_model_begins_as_it_was(tied: str) -> None:
    model = random_model(tied_embeddings=tied)
    before = some_logits(model)
    add_lora(model, SETTINGS)
    assert torch.equal(some_logits(model), before)


@pytest.mark.parametrize("tied", ["none", "inputs", "decoder", "all"])
@pytest.mark.parametrize("activation", ["relu", "swiglu"])
def test_merged_weights_compute_the_same(tied: str, activation: str) -> None:
    settings = {"tied_embeddings": tied, "activation": activation, "output_bias": True}
    model = with_random_lora(**settings)
    plain = random_model(**settings)
    weights = merged(dict(model.named_parameters()), 6.0 / 3)
    assert weights.keys() == dict(plain.named_parameters()).keys()
    plain.load_state_dict(weights, strict=False)
    assert not torch.allclose(some_logits(random_model(**settings)), some_logits(plain), atol=0.1)
    torch.testing.assert_close(some_logits(model), some_logits(plain), rtol=1e-4, atol=1e-3)


def test_only_the_low_rank_matrices_are_learnt() -> None:
    model = with_random_lora()
    learnt = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert learnt == lora_tensors(dict(model.named_parameters())).keys()
    assert sum("embedding" in name for name in learnt) == 2, "tied matrices have one pair"


def test_the_weight_of_a_layer_holds_both() -> None:
    model = with_random_lora()
    x = torch.randn(3, 32)
    torch.testing.assert_close(x @ weight_of(model.output).t(), model.output(x))
    assert weight_of(torch.nn.Linear(2, 2)).shape == (2, 2)
