"""A run as a `MarianMTModel` folder of Hugging Face's transformers, and such a folder as a model to compare with.

Marian is the post-norm Transformer of the paper, with the activations relu, gelu and silu. Its tokenizer keeps user
symbols and byte pieces, for SentencePiece makes them; what it does otherwise than ours: `</s>`, `<unk>` and `<pad>`
written out in a text are these tokens, a text that begins with `>>...<<` begins with one token of that name, and spaces
at both ends of a decoded text are removed.
"""

from __future__ import annotations

import copy
import json
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from seq2seq.checkpoint import LoadedRun
from seq2seq.config import Activation, Config, DecodingConfig
from seq2seq.data.batching import cut_batches, pad
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.decoding.search import Hypothesis, in_power_form, length_penalty
from seq2seq.errors import ExportError
from seq2seq.export.marian_weights import POSITIONS, to_marian
from seq2seq.files import atomic_write

# Theirs, and ours.
ACTIVATIONS: Mapping[str, Activation] = {"relu": "relu", "gelu": "gelu", "silu": "silu", "swish": "silu"}
_LOG = logging.getLogger(__name__)
_BATCH, _BATCH_TOKENS = 32, 1024  # sentences and tokens at a time, at most
_CODE = re.compile(r">>.*<<")


def write(loaded: LoadedRun, folder: Path) -> None:
    """Write a run for Hugging Face's transformers into a folder.

    What `generate` cannot do, a setting of the search, draws a warning.

    Args:
        loaded: the run.
        folder: to write to; must exist.

    Raises:
        ExportError: if transformers is not installed, or a Marian model cannot be this one.
    """
    transformers = import_transformers()
    _check(loaded.config)
    _warn(loaded.config, loaded.tokenizer)
    with _quiet():
        model = transformers.MarianMTModel(transformers.MarianConfig(**_model_settings(loaded))).eval()
        found = model.load_state_dict(to_marian(loaded.model), strict=False)
        assert set(found.missing_keys) <= set(POSITIONS) and not found.unexpected_keys, found
        model.generation_config = transformers.GenerationConfig(**_generation_settings(loaded))
        try:
            model.save_pretrained(folder)
        except SafetensorError as error:  # which it also makes of the system's errors
            raise ExportError(f"{folder}: cannot be written ({error}); make room, or choose another --output") from None
    _write_tokenizer(loaded, folder)


