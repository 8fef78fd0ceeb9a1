"""The chunked loss against `F.cross_entropy` on the whole logits."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from seq2seq.config import ModelConfig
from seq2seq.data.batching import Examples, TokenSequences, make_batch
from seq2seq.model.transformer import Transformer
from seq2seq.training import loss as loss_module
from seq2seq.training.loss import TranslationLoss, linear_cross_entropy


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("chunk", [1, 37 * 5, 10**6])
@pytest.mark.parametrize("with_bias", [False, True])
def test_loss_and_gradients_equal_cross_entropy(smoothing: float, chunk: int, with_bias: bool, monkeypatch) -> None:
    monkeypatch.setattr(loss_module, "_CHUNK_LOGITS", chunk)
    monkeypatch.setattr(loss_module, "_CHUNK_ROWS", 1)
    torch.manual_seed(1)
    states = torch.randn(23, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(37, 8, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(37, dtype=torch.float64, requires_grad=True) if with_bias else None
    inputs = [states, weight, *([] if bias is None else [bias])]
    targets = torch.randint(0, 37, (23,))
    smoothed, plain = linear_cross_entropy(states, weight, bias, targets, smoothing)
    ours = torch.autograd.grad(3 * smoothed, inputs)
    logits = F.linear(states, weight, bias)
    expected = F.cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing)
    torch.testing.assert_close(smoothed, expected)
    torch.testing.assert_close(plain, F.cross_entropy(logits, targets, reduction="sum"))
    torch.testing.assert_close(ours, torch.autograd.grad(3 * expected, inputs))


@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_what_is_frozen_gets_no_gradient_and_the_others_the_same(frozen: int) -> None:
    torch.manual_seed(1)
    inputs = [torch.randn(6, 4), torch.randn(9, 4), torch.randn(9)]
    targets = torch.randint(0, 9, (6,))
    for i, tensor in enumerate(inputs):
        tensor.requires_grad_(i != frozen)
    smoothed, _ = linear_cross_entropy(*inputs, targets, 0.1)
    expected = F.cross_entropy(F.linear(*inputs), targets, reduction="sum", label_smoothing=0.1)
    learnt = [tensor for tensor in inputs if tensor.requires_grad]
    torch.testing.assert_close(torch.autograd.grad(smoothed, learnt), torch.autograd.grad(expected, learnt))


def test_without_gradients_nothing_is_kept() -> None:
    with torch.no_grad():
        smoothed, plain = linear_cross_entropy(torch.randn(3, 4), torch.randn(5, 4), None, torch.tensor([0, 1, 2]), 0.0)
    assert not smoothed.requires_grad
    torch.testing.assert_close(smoothed, plain)


def tiny_setup():
    torch.manual_seed(3)
    model = Transformer(
        ModelConfig(
            encoder_layers=1, decoder_layers=1, d_model=8, d_ff=16, num_heads=2, dropout=0.0,
            source_vocab_size=20, target_vocab_size=20,
        )
    )  # fmt: skip
    rows = [torch.randint(4, 20, (length,)).tolist() for length in (3, 5, 2, 7, 4, 6)]
    examples = Examples(TokenSequences.of(rows), TokenSequences.of(rows[::-1]))
    return model, examples


def test_micro_batches_weighted_by_tokens_equal_one_batch() -> None:
    model, examples = tiny_setup()
    criterion = TranslationLoss(model, 0.1)

    def gradients(parts):
        model.zero_grad()
        batches = [make_batch(examples, part, 0, 2) for part in parts]
        tokens = sum(batch.num_target_tokens for batch in batches)
        for batch in batches:
            (criterion(batch)[0] / tokens).backward()
        return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}

    whole, split = gradients([[0, 1, 2, 3, 4, 5]]), gradients([[0, 3], [1], [2, 4, 5]])
    torch.testing.assert_close(whole, split, rtol=1e-4, atol=1e-6)


def test_autocast_path_gives_about_the_same() -> None:
    model, examples = tiny_setup()
    criterion = TranslationLoss(model, 0.1)
    batch = make_batch(examples, range(6), 0, 2)
    exact = criterion(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = criterion(batch)
    torch.testing.assert_close(exact, rough, rtol=0.02, atol=0.1)
