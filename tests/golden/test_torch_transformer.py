"""Our model against `torch.nn`'s own encoder and decoder layers, with the same weights: the same logits."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from seq2seq.config import ModelConfig
from seq2seq.model.attention import SelfAttention
from seq2seq.model.layers import FeedForward
from seq2seq.model.transformer import Transformer

D_MODEL, VOCAB = 32, 50


class TorchTransformer(nn.Module):
    """The same architecture from torch's parts; masks have torch's meaning (True is hidden)."""

    def __init__(self, ours: Transformer) -> None:
        super().__init__()
        config = ours.config
        pre = config.norm == "pre"
        settings = {
            "d_model": config.d_model,
            "nhead": config.num_heads,
            "dim_feedforward": config.d_ff,
            "dropout": 0.0,
            "activation": config.activation,
            "batch_first": True,
            "norm_first": pre,
        }
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(**settings),
            config.encoder_layers,
            nn.LayerNorm(config.d_model) if pre else None,
            enable_nested_tensor=False,
        )
        self.decoder = nn.TransformerDecoder(
            nn.TransformerDecoderLayer(**settings),
            config.decoder_layers,
            nn.LayerNorm(config.d_model) if pre else None,
        )
        for theirs, mine in zip(self.encoder.layers, ours.encoder, strict=True):
            copy_self_attention(theirs.self_attn, mine.self_attention)
            copy_feed_forward(theirs, mine.feed_forward)
            theirs.norm1.load_state_dict(mine.self_attention_residual.norm.state_dict())
            theirs.norm2.load_state_dict(mine.feed_forward_residual.norm.state_dict())
        for theirs, mine in zip(self.decoder.layers, ours.decoder, strict=True):
            copy_self_attention(theirs.self_attn, mine.self_attention)
            cross = mine.cross_attention
            theirs.multihead_attn.in_proj_weight.data = torch.cat([cross.query.weight, cross.key_value.weight])
            theirs.multihead_attn.in_proj_bias.data = torch.cat([cross.query.bias, cross.key_value.bias])
            theirs.multihead_attn.out_proj.load_state_dict(cross.output.state_dict())
            copy_feed_forward(theirs, mine.feed_forward)
            theirs.norm1.load_state_dict(mine.self_attention_residual.norm.state_dict())
            theirs.norm2.load_state_dict(mine.cross_attention_residual.norm.state_dict())
            theirs.norm3.load_state_dict(mine.feed_forward_residual.norm.state_dict())
        if pre:
            self.encoder.norm.load_state_dict(ours.encoder_norm.state_dict())
            self.decoder.norm.load_state_dict(ours.decoder_norm.state_dict())
        self.ours = ours

    def forward(self, source: Tensor, source_mask: Tensor, target_input: Tensor) -> Tensor:
        def embed(embedding: nn.Embedding, tokens: Tensor) -> Tensor:
            return embedding(tokens) * math.sqrt(D_MODEL) + paper_positions(tokens.size(1))

        states = self.encoder(embed(self.ours.source_embedding, source), src_key_padding_mask=~source_mask)
        length = target_input.size(1)
        decoded = self.decoder(
            embed(self.ours.target_embedding, target_input),
            states,
            tgt_mask=torch.ones(length, length).triu(1).bool(),
            memory_key_padding_mask=~source_mask,
        )
        return decoded @ self.ours.output.weight.T


def paper_positions(length: int) -> Tensor:
    """Section 3.5 of the paper, number by number; sines in the first half, cosines in the second."""
    table = torch.zeros(length, D_MODEL)
    for position in range(length):
        for i in range(D_MODEL // 2):
            angle = position / 10_000 ** (2 * i / D_MODEL)
            table[position, i] = math.sin(angle)
            table[position, D_MODEL // 2 + i] = math.cos(angle)
    return table


def copy_self_attention(theirs: nn.MultiheadAttention, mine: SelfAttention) -> None:
    theirs.in_proj_weight.data = mine.query_key_value.weight.data
    theirs.in_proj_bias.data = mine.query_key_value.bias.data
    theirs.out_proj.load_state_dict(mine.output.state_dict())


def copy_feed_forward(theirs: nn.Module, mine: FeedForward) -> None:
    theirs.linear1.load_state_dict(mine.inner.state_dict())
    theirs.linear2.load_state_dict(mine.output.state_dict())


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("tied", ["none", "decoder", "all"])
def test_logits_equal_torch(norm: str, activation: str, tied: str) -> None:
    torch.manual_seed(1)
    ours = Transformer(
        ModelConfig(
            encoder_layers=3, decoder_layers=2, d_model=D_MODEL, d_ff=64, num_heads=4, norm=norm,
            activation=activation, tied_embeddings=tied, source_vocab_size=VOCAB, target_vocab_size=VOCAB,
        )
    ).eval()  # fmt: skip
    for parameter in ours.parameters():  # so that no bias or norm hides behind a zero or a one
        nn.init.normal_(parameter, std=0.2)
    theirs = TorchTransformer(ours).eval()
    source = torch.randint(4, VOCAB, (5, 9))
    source_mask = torch.arange(9) < torch.tensor([9, 4, 7, 1, 9])[:, None]
    target_input = torch.randint(4, VOCAB, (5, 6))
    with torch.no_grad():
        torch.testing.assert_close(
            ours(source, source_mask, target_input), theirs(source, source_mask, target_input), rtol=1e-4, atol=1e-4
        )
