"""The weights of a `MarianMTModel` under our names, and ours under its names.

The two models compute the same; Marian's keeps the projections of attention apart which ours has in one matrix, and has
names of its own for everything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from seq2seq.config import ModelConfig, TiedEmbeddings
from seq2seq.errors import ExportError
from seq2seq.model.transformer import Transformer

BIAS = "final_logits_bias"
POSITIONS = ("model.encoder.embed_positions.weight", "model.decoder.embed_positions.weight")
_SHARED, _SOURCE, _TARGET, _OUTPUT = (
    "model.shared.weight", "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight",
)  # fmt: skip
EMBEDDINGS = (_SHARED, _SOURCE, _TARGET, _OUTPUT)
# The names under which the three matrices may stand, by `share_encoder_decoder_embeddings` and `tie_word_embeddings`.
# Without the latter, transformers 5 shares nothing and 4 shares the inputs; their files show which wrote them.
_STAND_INS = {
    (True, True): (EMBEDDINGS, EMBEDDINGS, EMBEDDINGS),
    (True, False): ((_SOURCE, _SHARED), (_TARGET, _SHARED), (_OUTPUT,)),
    (False, True): ((_SOURCE,), (_TARGET, _OUTPUT), (_TARGET, _OUTPUT)),
    (False, False): ((_SOURCE,), (_TARGET,), (_OUTPUT,)),
}

# Of each layer: our module, and those of Marian whose weights and biases it has one below the other.
_SELF_AND_FEED_FORWARD = {
    "self_attention.query_key_value": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attention.output": ("self_attn.out_proj",),
    "self_attention_residual.norm": ("self_attn_layer_norm",),
    "feed_forward.inner": ("fc1",),
    "feed_forward.output": ("fc2",),
    "feed_forward_residual.norm": ("final_layer_norm",),
}
_CROSS = {
    "cross_attention.query": ("encoder_attn.q_proj",),
    "cross_attention.key_value": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "cross_attention.output": ("encoder_attn.out_proj",),
    "cross_attention_residual.norm": ("encoder_attn_layer_norm",),
}


def layer_names(config: ModelConfig) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Our name of each tensor of the layers, with those of Marian's tensors that it consists of."""
    for side, layers in (("encoder", config.encoder_layers), ("decoder", config.decoder_layers)):
        modules = _SELF_AND_FEED_FORWARD | (_CROSS if side == "decoder" else {})
        for layer in range(layers):
            for ours, theirs in modules.items():
                for kind in ("weight", "bias"):
                    names = tuple(f"model.{side}.layers.{layer}.{name}.{kind}" for name in theirs)
                    yield f"{side}.{layer}.{ours}.{kind}", names


def to_marian(model: Transformer) -> dict[str, Tensor]:
    """The weights of a post-norm model under Marian's names, without the positions, which are computed.

    Matrices that are tied are there under each of their names.
    """
    ours = model.state_dict()
    weights: dict[str, Tensor] = {}
    for name, theirs in layer_names(model.config):
        weights.update(zip(theirs, ours[name].chunk(len(theirs)), strict=True))
    weights[_SOURCE] = ours["source_embedding.weight"]
    weights[_TARGET] = ours["target_embedding.weight"]
    weights[_OUTPUT] = ours["output.weight"]
    if model.config.needs_joint_vocabulary:
        weights[_SHARED] = weights[_SOURCE]
    bias = model.output.bias
    weights[BIAS] = torch.zeros(1, model.config.target_vocab_size) if bias is None else bias.detach()[None]
    return weights


def from_marian(weights: Mapping[str, Tensor], model: Transformer) -> None:
    """Put the weights of a Marian model, whose embeddings `embeddings` has sorted out, into a model of ours.

    Raises:
        ExportError: if a tensor is missing, left over, or of another shape than the model's settings say.
    """
    ours = model.state_dict()
    weights = {BIAS: torch.zeros(1, model.config.target_vocab_size), **weights}
    parts = {
        **dict(layer_names(model.config)),
        "source_embedding.weight": (_SOURCE,),
        "target_embedding.weight": (_TARGET,),
        "output.weight": (_OUTPUT,),
    }
    if model.output.bias is not None:
        parts["output.bias"] = (BIAS,)
    known = {BIAS, *POSITIONS, *EMBEDDINGS, *(name for names in parts.values() for name in names)}
    if unknown := sorted(weights.keys() - known):
        raise ExportError(f"weight {unknown[0]!r}{_more(unknown)}: a Marian model of these settings has none such")
    if missing := sorted(name for names in parts.values() for name in names if name not in weights):
        raise ExportError(f"weight {missing[0]!r}{_more(missing)}: missing; get the model again")
    with torch.no_grad():
        for name, theirs in parts.items():
            for place, part in zip(ours[name].chunk(len(theirs)), theirs, strict=True):
                tensor = weights[part].flatten() if part == BIAS else weights[part]
                if tensor.shape != place.shape:
                    found, wanted = list(tensor.shape), list(place.shape)
                    raise ExportError(f"weight {part!r}: has the shape {found}, but config.json means {wanted}")
                place.copy_(tensor)


def embeddings(weights: Mapping[str, Tensor], shared: bool, tied: bool) -> tuple[dict[str, Tensor], TiedEmbeddings]:
    """The three embedding matrices under the names that they have apart, and which of them are one.

    Args:
        weights: of the file, in which a matrix that is tied stands under one or several of its names.
        shared: `share_encoder_decoder_embeddings`.
        tied: `tie_word_embeddings`: of the decoder's input and its output; if they are shared, of all.

    Raises:
        ExportError: if one is missing, or some are different that should be one.
    """
    source, target, output = (
        next((weights[name] for name in names if name in weights), None) for names in _STAND_INS[shared, tied]
    )
    if source is None or target is None or output is None:
        missing = _SOURCE if source is None else _TARGET if target is None else _OUTPUT
        raise ExportError(f"weight {missing!r}: missing; get the model again")
    kind: TiedEmbeddings = "none"
    if tied:
        kind = "all" if shared else "decoder"
        same = _STAND_INS[shared, tied][2]  # all names of what should be one matrix
        stored = [name for name in same if name in weights]
        if any(not torch.equal(weights[name], output) for name in stored):
            raise ExportError(f"`tie_word_embeddings` = true, but {', '.join(stored)} are not equal; set it to false")
    elif shared and torch.equal(source, target):
        kind = "inputs"
    return {_SOURCE: source, _TARGET: target, _OUTPUT: output}, kind


def _more(names: list[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""