class HuggingFaceModel:
    """A Marian folder in the hands of transformers: on the CPU, in float32."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        """Take a `MarianMTModel` in evaluation mode and a `MarianTokenizer`."""
        self._model, self._tokenizer = model, tokenizer

    @classmethod
    def load(cls, folder: Path) -> HuggingFaceModel:
        """Open a folder; nothing is fetched.

        Raises:
            ExportError: if transformers is not installed, or cannot load it.
        """
        transformers = import_transformers()
        try:
            with _quiet():
                tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
                model = transformers.AutoModelForSeq2SeqLM.from_pretrained(
                    str(folder), local_files_only=True, dtype=torch.float32
                )
        except Exception as error:  # of any kind: what is in the folder may be from anywhere
            message = " ".join(str(error).split())
            raise ExportError(f"{folder}: transformers cannot load it: {message:.200}") from None
        return cls(model.eval(), tokenizer)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Source ids with the final end token."""
        with _quiet():
            ids: list[list[int]] = self._tokenizer(list(texts), padding=False, truncation=False)["input_ids"]
        return ids

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of target ids."""
        text: str = self._tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text

    @torch.inference_mode()
    def logits(
        self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """The logits `(T, V)` of each target's tokens, and its place in the list; both sides with the end token.

        Of similar lengths a few at a time, for the logits of many would fill the memory.
        """
        start = self._model.config.decoder_start_token_id
        lengths = np.array([max(map(len, pair)) for pair in zip(sources, targets, strict=True)])
        order = np.argsort(lengths, kind="stable")
        for part in cut_batches(lengths[order], _BATCH_TOKENS, _BATCH):
            places = order[part].tolist()
            source, mask = pad([sources[i] for i in places], 0)
            shifted, _ = pad([[start, *targets[i][:-1]] for i in places], 0)
            logits = self._model(input_ids=source, attention_mask=mask.long(), decoder_input_ids=shifted).logits
            for i, row in zip(places, logits, strict=True):
                yield i, row[: len(targets[i])].float()

    def log_probs(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> list[list[float]]:
        """The log-probability in nats of every token of targets that are there; both sides with the end token."""
        found: list[list[float]] = [[] for _ in targets]
        for i, logits in self.logits(sources, targets):
            found[i] = logits.log_softmax(dim=1).gather(1, torch.tensor(targets[i])[:, None]).squeeze(1).tolist()
        return found

    def search(
        self, sources: Sequence[Sequence[int]], config: DecodingConfig, max_length: int
    ) -> list[list[Hypothesis]]:
        """The hypotheses that `generate` finds by greedy or beam search, best first.

        At `max_length` tokens they must end, at the true probability, as ours do. By itself, `generate` cuts them off
        and ranks them with those that ended.
        """
        found: list[list[Hypothesis]] = []
        for first in range(0, len(sources), _BATCH):
            found += self._search(sources[first : first + _BATCH], config, max_length)
        return found

    @torch.inference_mode()
    def _search(
        self, sources: Sequence[Sequence[int]], config: DecodingConfig, max_length: int
    ) -> list[list[Hypothesis]]:
        settings = copy.deepcopy(self._model.generation_config)
        settings.update(**_search_settings(config))
        settings.update(
            max_length=max_length + 1,  # the start token counts there
            num_return_sequences=config.n_best, return_dict_in_generate=True, output_scores=True,
        )  # fmt: skip
        end = settings.eos_token_id
        source, mask = pad(sources, 0)
        with _quiet():
            out = self._model.generate(
                input_ids=source, attention_mask=mask.long(), generation_config=settings,
                logits_processor=[_LastMustBe(end, max_length)],
            )  # fmt: skip
        rows = [row[: row.index(end) + 1] for row in out.sequences[:, 1:].tolist()]
        if config.beam_size > 1:
            scores = out.sequences_scores.tolist()
            log_probs = [score * length_penalty(len(row), config) for row, score in zip(rows, scores, strict=True)]
        else:
            log_probs = [sum(values) for values in self.log_probs(sources, rows)]
            scores = [value / length_penalty(len(row), config) for row, value in zip(rows, log_probs, strict=True)]
        found = [
            Hypothesis(tuple(row[:-1]), log_prob, score)
            for row, log_prob, score in zip(rows, log_probs, scores, strict=True)
        ]
        return [found[i : i + config.n_best] for i in range(0, len(found), config.n_best)]


class _LastMustBe:
    """Forbids all but the end token at the last place, and leaves that its probability."""

    def __init__(self, end: int, max_length: int) -> None:
        self._end, self._max_length = end, max_length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Log-probabilities `(N, V)` of the tokens after `input_ids (N, T)`, which begin with the start token."""
        if input_ids.size(1) < self._max_length:
            return scores
        forced = torch.full_like(scores, -torch.inf)
        forced[:, self._end] = scores[:, self._end]
        return forced


def import_transformers() -> ModuleType:
    """The package of that name.

    Raises:
        ExportError: if it is not installed.
    """
    try:
        import transformers
    except ImportError:
        raise ExportError("the format huggingface needs transformers: pip install 'seq2seq[huggingface]'") from None
    module: ModuleType = transformers
    return module


def _check(config: Config) -> None:
    """Refuse what a Marian model cannot be."""
    model = config.model
    if model.norm != "post":
        raise ExportError(
            f"`model.norm` = {model.norm!r}: Marian models of Hugging Face have their norms after the sub-layers "
            "('post') alone; export to ctranslate2 or onnx"
        )
    if model.activation not in ACTIVATIONS.values():
        raise ExportError(
            f"`model.activation` = {model.activation!r}: Marian models of Hugging Face have no gated layers; export to "
            "ctranslate2 or onnx"
        )


def _warn(config: Config, tokenizer: Tokenizer) -> None:
    """Say what `generate` and the tokenizer will do otherwise."""
    search = config.decoding
    if search.length_penalty_form != "power" and search.length_penalty and not search.sample:
        _LOG.warning("`decoding.length_penalty_form` = 'gnmt': `generate` has no such form; wrote length_penalty 1.0")
    if search.patience != 1 and not search.sample:
        _LOG.warning("`decoding.patience` = %g: `generate` has none; wrote early_stopping, which is 1", search.patience)
    if search.tag:
        _LOG.warning("`decoding.tag` = %r: `generate` puts no tag before a text; put it there yourself", search.tag)
    if search.min_length_ratio:
        _LOG.warning("`decoding.min_length_ratio` = %g: left out, `generate` knows no ratio", search.min_length_ratio)
    for symbol in tokenizer.user_symbols:
        if _CODE.match(symbol):
            _LOG.warning("user symbol %r: at the begin of a text, MarianTokenizer makes other tokens of it", symbol)


