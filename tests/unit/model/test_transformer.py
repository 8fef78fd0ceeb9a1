"""Properties of the model: padding, causality, permutation, cache, ties and sizes."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from seq2seq.config import PRESETS, ModelConfig
from seq2seq.errors import ConfigError
from seq2seq.model.transformer import Transformer

VARIANTS = [
    {"norm": norm, "activation": activation}
    for norm in ("pre", "post")
    for activation in ("relu", "gelu", "silu", "reglu", "geglu", "swiglu")
]


def tiny(**changes: object) -> Transformer:
    settings = {
        "encoder_layers": 2, "decoder_layers": 3, "d_model": 16, "d_ff": 24, "num_heads": 4, "max_length": 40,
        "source_vocab_size": 30, "target_vocab_size": 30,
    }  # fmt: skip
    torch.manual_seed(1)
    return Transformer(ModelConfig(**{**settings, **changes})).eval()


def some_input(sentences: int = 4, source_length: int = 7, target_length: int = 6):
    torch.manual_seed(2)
    source = torch.randint(4, 30, (sentences, source_length))
    lengths = torch.randint(1, source_length + 1, (sentences,))
    lengths[0] = source_length
    mask = torch.arange(source_length) < lengths[:, None]
    return source, mask, torch.randint(4, 30, (sentences, target_length))


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_cached_decoding_equals_full_decoding(variant) -> None:
    model = tiny(**variant)
    source, mask, target = some_input()
    memory = model.encode(source, mask)
    cache = model.start(memory)
    steps = torch.stack([model.decode_step(target[:, t], cache) for t in range(target.size(1))], dim=1)
    torch.testing.assert_close(steps, model.decode(target, memory), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["dropout", "attention_dropout", "activation_dropout"])
def test_each_dropout_is_of_training_alone(name: str) -> None:
    model = tiny(**{"dropout": 0.0, name: 0.5})
    source, mask, target = some_input()
    assert torch.equal(model(source, mask, target), model(source, mask, target))
    model.train()
    assert not torch.equal(model(source, mask, target), model(source, mask, target))


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_padding_does_not_matter(norm: str) -> None:
    model = tiny(norm=norm)
    source, mask, target = some_input()
    together = model(source, mask, target)
    scrambled = model(torch.where(mask, source, 3), mask, target)
    torch.testing.assert_close(together, scrambled, rtol=1e-5, atol=1e-6)
    for i, length in enumerate(mask.sum(1).tolist()):
        alone = model(source[i : i + 1, :length], mask[i : i + 1, :length], target[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-4, atol=1e-5)


def test_the_order_of_sentences_does_not_matter() -> None:
    model = tiny()
    source, mask, target = some_input()
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(
        model(source, mask, target)[order], model(source[order], mask[order], target[order]), rtol=1e-5, atol=1e-6
    )


def test_no_position_sees_a_later_one() -> None:
    model = tiny()
    source, mask, target = some_input()
    before = model(source, mask, target)
    changed = target.clone()
    changed[:, 3:] = 5
    torch.testing.assert_close(model(source, mask, changed)[:, :3], before[:, :3], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(model(source, mask, changed)[:, 3:], before[:, 3:])


def test_word_order_matters_in_the_source() -> None:
    model = tiny()
    source, mask, target = some_input()
    mask = torch.ones_like(mask)
    assert not torch.allclose(model(source, mask, target), model(source.flip(1), mask, target))


def test_ties_share_storage_and_are_counted_once() -> None:
    tied, decoder, inputs, none = (tiny(tied_embeddings=tie) for tie in ("all", "decoder", "inputs", "none"))
    assert tied.source_embedding.weight is tied.target_embedding.weight is tied.output.weight
    assert decoder.target_embedding.weight is decoder.output.weight is not decoder.source_embedding.weight
    assert inputs.target_embedding.weight is inputs.source_embedding.weight is not inputs.output.weight
    sizes = [sum(p.numel() for p in model.parameters()) for model in (tied, decoder, inputs, none)]
    assert sizes[1] - sizes[0] == sizes[3] - sizes[1] == 30 * 16
    assert sizes[1] == sizes[2]


def test_an_output_bias_is_added_to_the_logits() -> None:
    model = tiny(output_bias=True)
    arguments = some_input()
    before = model(*arguments)
    model.output.bias += torch.arange(30.0)
    torch.testing.assert_close(model(*arguments), before + torch.arange(30.0))


def test_embeddings_are_scaled_or_not() -> None:
    scaled, plain = tiny(), tiny(scale_embeddings=False)
    source, mask, _ = some_input()
    plain.source_embedding.weight *= 16**0.5
    torch.testing.assert_close(plain.encode(source, mask).states, scaled.encode(source, mask).states)


@pytest.mark.parametrize(("preset", "millions"), [("base", 65), ("big", 213)])
def test_presets_have_the_sizes_of_the_paper(preset: str, millions: int) -> None:
    config = ModelConfig(**{**PRESETS[preset], "source_vocab_size": 37_000, "target_vocab_size": 37_000})
    with torch.device("meta"):
        size = sum(p.numel() for p in Transformer(config).parameters())
    assert size / 1e6 == pytest.approx(millions, rel=0.03)


def test_initial_logits_are_near_uniform() -> None:
    logits = tiny(d_model=64, num_heads=4)(*some_input())
    assert 0.3 < logits.std().item() < 3


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_depth_scaled_layers_begin_smaller_the_higher_they_are(norm: str) -> None:
    plain, scaled = (tiny(norm=norm, initialisation=name) for name in ("glorot", "depth_scaled"))
    ours, theirs = dict(scaled.named_parameters()), dict(plain.named_parameters())
    for name, parameter in theirs.items():
        stack, depth, *_ = name.split(".")
        is_matrix = stack in ("encoder", "decoder") and parameter.dim() > 1
        factor = (int(depth) + 1) ** -0.5 if is_matrix else 1.0
        torch.testing.assert_close(ours[name], parameter * factor)


def gradient_at_the_bottom(norm: str, stack: str, initialisation: str) -> float:
    """How large the gradient is of what the lowest of 18 layers gives, beside that of the highest."""
    layers = {"encoder_layers": 2, "decoder_layers": 2, f"{stack}_layers": 18}
    model = tiny(norm=norm, initialisation=initialisation, d_model=64, d_ff=256, **layers)
    source, mask, target = some_input(16, 20, 20)
    outputs: list[torch.Tensor] = []
    for layer in getattr(model, stack):
        layer.register_forward_hook(lambda layer, inputs, output: outputs.append(output))
    with torch.enable_grad():
        loss = F.cross_entropy(model(source, mask, target).flatten(0, 1), torch.randint(4, 30, (16 * 20,)))
        lowest, highest = torch.autograd.grad(loss, (outputs[0], outputs[-1]))
    return (lowest.norm() / highest.norm()).item()


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("stack", ["encoder", "decoder"])
def test_depth_scaled_gradients_reach_the_bottom_of_deep_stacks(norm: str, stack: str) -> None:
    assert 0.5 < gradient_at_the_bottom(norm, stack, "depth_scaled") < 2
    if (norm, stack) == ("post", "decoder"):
        assert gradient_at_the_bottom(norm, stack, "glorot") < 0.1, "the model does not show what the scale is for"


def test_vocabulary_sizes_must_be_known() -> None:
    with pytest.raises(ConfigError, match="source_vocab_size"):
        Transformer(ModelConfig())
