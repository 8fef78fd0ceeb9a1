"""Our post-norm model against Hugging Face's MarianMTModel with the same weights: same logits, same greedy output.

This is what fixes the layout of positions, the scale of embeddings and the start token for all exports.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from seq2seq.config import DecodingConfig, ModelConfig
from seq2seq.model.transformer import Transformer

transformers = pytest.importorskip("transformers")

VOCAB, PAD, START, END = 40, 0, 2, 3


def marian_like(ours: Transformer) -> nn.Module:
    config = ours.config
    theirs = transformers.MarianMTModel(
        transformers.MarianConfig(
            vocab_size=VOCAB, d_model=config.d_model, encoder_layers=config.encoder_layers,
            decoder_layers=config.decoder_layers, encoder_attention_heads=config.num_heads,
            decoder_attention_heads=config.num_heads, encoder_ffn_dim=config.d_ff, decoder_ffn_dim=config.d_ff,
            activation_function=config.activation, max_position_embeddings=config.max_length, scale_embedding=True,
            pad_token_id=PAD, eos_token_id=END, decoder_start_token_id=START, forced_eos_token_id=None,
        )
    ).eval()  # fmt: skip
    inner = theirs.model
    inner.shared.weight.data = ours.target_embedding.weight.data
    for part in (inner.encoder.embed_tokens, inner.decoder.embed_tokens, theirs.lm_head):
        part.weight = inner.shared.weight
    for their_layers, our_layers in ((inner.encoder.layers, ours.encoder), (inner.decoder.layers, ours.decoder)):
        for layer, mine in zip(their_layers, our_layers, strict=True):
            split_into(mine.self_attention.query_key_value, layer.self_attn, ("q_proj", "k_proj", "v_proj"))
            copy(mine.self_attention.output, layer.self_attn.out_proj)
            copy(mine.self_attention_residual.norm, layer.self_attn_layer_norm)
            if hasattr(mine, "cross_attention"):
                copy(mine.cross_attention.query, layer.encoder_attn.q_proj)
                split_into(mine.cross_attention.key_value, layer.encoder_attn, ("k_proj", "v_proj"))
                copy(mine.cross_attention.output, layer.encoder_attn.out_proj)
                copy(mine.cross_attention_residual.norm, layer.encoder_attn_layer_norm)
            copy(mine.feed_forward.inner, layer.fc1)
            copy(mine.feed_forward.output, layer.fc2)
            copy(mine.feed_forward_residual.norm, layer.final_layer_norm)
    return theirs


def copy(mine: nn.Module, theirs: nn.Module) -> None:
    theirs.load_state_dict(mine.state_dict())


def split_into(mine: nn.Linear, owner: nn.Module, names: tuple[str, ...]) -> None:
    size = mine.in_features
    for name, weight, bias in zip(names, mine.weight.split(size), mine.bias.split(size), strict=True):
        getattr(owner, name).load_state_dict({"weight": weight, "bias": bias})


@pytest.fixture(params=["relu", "gelu"])
def ours(request) -> Transformer:
    torch.manual_seed(1)
    model = Transformer(
        ModelConfig(
            encoder_layers=2, decoder_layers=3, d_model=32, d_ff=48, num_heads=4, max_length=60, norm="post",
            activation=request.param, tied_embeddings="all", source_vocab_size=VOCAB, target_vocab_size=VOCAB,
        )
    ).eval()  # fmt: skip
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(2)
    source = torch.randint(4, VOCAB, (6, 11))
    mask = torch.arange(11) < torch.tensor([11, 3, 8, 1, 10, 6])[:, None]
    return source.masked_fill(~mask, PAD), mask


@torch.no_grad()
def test_logits_equal(ours: Transformer, batch) -> None:
    source, mask = batch
    target = torch.randint(4, VOCAB, (6, 9))
    theirs = marian_like(ours)(input_ids=source, attention_mask=mask.long(), decoder_input_ids=target).logits
    torch.testing.assert_close(ours(source, mask, target), theirs, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_greedy_output_equals_generate(ours: Transformer, batch) -> None:
    from seq2seq.decoding.beam import beam_search
    from seq2seq.decoding.search import Bounds

    source, mask = batch
    generated = marian_like(ours).generate(
        input_ids=source, attention_mask=mask.long(), num_beams=1, do_sample=False, max_new_tokens=20
    )
    expected = []
    for row in generated[:, 1:].tolist():
        expected.append(tuple(row[: row.index(END)] if END in row else row)[:19])
    cache = ours.start(ours.encode(source, mask))
    bounds = Bounds(START, END, torch.full((6,), 20), torch.device("cpu"))
    step = lambda tokens, cache: ours.decode_step(tokens, cache).log_softmax(-1)  # noqa: E731
    found = beam_search(step, cache, bounds, DecodingConfig(beam_size=1))
    assert [hypotheses[0].tokens for hypotheses in found] == expected
