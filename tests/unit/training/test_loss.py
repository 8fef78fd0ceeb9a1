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


def differentiable_inputs(with_bias: bool) -> list[torch.Tensor]:
    """States `(23, 8)`, weight `(37, 8)` and maybe bias `(37,)`, in double precision."""
    torch.manual_seed(1)
    shapes = [(23, 8), (37, 8), *([(37,)] if with_bias else [])]
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("chunk", [1, 37 * 5, 10**6])
@pytest.mark.parametrize("with_bias", [False, True])
def test_loss_and_gradients_equal_cross_entropy(smoothing: float, chunk: int, with_bias: bool, monkeypatch) -> None:
    monkeypatch.setattr(loss_module, "_CHUNK_LOGITS", chunk)
    monkeypatch.setattr(loss_module, "_CHUNK_ROWS", 1)
    inputs = differentiable_inputs(with_bias)
    states, weight, bias = (*inputs, None)[:3]
    targets = torch.randint(0, 37, (23,))
    minimised, smoothed, plain = linear_cross_entropy(states, weight, bias, targets, smoothing)
    ours = torch.autograd.grad(3 * minimised, inputs)
    logits = F.linear(states, weight, bias)
    expected = F.cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing)
    torch.testing.assert_close(minimised, expected)
    torch.testing.assert_close(smoothed, expected)
    torch.testing.assert_close(plain, F.cross_entropy(logits, targets, reduction="sum"))
    torch.testing.assert_close(ours, torch.autograd.grad(3 * expected, inputs))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("with_bias", [False, True])
def test_rows_count_as_often_as_their_weights_say(smoothing: float, with_bias: bool, monkeypatch) -> None:
    monkeypatch.setattr(loss_module, "_CHUNK_ROWS", 4)
    monkeypatch.setattr(loss_module, "_CHUNK_LOGITS", 1)
    inputs = differentiable_inputs(with_bias)
    states, weight, bias = (*inputs, None)[:3]
    targets, times = torch.randint(0, 37, (23,)), torch.randn(23, dtype=torch.float64)
    found = linear_cross_entropy(states, weight, bias, targets, smoothing, row_weights=times)
    logits = F.linear(states, weight, bias)
    expected = times @ F.cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing)
    torch.testing.assert_close(found.minimised, expected)
    torch.testing.assert_close(found.plain, times @ F.cross_entropy(logits, targets, reduction="none"))
    torch.testing.assert_close(
        torch.autograd.grad(found.minimised, inputs), torch.autograd.grad(expected, inputs)
    )


