"""Our dropout: the right share, the right scale, fresh and repeatable masks; whole words."""

from __future__ import annotations

import pytest
import torch

from seq2seq.config import ModelConfig
from seq2seq.model.dropout import Dropout, drop_words
from seq2seq.model.transformer import Transformer


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.9])
def test_share_scale_and_gradient(p: float) -> None:
    torch.manual_seed(1)
    x = torch.full((400, 1001), 2.0, requires_grad=True)
    y = Dropout(p)(x)
    kept = y != 0
    assert (~kept).float().mean().item() == pytest.approx(p, abs=0.005)
    torch.testing.assert_close(y[kept], torch.full_like(y[kept], 2 / (1 - p)), rtol=1e-4, atol=0)
    y.sum().backward()
    torch.testing.assert_close(x.grad, y.detach() / 2)


def test_neighbours_are_independent() -> None:
    torch.manual_seed(2)
    kept = (Dropout(0.5)(torch.ones(4, 100_000)) != 0).float()
    for distance in (1, 2, 3, 4):
        both = kept[:, distance:] * kept[:, :-distance]
        assert both.mean().item() == pytest.approx(0.25, abs=0.01)


def test_a_seed_repeats_the_mask_and_no_seed_does_not() -> None:
    dropout, x = Dropout(0.5), torch.ones(1000)
    torch.manual_seed(3)
    first, second = dropout(x), dropout(x)
    torch.manual_seed(3)
    assert torch.equal(dropout(x), first)
    assert not torch.equal(first, second)


def test_nothing_is_dropped_outside_training() -> None:
    x = torch.ones(10)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_words_are_dropped_whole_and_not_scaled(p: float) -> None:
    torch.manual_seed(1)
    x = torch.randn(100, 200, 4, requires_grad=True)
    y = drop_words(x, p)
    kept = (y != 0).any(2)
    assert torch.equal(y, x * kept[..., None])
    assert (~kept).float().mean().item() == pytest.approx(p, abs=0.01)
    y.sum().backward()
    assert torch.equal(x.grad, kept[..., None].expand_as(x).float())


def test_words_of_each_side_are_dropped_in_training_only() -> None:
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "d_model": 8, "d_ff": 8, "num_heads": 2, "dropout": 0.0}
    model = Transformer(ModelConfig(**sizes, source_vocab_size=9, target_vocab_size=9))
    source, mask, target = torch.randint(4, 9, (2, 5)), torch.ones(2, 5, dtype=torch.bool), torch.randint(4, 9, (2, 4))
    memory = model.encode(source, mask)
    states = model.decoder_states(target, memory)
    model.source_word_dropout = 0.9
    assert not torch.allclose(model.encode(source, mask).states, memory.states)
    assert torch.equal(model.decoder_states(target, memory), states)
    model.source_word_dropout, model.target_word_dropout = 0.0, 0.9
    assert torch.equal(model.encode(source, mask).states, memory.states)
    assert not torch.allclose(model.decoder_states(target, memory), states)
    assert torch.equal(model.eval().decoder_states(target, memory), states)
