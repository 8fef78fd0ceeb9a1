"""Text in, text out: tokenises, batches, searches, and puts everything back into the order of the input."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from seq2seq.checkpoint import load_model
from seq2seq.config import DecodingConfig
from seq2seq.data.batching import cut_batches, pad
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.decoding.beam import beam_search
from seq2seq.decoding.constraints import minimum_length, no_repeat_ngram, suppress
from seq2seq.decoding.sampling import greedy, sample
from seq2seq.decoding.search import Bounds, Hypothesis, SearchCache, Step, length_penalty
from seq2seq.decoding.splitting import join_texts, split_text
from seq2seq.decoding.streaming import as_they_come
from seq2seq.devices import choose_device
from seq2seq.errors import DecodingError
from seq2seq.model.cache import KeyValueCache
from seq2seq.model.transformer import Transformer

Progress = Callable[[int], object]  # is called with the number of sentences done since the last call

_LOG = logging.getLogger(__name__)
_BATCHES_IN_CHUNK = 16  # of a stream: enough to sort by length, few enough that output is not long in coming


@dataclass(frozen=True, slots=True)
class Translation:
    """A translated sentence."""

    source: str
    text: str
    hypotheses: tuple[Hypothesis, ...] = ()  # n_best of them, best first; none if the source is blank
    n_best: tuple[str, ...] = ()  # the text of each hypothesis


class Translator:
    """Translates raw text with a model and its tokenizer.

    What comes out for a sentence depends on that sentence and the settings (and in sampling on its place in the input),
    not on the sentences beside it or the size of batches. All work is done in float32 on the device of the model.

    Attributes:
        model, tokenizer: what it translates with.
        config: decoding settings where a call gives none.
    """

    def __init__(self, model: Transformer, tokenizer: Tokenizer, config: DecodingConfig | None = None) -> None:
        """Put the model into evaluation mode (no dropout) and translate with it."""
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.config = config or DecodingConfig()

    @classmethod
    def load(cls, run: Path | str, device: str = "auto") -> Translator:
        """A translator from a run directory (its best checkpoint) or one checkpoint, with the run's settings.

        Raises:
            CheckpointError, TokenizerError: if something is missing, damaged, or does not fit.
            ConfigError: if this machine has no such device.
        """
        loaded = load_model(run, str(choose_device(device)))
        return cls(loaded.model, loaded.tokenizer, loaded.config.decoding)

    def translate(
        self, texts: Iterable[str], config: DecodingConfig | None = None, progress: Progress | None = None
    ) -> list[Translation]:
        """Translate sentences; a blank one is translated by an empty text.

        Raises:
            DecodingError: if a sentence is longer than the model takes and `too_long` is "refuse".
        """
        if isinstance(texts, str):
            raise DecodingError(f"translate({texts[:40]!r}): got a text; give a list of sentences, translate([text])")
        return self._translate(list(texts), 0, config or self.config, progress)

    def stream(self, lines: Iterable[str], config: DecodingConfig | None = None) -> Iterator[Translation]:
        """Translate sentences while they arrive, in order: one by one, or many at once when they pile up.

        Memory does not grow with the input. The result is that of `translate`.

        Raises:
            DecodingError: as `translate`; and whatever reading the lines raises.
        """
        config = config or self.config
        done = 0
        with closing(as_they_come(lines, _BATCHES_IN_CHUNK * config.batch_size)) as chunks:
            for chunk in chunks:
                yield from self._translate(chunk, done, config, None)
                done += len(chunk)

    @torch.inference_mode()
    def _translate(
        self, texts: Sequence[str], first: int, config: DecodingConfig, progress: Progress | None
    ) -> list[Translation]:
        """Translate texts, of which the first is sentence number `first` of the input, counted from 0."""
        parts = self._parts(texts, first, config)
        if progress is not None:
            progress(len(texts) - len({part.sentence for part in parts}))  # the blank ones
        found: dict[int, list[list[Hypothesis]]] = {}  # of each sentence, for each of its parts
        for part, hypotheses in zip(parts, self._search_all(parts, config, progress), strict=True):
            found.setdefault(part.sentence, []).append(hypotheses)
        return [self._assemble(text, found.get(first + i, []), config) for i, text in enumerate(texts)]

    def _parts(self, texts: Sequence[str], first: int, config: DecodingConfig) -> list[_Part]:
        """The tokens of all texts but the blank ones; too long a text is split, or refused."""
        limit = self.model.config.max_length
        parts: list[_Part] = []
        too_long: list[tuple[int, int]] = []  # number, from 1, and length in tokens
        for i, (text, tokens) in enumerate(zip(texts, self.tokenizer.encode_source(texts), strict=True)):
            if not text.strip() or len(tokens) <= 1:  # nothing, or nothing but the end
                continue
            if len(tokens) <= limit:
                parts.append(_Part(first + i, 0, tokens))
                continue
            too_long.append((first + i + 1, len(tokens)))
            if config.too_long == "refuse":
                raise DecodingError(f"{_too_long(too_long, limit)}; shorten it, or set `decoding.too_long` = 'split'")
            parts += self._split(text, first + i)
        if too_long:
            _LOG.warning("%s; translated in parts", _too_long(too_long, limit))
        return parts

    def _split(self, text: str, sentence: int) -> list[_Part]:
        limit = self.model.config.max_length
        texts = split_text(text, lambda part: len(self.tokenizer.encode_source([part])[0]) <= limit)
        parts = [_Part(sentence, i, tokens) for i, tokens in enumerate(self.tokenizer.encode_source(texts))]
        for part, part_text in zip(parts, texts, strict=True):
            if len(part.tokens) > limit:
                raise DecodingError(
                    f"sentence {sentence + 1}: the character {part_text!r} alone has {len(part.tokens)} tokens: the "
                    f"model takes {limit} (`model.max_length`); remove it"
                )
        return parts

    def _search_all(
        self, parts: Sequence[_Part], config: DecodingConfig, progress: Progress | None
    ) -> list[list[Hypothesis]]:
        """The hypotheses of each part, from batches of parts of similar length.

        The longest go first: a batch that does not fit in memory fails at once, and time left is not underestimated.
        """
        lengths = np.array([len(part.tokens) for part in parts], dtype=np.int64)
        order = np.argsort(-lengths, kind="stable")
        found: list[list[Hypothesis]] = [[] for _ in parts]
        waiting = Counter(part.sentence for part in parts)
        for batch in cut_batches(lengths[order], config.batch_tokens, config.batch_size):
            chosen = [parts[i] for i in order[batch]]
            for i, hypotheses in zip(order[batch], self._search(chosen, config), strict=True):
                found[i] = hypotheses
            waiting.subtract(part.sentence for part in chosen)
            if progress is not None:
                progress(len({part.sentence for part in chosen if not waiting[part.sentence]}))
        return found

    def _search(self, parts: Sequence[_Part], config: DecodingConfig) -> list[list[Hypothesis]]:
        """The hypotheses of each part, by the search that the settings ask for."""
        device = self.model.positions.device
        source, mask = (tensor.to(device) for tensor in pad([part.tokens for part in parts], self.tokenizer.pad_id))
        memory = self.model.encode(source, mask)
        cache = self.model.start(memory, config.n_best if config.sample else config.beam_size)
        lengths = [_lengths(len(part.tokens), self.model.config.max_length, config) for part in parts]
        least, greatest = torch.tensor(lengths).unbind(dim=1)
        bounds = Bounds(self.tokenizer.start_id, self.tokenizer.eos_id, greatest, device)
        step, constrained = self._constrain(cache, least.to(device), config)
        if config.sample:
            seeds = [(config.seed % 2**64, part.sentence, part.number) for part in parts]
            return sample(step, constrained, bounds, config, seeds)
        search = greedy if config.beam_size == 1 else beam_search
        return search(step, constrained, bounds, config)

    def _constrain(self, cache: KeyValueCache, least: Tensor, config: DecodingConfig) -> tuple[Step[Any], SearchCache]:
        """The model as a step, with the rules that hold for its output, and the cache that they need."""
        tokenizer = self.tokenizer
        step: Step[Any] = suppress(model_step(self.model), tokenizer.never_output)
        constrained: SearchCache = cache
        if config.no_repeat_ngram:
            step, constrained = no_repeat_ngram(step, constrained, config.no_repeat_ngram, least.device)
        if (least > 1).any():
            step, constrained = minimum_length(step, constrained, least, tokenizer.eos_id)
        return step, constrained

    def _assemble(self, source: str, parts: Sequence[list[Hypothesis]], config: DecodingConfig) -> Translation:
        """The translation of a sentence from the hypotheses of each of its parts."""
        if not parts:
            return Translation(source, "")
        joined = []
        for row in list(zip(*parts, strict=False))[: config.n_best]:  # the i-th best of each part
            text = join_texts([self.tokenizer.decode_target(part.tokens) for part in row])
            joined.append((_join(row, config), text))
        joined.sort(key=lambda pair: -pair[0].score)
        hypotheses, n_best = zip(*joined, strict=True)
        return Translation(source, n_best[0], hypotheses, n_best)


class _Part(NamedTuple):
    """What is translated at once: a sentence, or a part of one that is too long."""

    sentence: int  # place in the input
    number: int  # among the parts of the sentence
    tokens: list[int]  # with the final end token


def model_step(model: Transformer) -> Step[KeyValueCache]:
    """A model as what a search sees of it."""

    def step(tokens: Tensor, cache: KeyValueCache) -> Tensor:
        log_probs = F.log_softmax(model.decode_step(tokens, cache).float(), dim=1)
        if log_probs[:, 0].isnan().any():  # then all of the row is
            raise DecodingError(
                "the model's probabilities are not numbers: its training diverged; use an earlier checkpoint, or train "
                "with a lower learning rate"
            )
        return log_probs

    return step


def _lengths(source_length: int, limit: int, config: DecodingConfig) -> tuple[int, int]:
    """The least and the greatest length of the translation of `source_length` tokens, the end tokens included."""
    # The ratio's rounding error must not cost a token: 2.3 * 10 is 22.999999999999996.
    ratio = min(config.max_length_ratio * source_length, limit)
    greatest = min(max(math.floor(ratio + 1e-6) + config.max_length_offset, 1), limit)
    least = math.ceil(min(config.min_length_ratio * source_length, limit) - 1e-6)
    return min(max(least, 1), greatest), greatest


def _join(row: Sequence[Hypothesis], config: DecodingConfig) -> Hypothesis:
    """The hypotheses of a sentence's parts as one, with the end token of each part counted."""
    if len(row) == 1:
        return row[0]
    log_prob = sum(part.log_prob for part in row)
    length = sum(len(part.tokens) + 1 for part in row)
    tokens = tuple(token for part in row for token in part.tokens)
    return Hypothesis(tokens, log_prob, log_prob / length_penalty(length, config))


def _too_long(sentences: Sequence[tuple[int, int]], limit: int) -> str:
    (number, length), others = sentences[0], len(sentences) - 1
    more = f" (and {others} more are too long)" if others else ""
    return f"sentence {number} has {length} tokens{more}: the model takes {limit} (`model.max_length`)"