@pytest.mark.parametrize("frozen", [None, 0, 1])
def test_rows_count_in_low_precision_and_where_parts_are_frozen(frozen: int | None) -> None:
    torch.manual_seed(1)
    inputs = [torch.randn(6, 4), torch.randn(9, 4)]
    targets, times = torch.randint(0, 9, (6,)), torch.randn(6)
    for i, tensor in enumerate(inputs):
        tensor.requires_grad_(i != frozen)
    learnt = [tensor for tensor in inputs if tensor.requires_grad]
    found = linear_cross_entropy(*inputs, None, targets, 0.1, torch.bfloat16, row_weights=times).minimised
    each = F.cross_entropy(F.linear(*inputs), targets, reduction="none", label_smoothing=0.1)
    ours, expected = torch.autograd.grad(found, learnt), torch.autograd.grad(times @ each, learnt)
    torch.testing.assert_close(ours, expected, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_what_is_frozen_gets_no_gradient_and_the_others_the_same(frozen: int) -> None:
    torch.manual_seed(1)
    inputs = [torch.randn(6, 4), torch.randn(9, 4), torch.randn(9)]
    targets = torch.randint(0, 9, (6,))
    for i, tensor in enumerate(inputs):
        tensor.requires_grad_(i != frozen)
    minimised = linear_cross_entropy(*inputs, targets, 0.1).minimised
    expected = F.cross_entropy(F.linear(*inputs), targets, reduction="sum", label_smoothing=0.1)
    learnt = [tensor for tensor in inputs if tensor.requires_grad]
    torch.testing.assert_close(torch.autograd.grad(minimised, learnt), torch.autograd.grad(expected, learnt))


def test_without_gradients_nothing_is_kept() -> None:
    with torch.no_grad():
        losses = linear_cross_entropy(torch.randn(3, 4), torch.randn(5, 4), None, torch.tensor([0, 1, 2]), 0.0)
    assert not losses.minimised.requires_grad
    torch.testing.assert_close(losses.minimised, losses.plain)


def divergence(logits: torch.Tensor) -> torch.Tensor:
    """KL(P || Q) + KL(Q || P) of the even rows and the odd ones, summed."""
    first, second = (F.log_softmax(logits[start::2], dim=1) for start in (0, 1))
    both = ((first, second), (second, first))
    return sum(F.kl_div(one, other, reduction="sum", log_target=True) for one, other in both)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("rows", [1, 5, 10**6])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("scale", [0.1, 30.0])
def test_r_drop_and_its_gradients_equal_kl_div(
    smoothing: float, rows: int, with_bias: bool, scale: float, monkeypatch
) -> None:
    monkeypatch.setattr(loss_module, "_CHUNK_LOGITS", 1)
    monkeypatch.setattr(loss_module, "_CHUNK_ROWS", rows)
    torch.manual_seed(1)
    states = (scale * torch.randn(22, 8, dtype=torch.float64)).requires_grad_()
    weight = torch.randn(37, 8, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(37, dtype=torch.float64, requires_grad=True) if with_bias else None
    inputs = [states, weight, *([] if bias is None else [bias])]
    targets = torch.randint(0, 37, (11,)).repeat_interleave(2)
    ours = linear_cross_entropy(states, weight, bias, targets, smoothing, draw=2.5)
    logits = F.linear(states, weight, bias)
    smoothed = F.cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing)
    expected = smoothed + 2.5 * divergence(logits)
    torch.testing.assert_close(ours.minimised, expected)
    torch.testing.assert_close(ours.smoothed, smoothed)
    torch.testing.assert_close(ours.plain, F.cross_entropy(logits, targets, reduction="sum"))
    assert not (ours.smoothed.requires_grad or ours.plain.requires_grad)
    torch.testing.assert_close(torch.autograd.grad(ours.minimised, inputs), torch.autograd.grad(expected, inputs))


def test_equal_copies_do_not_diverge() -> None:
    torch.manual_seed(1)
    states = torch.randn(9, 4).repeat_interleave(2, 0).requires_grad_()
    weight, targets = torch.randn(12, 4), torch.randint(0, 12, (9,)).repeat_interleave(2)
    drawn, plain = (linear_cross_entropy(states, weight, None, targets, 0.1, draw=draw) for draw in (5.0, 0.0))
    torch.testing.assert_close(drawn, plain)
    gradients = [torch.autograd.grad(losses.minimised, states) for losses in (drawn, plain)]
    torch.testing.assert_close(*gradients)


def tiny_setup(dropout: float = 0.0):
    torch.manual_seed(3)
    model = Transformer(
        ModelConfig(
            encoder_layers=1, decoder_layers=1, d_model=8, d_ff=16, num_heads=2, dropout=dropout,
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
            (criterion(batch).minimised / tokens).backward()
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


def test_r_drop_of_a_model_is_half_of_the_papers_loss_of_both_copies() -> None:
    model, examples = tiny_setup(dropout=0.3)
    batch = make_batch(examples, range(6), 0, 2)
    torch.manual_seed(5)
    losses = TranslationLoss(model, 0.1, r_drop=4.0)(batch)
    losses.minimised.backward()
    ours = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}

    model.zero_grad()
    torch.manual_seed(5)  # the same dropout: copies of a pair stand side by side
    twice = make_batch(examples, [i // 2 for i in range(12)], 0, 2)
    logits = model(twice.source, twice.source_mask, twice.target_input)
    copies = [logits[start::2][batch.target_mask] for start in (0, 1)]
    targets = batch.target_output[batch.target_mask]
    smoothed = [F.cross_entropy(each, targets, reduction="sum", label_smoothing=0.1) for each in copies]
    expected = sum(smoothed) / 2 + 4.0 / 4 * divergence(torch.stack(copies, 1).flatten(0, 1))
    torch.testing.assert_close(losses.minimised, expected)
    torch.testing.assert_close(losses.smoothed, sum(smoothed).detach() / 2)
    expected.backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(ours[name], parameter.grad, rtol=1e-4, atol=1e-5)


def test_r_drop_is_of_training_only() -> None:
    model, examples = tiny_setup(dropout=0.3)
    batch = make_batch(examples, range(6), 0, 2)
    drawn, plain = (TranslationLoss(model, 0.1, r_drop).eval()(batch) for r_drop in (4.0, 0.0))
    torch.testing.assert_close(drawn, plain)
