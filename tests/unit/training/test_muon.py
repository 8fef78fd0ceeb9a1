"""Muon: its steps are orthogonal, those of torch's Muon, and the same however parameters are cut and shared."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from seq2seq.config import ModelConfig, TrainingConfig
from seq2seq.model.transformer import Transformer
from seq2seq.training.distributed import Processes
from seq2seq.training.muon import Muon, orthogonal
from seq2seq.training.state import make_optimizer

RATE, DECAY, MOMENTUM = 0.01, 0.1, 0.9


def muon(parameters: list[torch.Tensor], parts: list[int], others: list[torch.Tensor] | None = None) -> Muon:
    groups: list[dict[str, Any]] = [{"params": parameters, "parts": parts, "weight_decay": DECAY}]
    groups += [{"params": others, "weight_decay": 0.0}] if others else []
    return Muon(groups, RATE, (0.9, 0.98), 1e-9, MOMENTUM, Processes())


def draw(*shapes: tuple[int, ...]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]


def give_gradients(seed: int, *parameters: torch.Tensor) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.05)])
@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 8, 24), (2, 24, 8)])
def test_singular_values_are_near_1_and_vectors_stay(
    shape: tuple[int, int, int], dtype: torch.dtype, tolerance: float
) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    left, values, right = torch.linalg.svd(matrices, full_matrices=False)
    found = left.mT @ orthogonal(matrices, dtype).float() @ right.mT
    seen = values / values[:, :1] > 0.05  # those of others are less
    sizes = found.diagonal(dim1=1, dim2=2)
    assert ((sizes > 0.6) & (sizes < 1.3))[seen].all()
    torch.testing.assert_close(found - torch.diag_embed(sizes), torch.zeros_like(found), rtol=0, atol=tolerance)


def test_nothing_stays_nothing() -> None:
    assert torch.equal(orthogonal(torch.zeros(2, 4, 6), torch.float32), torch.zeros(2, 4, 6))


def test_steps_are_those_of_torch() -> None:
    """As far as these, in bfloat16, are exact."""
    ours, theirs = draw((16, 16), (8, 24), (24, 8)), draw((16, 16), (8, 24), (24, 8))
    optimizer = muon(ours, [1, 1, 1])
    expected = torch.optim.Muon(
        theirs, lr=RATE, weight_decay=DECAY, momentum=MOMENTUM, adjust_lr_fn="match_rms_adamw"
    )
    before = [each.detach().clone() for each in ours]
    for seed in range(4):
        give_gradients(seed, *ours)
        give_gradients(seed, *theirs)
        optimizer.step()
        expected.step()
    for old, own, other in zip(before, ours, theirs, strict=True):
        moved, expected_move = own.detach() - old, other.detach() - old
        torch.testing.assert_close(moved, expected_move, rtol=0, atol=0.04 * float(expected_move.abs().max()))


def test_in_bfloat16_steps_are_nearly_the_same() -> None:
    moved = {}
    for precision in ("float32", "bfloat16"):
        model = Transformer(ModelConfig(
            encoder_layers=1, decoder_layers=1, d_model=16, d_ff=24, num_heads=2, source_vocab_size=9,
            target_vocab_size=9, dropout=0.0,
        ))  # fmt: skip
        matrix = model.encoder[0].feed_forward.output.weight
        generator = torch.Generator().manual_seed(1)
        matrix.data = torch.randn(matrix.shape, generator=generator)
        before = matrix.detach().clone()
        optimizer = make_optimizer(model, TrainingConfig(optimizer="muon", precision=precision), Processes())
        matrix.grad = torch.randn(matrix.shape, generator=generator)
        optimizer.step()
        moved[precision] = matrix.detach() - before
    assert not torch.equal(moved["float32"], moved["bfloat16"])
    tolerance = 0.1 * float(moved["float32"].abs().max())
    torch.testing.assert_close(moved["bfloat16"], moved["float32"], rtol=0, atol=tolerance)


def test_parts_are_matrices_of_their_own() -> None:
    (whole,) = draw((24, 16))
    parts = [part.detach().clone().requires_grad_() for part in whole.chunk(3)]
    one, three = muon([whole], [3]), muon(parts, [1, 1, 1])
    for seed in range(3):
        give_gradients(seed, whole)
        assert whole.grad is not None
        for part, gradient in zip(parts, whole.grad.chunk(3), strict=True):
            part.grad = gradient.clone()
        one.step()
        three.step()
    torch.testing.assert_close(whole, torch.cat(parts))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_processes_compute_parts_of_it(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four matrices, three processes compute two, two and none."""
    matrices = torch.randn(4, 6, 8, generator=torch.Generator().manual_seed(1))
    given: list[torch.Tensor] = []
    monkeypatch.setattr(Processes, "gather", lambda self, value: given.append(value) or torch.cat(given))
    for rank in range(size):
        group: list[dict[str, Any]] = [{"params": [], "parts": [], "weight_decay": DECAY}]
        optimizer = Muon(group, RATE, (0.9, 0.98), 1e-9, MOMENTUM, Processes(rank, size), in_bfloat16=True)
        found = optimizer._orthogonal(matrices)
    assert len({each.shape for each in given}) == 1 and len(given) == size
    assert torch.equal(found, orthogonal(matrices, torch.bfloat16))


def test_what_is_no_matrix_of_a_layer_is_left_to_adamw() -> None:
    sizes = ModelConfig(
        encoder_layers=1, decoder_layers=1, d_model=8, d_ff=12, num_heads=2, activation="swiglu",
        source_vocab_size=9, target_vocab_size=9,
    )  # fmt: skip
    model = Transformer(sizes)
    parameters = dict(model.named_parameters())
    parameters["decoder.0.cross_attention.query.weight"].requires_grad_(False)
    optimizer = make_optimizer(model, TrainingConfig(optimizer="muon"), Processes())
    names = {parameter: name for name, parameter in parameters.items()}
    matrices, embeddings, vectors = optimizer.param_groups
    parts = {names[each]: of_it for each, of_it in zip(matrices["params"], matrices["parts"], strict=True)}
    assert {name.removesuffix(".weight"): number for name, number in parts.items()} == {
        "encoder.0.self_attention.query_key_value": 3, "encoder.0.self_attention.output": 1,
        "encoder.0.feed_forward.inner": 2, "encoder.0.feed_forward.output": 1,
        "decoder.0.self_attention.query_key_value": 3, "decoder.0.self_attention.output": 1,
        "decoder.0.cross_attention.key_value": 2, "decoder.0.cross_attention.output": 1,
        "decoder.0.feed_forward.inner": 2, "decoder.0.feed_forward.output": 1,
    }  # fmt: skip
    assert {names[each] for each in embeddings["params"]} == {"source_embedding.weight"}
    assert all(each.dim() == 1 for each in vectors["params"])


def test_what_has_no_gradient_stays_as_it_is() -> None:
    first, second, vector = draw((8, 8), (8, 8), (8,))
    optimizer = muon([first, second], [1, 1], [vector])
    give_gradients(1, first)
    before = second.detach().clone()
    optimizer.step()
    assert torch.equal(second, before)
    assert second not in optimizer.state
