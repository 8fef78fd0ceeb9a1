"""What computes translations: our own search over a model's steps, or another engine with a search of its own."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any, Literal, NamedTuple, Protocol

import torch

from seq2seq.config import DecodingConfig, WeightPrecision
from seq2seq.data.batching import pad
from seq2seq.data.lexicon import Lexicon
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.decoding.beam import beam_search
from seq2seq.decoding.constraints import minimum_length, no_repeat_ngram, suppress
from seq2seq.decoding.sampling import greedy, sample
from seq2seq.decoding.search import Bounds, Hypothesis, Step, log_probs_of
from seq2seq.decoding.shortlist import Shortlist
from seq2seq.errors import DecodingError
from seq2seq.model.inference import InferenceModel
from seq2seq.model.step_cache import StepCache
from seq2seq.model.transformer import Transformer

EngineName = Literal["torch", "ctranslate2", "onnx"]


class Task(NamedTuple):
    """One source to translate, in tokens."""

    tokens: list[int]  # with the final end token
    least: int  # length of the translation, the end token included
    greatest: int
    seed: tuple[int, ...]  # of sampling
    text: str = ""  # of the source, for what chooses among translations


class SpecialTokens(Protocol):
    """The ids that a search must know: a tokenizer's, or those in a shortlist."""

    @property
    def start_id(self) -> int:
        """The token before the first one."""

    @property
    def eos_id(self) -> int:
        """The end token."""

    @property
    def never_output(self) -> Sequence[int]:
        """Tokens that no translation holds."""


class Engine(Protocol):
    """Something that finds translations of token ids."""

    @property
    def max_length(self) -> int:
        """The longest source, and the longest translation, in tokens, end tokens included."""

    @property
    def workers(self) -> int:
        """How many batches it works on at a time, each in a thread or a process that calls `search`."""

    @property
    def in_processes(self) -> bool:
        """Whether its workers had better be processes."""

    def check(self, config: DecodingConfig) -> None:
        """Refuse settings that it does not know.

        Raises:
            DecodingError: which names the setting.
        """

    def prepare(self, config: DecodingConfig) -> None:
        """Make what all searches need, so that processes that are forked then share it."""

    def search(self, tasks: Sequence[Task], config: DecodingConfig) -> list[list[Hypothesis]]:
        """The hypotheses of each task, best first, by the search that the settings ask for."""


class TorchEngine:
    """Our own search over the steps of a model."""

    in_processes = True

    def __init__(self, model: Transformer, tokenizer: Tokenizer, lexicon: Lexicon | None = None) -> None:
        """Put the model into evaluation mode (no dropout); a lexicon is what shortlists are made of."""
        self.model = model.eval()
        self._tokenizer = tokenizer
        self.lexicon = lexicon
        self._prepared: dict[WeightPrecision, InferenceModel] = {}
        self._preparing = Lock()

    @property
    def max_length(self) -> int:
        """The longest source, and the longest translation, in tokens."""
        return self.model.config.max_length

    @property
    def workers(self) -> int:
        """One for each thread that torch has, on a CPU: operations this small gain little from several threads."""
        return torch.get_num_threads() if self.model.positions.device.type == "cpu" else 1

    def check(self, config: DecodingConfig) -> None:
        """Know all settings.

        Raises:
            DecodingError: if there is no lexicon for a shortlist, or the device lacks the precision.
        """
        if config.shortlist and self.lexicon is None:
            raise DecodingError(
                "`decoding.shortlist` = true: the run has no lexicon; leave it out, or, if the run was trained here, "
                "`seq2seq train ... --resume` writes one"
            )
        check_precision(config, self.model.positions.device)

    def prepare(self, config: DecodingConfig) -> None:
        """Lay out the weights."""
        self.model_in(config.precision)

    @torch.inference_mode()
    def search(self, tasks: Sequence[Task], config: DecodingConfig) -> list[list[Hypothesis]]:
        """The hypotheses of each task, best first."""
        model = self.model_in(config.precision)
        device = self.model.positions.device
        ids, mask = pad([task.tokens for task in tasks], self._tokenizer.pad_id)
        cache = model.start(ids.to(device), mask.to(device), rows_of_each(config))
        if not config.shortlist:
            return search_steps(step_of(model), cache, self._tokenizer, tasks, config, device)
        assert self.lexicon is not None
        listed = Shortlist.of(self.lexicon.shortlist(ids.numpy()), self._tokenizer)
        step = listed.step(model, device)
        return [
            [each._replace(tokens=listed.in_vocabulary(each.tokens)) for each in found]
            for found in search_steps(step, cache, listed, tasks, config, device)
        ]

    @torch.inference_mode()
    def model_in(self, precision: WeightPrecision) -> InferenceModel:
        """The model with its weights laid out for a precision."""
        with self._preparing:
            if precision not in self._prepared:
                self._prepared[precision] = InferenceModel(self.model, precision)
            return self._prepared[precision]


def rows_of_each(config: DecodingConfig) -> int:
    """The rows of a search for each sentence: beams, or samples."""
    return config.n_best if config.sample else config.beam_size


def search_steps(
    step: Step[Any],
    cache: Any,
    special: SpecialTokens,
    tasks: Sequence[Task],
    config: DecodingConfig,
    device: torch.device,
) -> list[list[Hypothesis]]:
    """The hypotheses of each task, by the search, and under the rules, that the settings ask for.

    Args:
        step: the model.
        cache: a `SearchCache` of the tasks' sources before the first token, with `rows_of_each(config)` rows of each.
        special: the ids of special tokens, as the step has them.
        tasks: what is searched.
        config: says which search.
        device: of the step's tensors.
    """
    least, greatest = (torch.tensor(lengths) for lengths in zip(*((t.least, t.greatest) for t in tasks), strict=True))
    bounds = Bounds(special.start_id, special.eos_id, greatest, device)
    step = suppress(step, list(special.never_output))
    if config.no_repeat_ngram:
        step, cache = no_repeat_ngram(step, cache, config.no_repeat_ngram, device)
    if (least > 1).any():
        step, cache = minimum_length(step, cache, least.to(device), special.eos_id)
    if config.sample:
        return sample(step, cache, bounds, config, [task.seed for task in tasks])
    search = greedy if config.beam_size == 1 else beam_search
    return search(step, cache, bounds, config)


def step_of(model: InferenceModel) -> Step[StepCache]:
    """A model as what a search sees of it."""
    return lambda tokens, cache: log_probs_of(model.output(model.step(tokens, cache)))


def check_precision(config: DecodingConfig, device: torch.device) -> None:
    """Refuse what a device cannot compute in.

    Raises:
        DecodingError: which names the device.
    """
    if config.precision == "int8" and device.type != "cpu":
        raise DecodingError(f"`decoding.precision` = int8: is for CPUs, the device is {device}; use bfloat16")
