"""CTranslate2 as an engine: conversion of a model to its format, and translation with it (opennmt.net/CTranslate2).

Its search is ours: it too looks at 2K candidates, stops at K finished hypotheses, times patience, and counts the end
token in lengths. What it does otherwise is made up for here.

* Tokens that no translation holds are suppressed before its softmax, which changes the probabilities of all others, and
  after ours. So it searches freely, and what comes out with such a token, as good as never, is searched again without.
  With `no_repeat_ngram` it may find another translation for the same reason; the scores that are given are ours.
* The greatest length is one for a whole batch, and a hypothesis that reaches it is cut off without the end token. One
  that is over its own greatest length is searched again alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seq2seq.config import Activation, DecodingConfig
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.decoding.engine import Task, rows_of_each
from seq2seq.decoding.search import Hypothesis, best_first, hypothesis
from seq2seq.devices import choose_device
from seq2seq.errors import DecodingError
from seq2seq.model.attention import CrossAttention, SelfAttention
from seq2seq.model.layers import DecoderLayer, EncoderLayer, FeedForward, SubLayer
from seq2seq.model.transformer import Transformer

_NEARLY_NO_PENALTY = 1e-6


class Ctranslate2Engine:
    """Translates with CTranslate2, with one thread for each batch and as many batches at a time as there are cores."""

    in_processes = False

    def __init__(self, folder: Path, tokenizer: Tokenizer, max_length: int, device: str = "auto") -> None:
        """Load a converted model.

        Args:
            folder: what `convert` wrote.
            tokenizer: of the model.
            max_length: the longest sequence in tokens that the model takes.
            device: `auto`, `cpu`, `cuda` or `cuda:N`.

        Raises:
            DecodingError: if CTranslate2 is not installed, or cannot load the model.
        """
        ctranslate2 = import_ctranslate2()
        chosen = choose_device(device)
        self.workers = torch.get_num_threads() if chosen.type == "cpu" else 1
        self.max_length = max_length
        self._tokenizer = tokenizer
        self._source_pieces = tokenizer.source.tokens(range(tokenizer.source_vocab_size))
        self._target_pieces = tokenizer.target.tokens(range(tokenizer.target_vocab_size))
        self._target_ids = {piece: token for token, piece in enumerate(self._target_pieces)}
        try:
            self._translator = ctranslate2.Translator(
                str(folder), device=chosen.type, device_index=chosen.index or 0, inter_threads=self.workers,
                intra_threads=1 if chosen.type == "cpu" else 0,
            )  # fmt: skip
        except (RuntimeError, ValueError) as error:
            remedy = "use --device cpu" if chosen.type == "cuda" else "export the run again"
            raise DecodingError(f"{folder}: ctranslate2 cannot load it on {chosen}: {error}; {remedy}") from None

    @staticmethod
    def check(config: DecodingConfig) -> None:
        """Refuse settings that CTranslate2 does not have.

        Raises:
            DecodingError: which names the setting.
        """
        if config.length_penalty and config.length_penalty_form != "power":
            raise DecodingError(_unknown("length_penalty_form", config.length_penalty_form, "it knows power only"))
        if config.min_length_ratio:
            raise DecodingError(_unknown("min_length_ratio", config.min_length_ratio, "it knows no least length"))
        if config.precision != "float32":
            command = f"`seq2seq export --format ctranslate2 --quantization {config.precision}`"
            raise DecodingError(_unknown("precision", config.precision, f"its precision is that of {command}"))
        if config.shortlist:
            raise DecodingError(_unknown("shortlist", "true", "its shortlists are made otherwise"))
        if config.sample and config.epsilon:
            raise DecodingError(_unknown("epsilon", config.epsilon, "it knows temperature, top_k and top_p"))
        if not config.sample and config.patience < 1:
            raise DecodingError(_unknown("patience", config.patience, "it finds a beam of hypotheses at least"))
        if config.sample and config.top_k == 1 and rows_of_each(config) > 1:
            raise DecodingError(_unknown("top_k", config.top_k, "it draws several samples from two tokens or more"))

    def prepare(self, config: DecodingConfig) -> None:
        """Be ready already."""

    def search(self, tasks: Sequence[Task], config: DecodingConfig) -> list[list[Hypothesis]]:
        """The hypotheses of each task, best first; samples are drawn by its own generator, whatever `seed`."""
        found = self._search(tasks, config, max(task.greatest for task in tasks))
        never = set(self._tokenizer.never_output)
        for i, task in enumerate(tasks):
            if any(len(each.tokens) + 1 > task.greatest for each in found[i]):
                found[i] = self._search([task], config, task.greatest)[0]
            if any(not never.isdisjoint(each.tokens) for each in found[i]):
                found[i] = self._search([task], config, task.greatest, suppress=True)[0]
        return found

    def _search(
        self, tasks: Sequence[Task], config: DecodingConfig, limit: int, suppress: bool = False
    ) -> list[list[Hypothesis]]:
        """The hypotheses of each task, of at most `limit` tokens with the end token."""
        penalty = penalty_of(config)
        results = self._translator.translate_batch(
            [[self._source_pieces[token] for token in task.tokens] for task in tasks],
            **self._options(config, suppress),
            length_penalty=penalty,
            max_decoding_length=max(limit - 1, 1),
            max_input_length=0,
            min_decoding_length=0,
            return_scores=True,
            return_end_token=True,
        )
        found: list[list[Hypothesis]] = [[] for _ in tasks]
        unscored: list[tuple[int, list[int]]] = []  # task, and tokens without the end
        own_scores = suppress or config.sample or config.no_repeat_ngram  # not the model's log-probabilities
        end = self._tokenizer.eos_id
        for i, result in enumerate(results):
            for pieces, score in zip(result.hypotheses, result.scores, strict=True):
                tokens = [self._target_ids[piece] for piece in pieces]
                if tokens[-1:] != [end]:
                    unscored.append((i, tokens))
                elif own_scores:
                    unscored.append((i, tokens[:-1]))
                else:
                    found[i].append(hypothesis(tokens[:-1], score * len(tokens) ** penalty, config))
        if unscored:
            pairs = [(tasks[i].tokens, [*tokens, end]) for i, tokens in unscored]
            log_probs = self.log_probs([source for source, _ in pairs], [target for _, target in pairs])
            for (i, tokens), values in zip(unscored, log_probs, strict=True):
                found[i].append(hypothesis(tokens, sum(values), config))
        return [best_first(hypotheses) for hypotheses in found]

    def _options(self, config: DecodingConfig, suppress: bool) -> dict[str, Any]:
        forbidden = [[self._target_pieces[token]] for token in self._tokenizer.never_output]
        options: dict[str, Any] = {
            "num_hypotheses": rows_of_each(config),
            "no_repeat_ngram_size": config.no_repeat_ngram,
            "suppress_sequences": forbidden if suppress else None,
        }
        if config.sample:
            return {
                **options, "beam_size": 1, "sampling_temperature": config.temperature,
                "sampling_topk": min(config.top_k, len(self._target_pieces)), "sampling_topp": config.top_p,
            }  # fmt: skip
        return {**options, "beam_size": config.beam_size, "patience": config.patience}

    def log_probs(
        self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]
    ) -> list[list[float]]:
        """The log-probability in nats of every token of targets that are there; both sides with the end token."""
        scored = self._translator.score_batch(
            [[self._source_pieces[token] for token in source] for source in sources],
            [[self._target_pieces[token] for token in target[:-1]] for target in targets],  # it adds the end itself
            max_batch_size=32,
            max_input_length=0,
        )
        return [list(result.log_probs) for result in scored]


def import_ctranslate2() -> ModuleType:
    """The package of that name.

    Raises:
        DecodingError: if it is not installed.
    """
    try:
        import ctranslate2
    except ImportError:
        raise DecodingError("engine ctranslate2: is not installed; pip install 'seq2seq[ctranslate2]'") from None
    module: ModuleType = ctranslate2
    return module


def convert(model: Transformer, tokenizer: Tokenizer, folder: Path, quantization: str | None = None) -> None:
    """Write a model in CTranslate2's format into an empty folder.

    Args:
        model: a model of any settings.
        tokenizer: its tokenizer, which gives the vocabularies.
        folder: to write to.
        quantization: of the weights: int8, int8_float32, float16 and others; None keeps float32.

    Raises:
        DecodingError: if CTranslate2 is not installed.
    """
    import_ctranslate2()
    from ctranslate2.specs import transformer_spec

    config = model.config
    shared = {
        "pre_norm": config.norm == "pre",
        "activation": _activation(config.activation),
        "ffn_glu": config.activation.endswith("glu"),
    }
    encoder = transformer_spec.TransformerEncoderSpec(config.encoder_layers, config.num_heads, **shared)
    decoder = transformer_spec.TransformerDecoderSpec(config.decoder_layers, config.num_heads, **shared)
    encoder.embeddings[0].weight = _array(model.source_embedding.weight)
    decoder.embeddings.weight = _array(model.target_embedding.weight)
    _set_linear(decoder.projection, model.output)
    for side in (encoder, decoder):
        side.scale_embeddings = config.scale_embeddings
        side.position_encodings.encodings = _array(model.positions)
    for layer_spec, layer in zip(encoder.layer, model.encoder, strict=True):
        _set_layer(layer_spec, cast(EncoderLayer, layer))
    for layer_spec, layer in zip(decoder.layer, model.decoder, strict=True):
        layer = cast(DecoderLayer, layer)
        _set_layer(layer_spec, layer)
        _set_attention(layer_spec.attention, layer.cross_attention, layer.cross_attention_residual)
    if config.norm == "pre":
        _set_norm(encoder.layer_norm, model.encoder_norm)
        _set_norm(decoder.layer_norm, model.decoder_norm)
    spec = transformer_spec.TransformerSpec(encoder, decoder)
    _set_vocabularies(spec, tokenizer)
    spec.validate()  # names every weight that is missing or has another shape or type
    spec.optimize(quantization=quantization)
    spec.save(str(folder))


def _set_vocabularies(spec: Any, tokenizer: Tokenizer) -> None:
    source = tokenizer.source.tokens(range(tokenizer.source_vocab_size))
    target = tokenizer.target.tokens(range(tokenizer.target_vocab_size))
    spec.register_source_vocabulary(source)
    spec.register_target_vocabulary(target)
    spec.config.bos_token = spec.config.decoder_start_token = target[tokenizer.start_id]
    spec.config.eos_token = target[tokenizer.eos_id]
    spec.config.unk_token = target[tokenizer.unk_id]
    spec.config.add_source_bos = spec.config.add_source_eos = False  # sources come with their end token


def _set_layer(spec: Any, layer: EncoderLayer | DecoderLayer) -> None:
    """Set what layers of both stacks have."""
    _set_attention(spec.self_attention, layer.self_attention, layer.self_attention_residual)
    _set_feed_forward(spec.ffn, layer.feed_forward, layer.feed_forward_residual)


def _set_attention(spec: Any, attention: SelfAttention | CrossAttention, residual: SubLayer) -> None:
    for linear_spec, linear in zip(spec.linear, attention.children(), strict=True):
        assert isinstance(linear, nn.Linear)
        _set_linear(linear_spec, linear)
    _set_norm(spec.layer_norm, residual.norm)


def _set_feed_forward(spec: Any, feed_forward: FeedForward, residual: SubLayer) -> None:
    inner = feed_forward.inner
    if feed_forward.gated:
        gate, linear = inner.weight.chunk(2)
        gate_bias, linear_bias = inner.bias.chunk(2)
        spec.linear_0.weight, spec.linear_0.bias = _array(gate), _array(gate_bias)
        spec.linear_0_noact.weight, spec.linear_0_noact.bias = _array(linear), _array(linear_bias)
    else:
        _set_linear(spec.linear_0, inner)
    _set_linear(spec.linear_1, feed_forward.output)
    _set_norm(spec.layer_norm, residual.norm)


def _set_linear(spec: Any, linear: nn.Linear) -> None:
    spec.weight = _array(linear.weight)
    if linear.bias is not None:
        spec.bias = _array(linear.bias)


def _set_norm(spec: Any, norm: nn.Module) -> None:
    assert isinstance(norm, nn.LayerNorm)
    spec.gamma, spec.beta = _array(norm.weight), _array(norm.bias)


def _array(tensor: Tensor) -> NDArray[np.float32]:
    """A copy: quantisation works in place, and would change our model's weights."""
    return np.array(tensor.detach().cpu().float().numpy(), order="C")


def _activation(name: Activation) -> Any:
    from ctranslate2.specs.common_spec import Activation as Theirs

    match name:
        case "relu" | "reglu":
            return Theirs.RELU
        case "gelu" | "geglu":
            return Theirs.GELU
        case "silu" | "swiglu":
            return Theirs.SWISH


def penalty_of(config: DecodingConfig) -> float:
    """The length penalty; with exactly 0 it would stop at the first finished hypothesis that is the best so far."""
    return config.length_penalty or _NEARLY_NO_PENALTY


def _unknown(name: str, value: object, reason: str) -> str:
    return f"`decoding.{name}` = {value}: the ctranslate2 engine cannot, {reason}; use --engine torch"
