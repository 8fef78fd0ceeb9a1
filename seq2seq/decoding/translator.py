"""Text in, text out: tokenises, batches, searches, and puts everything back into the order of the input."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seq2seq.config import DecodingConfig
from seq2seq.data.batching import cut_batches
from seq2seq.data.tags import tag_of, without_tag
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.decoding.candidates import CandidateEngine
from seq2seq.decoding.engine import Engine, EngineName, Task, TorchEngine
from seq2seq.decoding.loading import LoadedEngine, load_ensemble, load_reverse
from seq2seq.decoding.reranking import ReverseModel, beyond_the_model, reweighted
from seq2seq.decoding.search import Hypothesis, length_penalty
from seq2seq.decoding.splitting import join_texts, split_text
from seq2seq.decoding.streaming import as_they_come
from seq2seq.decoding.workers import Workers
from seq2seq.errors import DecodingError, TokenizerError
from seq2seq.model.transformer import Transformer

Progress = Callable[[int], object]  # is called with the number of sentences done since the last call

_LOG = logging.getLogger(__name__)
_BATCHES_IN_CHUNK = 16  # of a stream: enough to sort by length, few enough that output is not long in coming
_BATCHES_OF_WORKER = 4  # in a chunk, at the end of which workers wait for each other


@dataclass(frozen=True, slots=True)
class Translation:
    """A translated sentence."""

    source: str
    text: str
    # n_best of them, best first; the i-th of a text that was split is of the i-th of each part; none if it is blank
    hypotheses: tuple[Hypothesis, ...] = ()
    n_best: tuple[str, ...] = ()  # the text of each hypothesis


class Translator:
    """Translates raw text with a model, or another engine, and its tokenizer.

    What comes out for a sentence depends on that sentence and the settings (and in sampling on its place in the input),
    not on the sentences beside it or the size of batches; but in int8 and with shortlists, where a batch is rounded and
    has its tokens chosen as a whole, and samples of CTranslate2, which are others each time. A model works on the
    device that it is on.

    Attributes:
        engine, tokenizer: what it translates with.
        config: decoding settings where a call gives none.
    """

    def __init__(
        self,
        model: Transformer | Engine,
        tokenizer: Tokenizer,
        config: DecodingConfig | None = None,
        reverse: ReverseModel | None = None,
        longest: int | None = None,
    ) -> None:
        """Translate with an engine, or with a model, which is put into evaluation mode (no dropout).

        Args:
            model: what finds hypotheses.
            tokenizer: its tokenizer.
            config: how to search.
            reverse: a model that chooses among the candidates that are found (see `reranking`).
            longest: source tokens that are translated at once; by itself, as many as the model takes. `of` has what the
                model was trained on, beyond which translations lack parts.
        """
        self.engine: Engine = TorchEngine(model, tokenizer) if isinstance(model, Transformer) else model
        self.tokenizer = tokenizer
        self.config = config or DecodingConfig()
        self._longest = min(longest or self.engine.max_length, self.engine.max_length)
        self._chooser = CandidateEngine(self.engine, tokenizer, reverse)
        self._workers = Workers(self._chooser)

    @classmethod
    def load(
        cls,
        run: Path | str,
        device: str = "auto",
        engine: EngineName = "torch",
        *,
        ensemble: Sequence[Path | str] = (),
        rerank_by: Path | str | None = None,
    ) -> Translator:
        """A translator from a run directory (as `resolve` has it) or one checkpoint, with the run's settings.

        Args:
            run: also, for the engines `ctranslate2` and `onnx`, a folder that `seq2seq export` made for it.
            device: `auto`, `cpu`, `cuda` or `cuda:N`.
            engine: what computes; but for ties, all give the same translations.
            ensemble: more runs or checkpoints, with whose probabilities those of the run are averaged.
            rerank_by: a run that translates back, to choose among the candidates, in place of the run's own MBR.

        Raises:
            CheckpointError, TokenizerError: if something is missing, damaged, or does not fit.
            ConfigError: if this machine has no such device.
            DecodingError: if the engine is not installed, the runs of an ensemble do not share a tokenizer, or the run
                to rerank by translates other languages.
        """
        loaded = load_ensemble([run, *ensemble], device, engine)
        if rerank_by is None:
            return cls.of(loaded, loaded.config.decoding)
        decoding = loaded.config.decoding
        decoding = replace(decoding, mbr="off", beam_size=max(decoding.beam_size, decoding.n_best))
        return cls.of(loaded, decoding, load_reverse(rerank_by, loaded.config, device))

    @classmethod
    def of(cls, loaded: LoadedEngine, config: DecodingConfig, reverse: ReverseModel | None = None) -> Translator:
        """A translator of what was loaded, which translates texts that are longer than training text in parts."""
        return cls(loaded.engine, loaded.tokenizer, config, reverse, loaded.config.data.max_length)

    def check(self, config: DecodingConfig | None = None) -> None:
        """Refuse settings with which nothing could be translated, whatever the texts.

        Raises:
            DecodingError: if the engine does not know a setting.
            TokenizerError: if the `tag` of the settings is no piece of the vocabulary.
        """
        config = config or self.config
        self._chooser.check(config)
        if config.tag:
            self.tokenizer.check_tag(config.tag)

    def translate(
        self, texts: Iterable[str], config: DecodingConfig | None = None, progress: Progress | None = None
    ) -> list[Translation]:
        """Translate sentences; a blank one is translated by an empty text.

        Raises:
            DecodingError: if a sentence is too long to be translated at once and `too_long` is "refuse".
            TokenizerError: if the `tag` of the settings is no piece of the vocabulary.
        """
        if isinstance(texts, str):
            raise DecodingError(f"translate({texts[:40]!r}): got a text; give a list of sentences, translate([text])")
        return self._translate(list(texts), 0, config or self.config, progress)

    def translate_by_weights(
        self, texts: Sequence[str], weights: Sequence[float], progress: Progress | None = None
    ) -> list[list[Translation]]:
        """For each of several weights of the reverse model what `translate` gives with it; there is one search for all.

        Raises:
            ConfigError: if a weight is out of bounds.
            DecodingError, TokenizerError: as `translate`.
        """
        settings = [replace(self.config, reverse_weight=weight) for weight in weights]
        plain = replace(self.config, reverse_weight=0.0)
        found = self._hypotheses(texts, 0, plain, progress)
        return [
            [
                self._assemble(text, [reweighted(part, config.reverse_weight) for part in parts], config)
                for text, parts in zip(texts, found, strict=True)
            ]
            for config in settings
        ]

    def stream(
        self, lines: Iterable[str], config: DecodingConfig | None = None, *, from_file: bool = False
    ) -> Iterator[Translation]:
        """Translate sentences while they arrive, in order: one by one, or many at once when they pile up.

        Memory does not grow with the input. The result is that of `translate`, but for what a batch shares. If all
        lines are there already, `from_file`, batches do not depend on how fast they are read.

        Raises:
            DecodingError: as `translate`; and whatever reading the lines raises.
        """
        config = config or self.config
        done = 0
        batches = max(_BATCHES_IN_CHUNK, _BATCHES_OF_WORKER * self.engine.workers)
        with closing(as_they_come(lines, batches * config.batch_size, full=from_file)) as chunks:
            for chunk in chunks:
                yield from self._translate(chunk, done, config, None)
                done += len(chunk)

    def _translate(
        self, texts: Sequence[str], first: int, config: DecodingConfig, progress: Progress | None
    ) -> list[Translation]:
        """Translate texts, of which the first is sentence number `first` of the input, counted from 0."""
        found = self._hypotheses(texts, first, config, progress)
        return [self._assemble(text, parts, config) for text, parts in zip(texts, found, strict=True)]

    def _hypotheses(
        self, texts: Sequence[str], first: int, config: DecodingConfig, progress: Progress | None
    ) -> list[list[list[Hypothesis]]]:
        """Of each text, for each of its parts, what is found, best first."""
        self.check(config)
        parts = self._parts(texts, first, config)
        if progress is not None:
            progress(len(texts) - len({part.sentence for part in parts}))  # the blank ones
        found: list[list[list[Hypothesis]]] = [[] for _ in texts]
        for part, hypotheses in zip(parts, self._search_all(parts, config, progress), strict=True):
            found[part.sentence - first].append(hypotheses)
        return found

    def _parts(self, texts: Sequence[str], first: int, config: DecodingConfig) -> list[_Part]:
        """The tokens of all texts but the blank ones; too long a text is split, or refused."""
        limit = self._longest
        parts: list[_Part] = []
        too_long: list[tuple[int, int]] = []  # number, from 1, and length in tokens
        nothing = len(self.tokenizer.encode_source([config.tag])[0])  # tokens: those of the tag, and the end
        for i, (text, tokens) in enumerate(zip(texts, self._encode(texts, config.tag), strict=True)):
            if not text.strip() or len(tokens) <= nothing:
                continue
            if len(tokens) <= limit:
                bare = without_tag(text) if self._language_in(text) else text  # which a reverse model never saw
                parts.append(_Part(first + i, 0, tokens, bare.removesuffix("\r")))
                continue
            too_long.append((first + i + 1, len(tokens)))
            if config.too_long == "refuse":
                raise DecodingError(f"{self._told(too_long)}; shorten it, or set `decoding.too_long` = 'split'")
            parts += self._split(text, first + i, config.tag)
        if too_long:
            _LOG.warning("%s; translated in parts", self._told(too_long))
        return parts

    def _told(self, too_long: Sequence[tuple[int, int]]) -> str:
        """What is said of sentences, each by its number and length."""
        (number, length), others = too_long[0], len(too_long) - 1
        more = f" (and {others} more are too long)" if others else ""
        takes = f"the model takes {self._longest} (`model.max_length`)"
        if self._longest < self.engine.max_length:
            takes = f"the model was trained on at most {self._longest} (`data.max_length`)"
        return f"sentence {number} has {length} tokens{more}: {takes}"

    def _encode(self, texts: Sequence[str], tag: str) -> list[list[int]]:
        # Line ends of Windows are cut off training text too, when it is prepared.
        texts = [text.removesuffix("\r") for text in texts]
        return self.tokenizer.encode_source([f"{tag} {text}" for text in texts] if tag else texts)

    def _language_in(self, text: str) -> str:
        """The tag of a language that a text begins with and the vocabulary has as one piece; empty if there is none."""
        tag = tag_of(text)
        if not tag.startswith(("<2", ">>")):
            return ""
        try:
            self.tokenizer.check_tag(tag)
        except TokenizerError:
            return ""
        return tag

    def _split(self, text: str, sentence: int, tag: str) -> list[_Part]:
        limit = self.engine.max_length
        if not tag and (tag := self._language_in(text)):
            text = without_tag(text)
        texts = split_text(text, lambda part: len(self._encode([part], tag)[0]) <= self._longest)
        encoded = zip(self._encode(texts, tag), texts, strict=True)
        parts = [_Part(sentence, i, tokens, part_text) for i, (tokens, part_text) in enumerate(encoded)]
        for part in parts:
            if len(part.tokens) > limit:
                raise DecodingError(
                    f"sentence {sentence + 1}: the character {part.text!r} alone has {len(part.tokens)} tokens: the "
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
        batch_size = self._chooser.batch_size(config)
        batches = [order[batch] for batch in cut_batches(lengths[order], config.batch_tokens, batch_size)]
        limit = self.engine.max_length
        tasks = [[parts[i].task(limit, config) for i in batch] for batch in batches]
        for batch, results in zip(batches, self._workers.search(tasks, config), strict=True):
            for i, hypotheses in zip(batch, results, strict=True):
                found[i] = hypotheses
            waiting.subtract(parts[i].sentence for i in batch)
            if progress is not None:
                progress(len({parts[i].sentence for i in batch if not waiting[parts[i].sentence]}))
        return found

    def _assemble(self, source: str, parts: Sequence[list[Hypothesis]], config: DecodingConfig) -> Translation:
        """The translation of a sentence from the hypotheses of each of its parts."""
        if not parts:
            return Translation(source, "")
        joined = []
        for row in list(zip(*parts, strict=False))[: config.n_best]:  # the i-th best of each part
            text = join_texts([self.tokenizer.decode_target(part.tokens) for part in row])
            joined.append((_join(row, config), text))
        hypotheses, n_best = zip(*joined, strict=True)
        return Translation(source, n_best[0], hypotheses, n_best)


class _Part(NamedTuple):
    """What is translated at once: a sentence, or a part of one that is too long."""

    sentence: int  # place in the input
    number: int  # among the parts of the sentence
    tokens: list[int]  # with the final end token
    text: str

    def task(self, limit: int, config: DecodingConfig) -> Task:
        """The part as an engine takes it; `limit` is the engine's greatest length."""
        seed = (config.seed % 2**64, self.sentence, self.number)
        return Task(self.tokens, *_lengths(len(self.tokens), limit, config), seed, self.text)


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
    if config.mbr != "off":
        return Hypothesis(tokens, log_prob, sum(part.score for part in row) / len(row))
    reverse_score = None
    if row[0].reverse_score is not None:
        reverse_score = sum(part.reverse_score or 0.0 for part in row) / len(row)
    score = log_prob / length_penalty(length, config) + beyond_the_model(length, reverse_score, config)
    return Hypothesis(tokens, log_prob, score, reverse_score)

