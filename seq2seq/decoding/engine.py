"""What computes translations: our own search over a model's steps, or another engine with a search of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from seq2seq.config import DecodingConfig
from seq2seq.data.batching import pad
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.decoding.beam import beam_search
from seq2seq.decoding.constraints import minimum_length, no_repeat_ngram, suppress
from seq2seq.decoding.sampling import greedy, sample
from seq2seq.decoding.search import Bounds, Hypothesis, Step
from seq2seq.errors import DecodingError
from seq2seq.model.cache import KeyValueCache
from seq2seq.model.transformer import Transformer

EngineName = Literal["torch", "ctranslate2", "onnx"]


class Task(NamedTuple):
    """One source to translate, in tokens."""

    tokens: list[int]  # with the final end token
    least: int  # length of the translation, the end token included
    greatest: int
    seed: tuple[int, ...]  # of sampling


class Engine(Protocol):
    """Something that finds translations of token ids."""

    @property
    def max_length(self) -> int:
        """The longest source, and the longest translation, in tokens, end tokens included."""

    @property
    def workers(self) -> int:
        """How many batches it works on at a time, each in a thread that calls `search`."""

    def check(self, config: DecodingConfig) -> None:
        """Refuse settings that it does not know.

        Raises:
            DecodingError: which names the setting.
        """

    def search(self, tasks: Sequence[Task], config: DecodingConfig) -> list[list[Hypothesis]]:
        """The hypotheses of each task, best first, by the search that the settings ask for."""


class TorchEngine:
    """Our own search over the steps of a model."""

    workers = 1

    def __init__(self, model: Transformer, tokenizer: Tokenizer) -> None:
        """Put the model into evaluation mode (no dropout)."""
        self.model = model.eval()
        self._tokenizer = tokenizer

    @property
    def max_length(self) -> int:
        """The longest source, and the longest translation, in tokens."""
        return self.model.config.max_length

    def check(self, config: DecodingConfig) -> None:
        """Know all settings."""

    @torch.inference_mode()
    def search(self, tasks: Sequence[Task], config: DecodingConfig) -> list[list[Hypothesis]]:
        """The hypotheses of each task, best first."""
        device = self.model.positions.device
        source, mask = (tensor.to(device) for tensor in pad([task.tokens for task in tasks], self._tokenizer.pad_id))
        cache = self.model.start(self.model.encode(source, mask), rows_of_each(config))
        return search_steps(model_step(self.model), cache, self._tokenizer, tasks, config, device)


def rows_of_each(config: DecodingConfig) -> int:
    """The rows of a search for each sentence: beams, or samples."""
    return config.n_best if config.sample else config.beam_size


def search_steps(
    step: Step[Any],
    cache: Any,
    tokenizer: Tokenizer,
    tasks: Sequence[Task],
    config: DecodingConfig,
    device: torch.device,
) -> list[list[Hypothesis]]:
    """The hypotheses of each task, by the search, and under the rules, that the settings ask for.

    Args:
        step: the model.
        cache: a `SearchCache` of the tasks' sources before the first token, with `rows_of_each(config)` rows of each.
        tokenizer: gives the special ids.
        tasks: what is searched.
        config: says which search.
        device: of the step's tensors.
    """
    least, greatest = (torch.tensor(lengths) for lengths in zip(*((t.least, t.greatest) for t in tasks), strict=True))
    bounds = Bounds(tokenizer.start_id, tokenizer.eos_id, greatest, device)
    step = suppress(step, list(tokenizer.never_output))
    if config.no_repeat_ngram:
        step, cache = no_repeat_ngram(step, cache, config.no_repeat_ngram, device)
    if (least > 1).any():
        step, cache = minimum_length(step, cache, least.to(device), tokenizer.eos_id)
    if config.sample:
        return sample(step, cache, bounds, config, [task.seed for task in tasks])
    search = greedy if config.beam_size == 1 else beam_search
    return search(step, cache, bounds, config)


def model_step(model: Transformer) -> Step[KeyValueCache]:
    """A model as what a search sees of it."""

    def step(tokens: Tensor, cache: KeyValueCache) -> Tensor:
        return log_probs_of(model.decode_step(tokens, cache))

    return step


def log_probs_of(logits: Tensor) -> Tensor:
    """Log-probabilities `(N, V)` in float32 of logits `(N, V)`.

    Raises:
        DecodingError: if they are not numbers.
    """
    log_probs = F.log_softmax(logits.float(), dim=1)
    if log_probs[:, 0].isnan().any():  # then all of the row is
        raise DecodingError(
            "the model's probabilities are not numbers: its training diverged; use an earlier checkpoint, or train "
            "with a lower learning rate"
        )
    return log_probs
