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
def test_loss_and_gradients_equal_cross_entropy(smoothing: float, chunk: int, monkeypatch) -> None:
    monkeypatch.setattr(loss_module, "_CHUNK_LOGITS", chunk)
    torch.manual_seed(1)
    states = torch.randn(23, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(37, 8, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(0, 37, (23,))
    smoothed, plain = linear_cross_entropy(states, weight, targets, smoothing)
    (3 * smoothed).backward()
    ours = states.grad, weight.grad
    states.grad = weight.grad = None
    expected = F.cross_entropy(states @ weight.T, targets, reduction="sum", label_smoothing=smoothing)
    (3 * expected).backward()
    torch.testing.assert_close(smoothed, expected)
    torch.testing.assert_close(plain, F.cross_entropy(states @ weight.T, targets, reduction="sum"))
    torch.testing.assert_close(ours, (states.grad, weight.grad))


def test_without_gradients_nothing_is_kept() -> None:
    with torch.no_grad():
        smoothed, plain = linear_cross_entropy(torch.randn(3, 4), torch.randn(5, 4), torch.tensor([0, 1, 2]), 0.0)
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
