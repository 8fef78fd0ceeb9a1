"""The model as translating computes it, against the plain model."""

from __future__ import annotations

import pytest
import torch

from seq2seq.model.inference import InferenceModel
from seq2seq.model.projections import projection
from tests.unit.model.test_transformer import VARIANTS, some_input, tiny


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.inference_mode():
        yield


@pytest.mark.parametrize("variant", [*VARIANTS, {"output_bias": True}, {"scale_embeddings": False}], ids=str)
def test_steps_equal_full_decoding(variant) -> None:
    model = tiny(**variant)
    source, mask, _ = some_input()
    target = torch.randint(4, 30, (4, 40))  # more than there is room for at first
    inference = InferenceModel(model)
    cache = inference.start(source, mask, 1)
    steps = torch.stack([inference.output(inference.step(target[:, t], cache)) for t in range(40)], dim=1)
    torch.testing.assert_close(steps, model.decode(target, model.encode(source, mask)), rtol=1e-4, atol=1e-4)


def test_a_source_without_padding_needs_no_mask() -> None:
    model = tiny()
    source, mask, target = some_input()
    inference, everything = InferenceModel(model), torch.ones_like(mask)
    cache = inference.start(source, everything, 1)
    assert cache.memory_mask is None
    logits = inference.output(inference.step(target[:, 0], cache))
    expected = model.decode(target[:, :1], model.encode(source, everything))[:, 0]
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


def test_beams_can_be_reordered_and_sentences_dropped() -> None:
    """Each row stands for a history of its own, whatever was moved: 37 steps of three beams, sentences leaving."""
    model, beam_size = tiny(), 3
    source, mask, _ = some_input()
    inference, generator = InferenceModel(model), torch.Generator().manual_seed(3)
    cache = inference.start(source, mask, beam_size)
    sentences = torch.arange(4)
    history = torch.empty(12, 0, dtype=torch.int64)
    for length in range(37):
        tokens = torch.randint(4, 30, (len(history),), generator=generator)
        history = torch.cat([history, tokens[:, None]], dim=1)
        states = inference.step(tokens, cache)
        rows = sentences.repeat_interleave(beam_size)
        expected = model.decode(history, model.encode(source[rows], mask[rows]))[:, -1]
        torch.testing.assert_close(inference.output(states), expected, rtol=1e-4, atol=1e-4)
        parents = torch.randint(0, beam_size, (len(sentences), beam_size), generator=generator)
        chosen = (torch.arange(len(sentences))[:, None] * beam_size + parents).flatten()
        cache.select(chosen)
        history = history[chosen]
        if length in (5, 33):
            kept = torch.tensor([0, 2, 3] if length == 5 else [1])
            cache.keep_sentences(kept)
            sentences, history = sentences[kept], history.unflatten(0, (-1, beam_size))[kept].flatten(0, 1)
            assert cache.num_sentences == len(kept)


def test_some_outputs_are_those_of_all() -> None:
    inference = InferenceModel(tiny(output_bias=True))
    states, tokens = torch.randn(6, 16), torch.tensor([3, 7, 29])
    torch.testing.assert_close(inference.output_among(tokens)(states), inference.output(states)[:, tokens])


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows", [1, 5, 64])
@pytest.mark.parametrize(("precision", "error"), [("float32", 1e-4), ("int8", 0.03), ("bfloat16", 0.03)])
@pytest.mark.parametrize("size", [(48, 64), (600, 256), (5000, 32)], ids=str)
def test_projections_are_linear_layers(precision, error: float, rows: int, size: tuple[int, int], bias: bool) -> None:
    torch.manual_seed(1)
    weight, offsets, x = torch.randn(size), torch.randn(size[0]) if bias else None, torch.randn(rows, size[1])
    found = projection(weight, offsets, precision)(x)
    expected = torch.nn.functional.linear(x, weight, offsets)
    assert (found - expected).norm() / expected.norm() < error


@pytest.mark.parametrize("size", [(48, 64), (5000, 64)], ids=str)
@pytest.mark.parametrize("rows", [5, 64])
def test_int8_sums_of_the_largest_numbers_are_not_cut_off(rows: int, size: tuple[int, int]) -> None:
    found = projection(torch.ones(size), None, "int8")(torch.ones(rows, size[1]))
    assert (found - 64).abs().max() < 1


def test_int8_gives_nearly_the_same_logits() -> None:
    model = tiny(d_model=64, d_ff=128)
    source, mask, target = some_input()
    logits = []
    for precision in ("float32", "int8"):
        inference = InferenceModel(model, precision)
        cache = inference.start(source, mask, 1)
        logits.append(torch.stack([inference.output(inference.step(target[:, t], cache)) for t in range(6)]))
    assert (logits[0] - logits[1]).norm() / logits[0].norm() < 0.03