def _model_settings(loaded: LoadedRun) -> dict[str, Any]:
    """What `MarianConfig` takes."""
    config, tokenizer = loaded.config.model, loaded.tokenizer
    return {
        "vocab_size": config.source_vocab_size,
        "decoder_vocab_size": config.target_vocab_size,
        "d_model": config.d_model,
        "encoder_layers": config.encoder_layers,
        "decoder_layers": config.decoder_layers,
        "encoder_attention_heads": config.num_heads,
        "decoder_attention_heads": config.num_heads,
        "encoder_ffn_dim": config.d_ff,
        "decoder_ffn_dim": config.d_ff,
        "dropout": config.dropout,
        "attention_dropout": config.attention_dropout,
        "activation_dropout": config.activation_dropout,
        "activation_function": config.activation,
        "scale_embedding": config.scale_embeddings,
        "max_position_embeddings": config.max_length,
        "share_encoder_decoder_embeddings": config.needs_joint_vocabulary,
        "tie_word_embeddings": config.tied_embeddings in ("all", "decoder"),
        "pad_token_id": tokenizer.pad_id,
        "eos_token_id": tokenizer.eos_id,
        "decoder_start_token_id": tokenizer.start_id,
        "forced_eos_token_id": None,  # it would end cut hypotheses with probability 1
    }


def _generation_settings(loaded: LoadedRun) -> dict[str, Any]:
    """What `GenerationConfig` takes so that `generate` finds what our search finds, as far as it can."""
    config, tokenizer = loaded.config.decoding, loaded.tokenizer
    settings: dict[str, Any] = {
        "max_length": loaded.config.model.max_length,
        "pad_token_id": tokenizer.pad_id,
        "eos_token_id": tokenizer.eos_id,
        "decoder_start_token_id": tokenizer.start_id,
        "suppress_tokens": list(tokenizer.never_output),
    }
    if config.sample:
        drawn = {"do_sample": True, "temperature": config.temperature, "top_k": config.top_k, "top_p": config.top_p}
        if config.epsilon:
            drawn["epsilon_cutoff"] = config.epsilon
        return {**settings, **drawn, **_no_repeat(config)}
    return {**settings, **_search_settings(config)}


def _search_settings(config: DecodingConfig) -> dict[str, Any]:
    settings: dict[str, Any] = {"num_beams": config.beam_size, "do_sample": False, **_no_repeat(config)}
    if config.beam_size > 1:  # without beams, transformers refuses the others
        settings.update(length_penalty=float(in_power_form(config).length_penalty), early_stopping=True)
    else:
        settings.update(length_penalty=None, early_stopping=None)
    return settings


def _no_repeat(config: DecodingConfig) -> dict[str, Any]:
    return {"no_repeat_ngram_size": config.no_repeat_ngram or None}


def _write_tokenizer(loaded: LoadedRun, folder: Path) -> None:
    """Write the files of a `MarianTokenizer`; those that it was imported with, byte for byte."""
    tokenizer = loaded.tokenizer
    files = dict(tokenizer.files)
    if "vocab.json" not in files:
        source, target = (files[name] for name in tokenizer.model_files)
        files = {"source.spm": source, "target.spm": target, "vocab.json": _vocabulary(tokenizer, "source")}
        if not tokenizer.joint:
            files["target_vocab.json"] = _vocabulary(tokenizer, "target")
    _write_files(files, folder)
    languages = loaded.config.data
    with _quiet():
        theirs = import_transformers().MarianTokenizer(
            *(str(folder / name) for name in ("source.spm", "target.spm", "vocab.json")),
            target_vocab_file=None if tokenizer.joint else str(folder / "target_vocab.json"),
            separate_vocabs=not tokenizer.joint,
            source_lang=languages.source_language or None,
            target_lang=languages.target_language or None,
            model_max_length=loaded.config.model.max_length,
        )
        theirs.save_pretrained(folder)
    _write_files(files, folder)  # it has written the vocabularies in a layout of its own
    settings = folder / "tokenizer_config.json"
    values = json.loads(settings.read_text(encoding="utf-8"))
    values.pop("target_vocab_file", None)  # the path on this machine; it is found by its name
    with atomic_write(settings) as file:
        file.write(json.dumps(values, ensure_ascii=False, indent=2) + "\n")


def _write_files(files: dict[str, bytes], folder: Path) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content)


def _vocabulary(tokenizer: Tokenizer, side: str) -> bytes:
    vocabulary = tokenizer.source if side == "source" else tokenizer.target
    pieces = vocabulary.tokens(range(vocabulary.size))
    ids = {piece: token for token, piece in enumerate(pieces)}
    return (json.dumps(ids, ensure_ascii=False, indent=2) + "\n").encode("utf-8")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress bars and the advice of transformers, which would stand among our own lines."""
    theirs: Any = import_transformers().utils.logging
    level, bars = theirs.get_verbosity(), theirs.is_progress_bar_enabled()
    theirs.set_verbosity_error()
    theirs.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        theirs.set_verbosity(level)
        if bars:
            theirs.enable_progress_bar()
