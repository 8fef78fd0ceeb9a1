from __future__ import annotations

import pytest
import torch

from seq2seq.config import ModelConfig
from seq2seq.errors import ExportError
from seq2seq.export.marian_weights import BIAS, embeddings, from_marian, to_marian
from seq2seq.model.transformer import Transformer

SOURCE, TARGET, OUTPUT = "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight"
SHARED = "model.shared.weight"


def make(tied: str = "none", bias: bool = True, seed: int = 1) -> Transformer:
    torch.manual_seed(seed)
    model = Transformer(
        ModelConfig(
            encoder_layers=2, decoder_layers=1, d_model=8, d_ff=12, num_heads=2, norm="post", tied_embeddings=tied,
            output_bias=bias, source_vocab_size=20, target_vocab_size=20, max_length=30,
        )
    )  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("tied", ["none", "inputs", "decoder", "all"])
def test_there_and_back(tied: str, bias: bool) -> None:
    model = make(tied, bias)
    weights = to_marian(model)
    matrices, kind = embeddings(weights, tied in ("inputs", "all"), tied in ("decoder", "all"))
    assert kind == tied
    again = make(tied, bias, seed=2)
    from_marian({**weights, **matrices}, again)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert bool(weights[BIAS].any()) == bias


@pytest.mark.parametrize("stored", [(SHARED,), (SHARED, OUTPUT), (SHARED, SOURCE, TARGET, OUTPUT), (OUTPUT,)])
def test_one_matrix_under_any_of_its_names(stored: tuple[str, ...]) -> None:
    """Versions of transformers keep it under different names."""
    matrix = torch.randn(4, 2)
    matrices, kind = embeddings({name: matrix.clone() for name in stored}, shared=True, tied=True)
    assert kind == "all"
    assert all(torch.equal(found, matrix) for found in matrices.values())


def test_shared_inputs_are_one_only_if_they_are_equal() -> None:
    first, second, output = torch.randn(3, 4, 2)
    assert embeddings({SHARED: first, OUTPUT: output}, shared=True, tied=False)[1] == "inputs"
    apart = {SHARED: first, SOURCE: first, TARGET: second, OUTPUT: output}
    matrices, kind = embeddings(apart, shared=True, tied=False)
    assert kind == "none"
    assert torch.equal(matrices[TARGET], second)


def test_embeddings_that_should_be_one_but_differ() -> None:
    first, second = torch.randn(2, 4, 2)
    with pytest.raises(ExportError, match=r"`tie_word_embeddings` = true, but .*lm_head\.weight are not equal"):
        embeddings({SHARED: first, OUTPUT: second}, shared=True, tied=True)
    with pytest.raises(ExportError, match="not equal"):
        embeddings({SOURCE: first, TARGET: first, OUTPUT: second}, shared=False, tied=True)


@pytest.mark.parametrize("missing", [SOURCE, TARGET, OUTPUT])
def test_missing_embedding(missing: str) -> None:
    weights = {name: torch.zeros(4, 2) for name in (SOURCE, TARGET, OUTPUT) if name != missing}
    with pytest.raises(ExportError, match=rf"^weight '{missing}': missing"):
        embeddings(weights, shared=False, tied=False)


FC1 = "model.encoder.layers.1.fc1.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({FC1: None}, rf"'{FC1}': missing"),
        ({FC1: torch.zeros(12, 9)}, rf"'{FC1}': has the shape \[12, 9\], but config.json means \[12, 8\]"),
        ({"model.encoder.layers.2.fc1.weight": torch.zeros(1)}, r"layers\.2\.fc1.*: a Marian model .* has none such"),
        ({BIAS: torch.zeros(1, 21)}, r"final_logits_bias.* \[21\], but config.json means \[20\]"),
        ({SOURCE: torch.zeros(21, 8)}, r"embed_tokens.*\[21, 8\], but config.json means \[20, 8\]"),
    ],
)
def test_weights_that_do_not_fit(change: dict[str, torch.Tensor | None], message: str) -> None:
    weights = {name: tensor for name, tensor in {**to_marian(make()), **change}.items() if tensor is not None}
    with pytest.raises(ExportError, match=message):
        from_marian(weights, make())
