"""Whether an exported model is the same model: ours and the other are given the same sentences, and compared.

Three things are compared, from the inside out: the log-probability of every token of given translations, which shows
any wrong weight; greedy search; and beam search. Two translations may differ for a tie: by our own model, both are
equally good, or in greedy search, their first tokens that differ are, and rounding decides. A quantised model is not
the same model, so its agreement is reported instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from seq2seq.checkpoint import LoadedRun
from seq2seq.config import Config, DecodingConfig
from seq2seq.data.corpus import read_corpus, read_lines
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.decoding.engine import Engine, Task, TorchEngine
from seq2seq.decoding.scoring import token_log_probs
from seq2seq.decoding.search import Hypothesis, in_power_form, length_penalty
from seq2seq.errors import DataError, ExportError
from seq2seq.evaluation import validation_score

TOLERANCE = 1e-3  # nats: of a token's log-probability, and of a hypothesis' score
QUANTISED_TOLERANCE = 0.5  # nats, mean over tokens: far over what rounding costs, far under what a wrong weight does
SENTENCES = 100
_LOG_PROBS = "log-probabilities of tokens"
_LONGEST = 100  # tokens of a sampled sentence
_LONG = 512  # tokens of the pair that shows far positions


class Foreign(Protocol):
    """A model in another engine."""

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Source ids with the final end token, by the exported tokenizer."""

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of target ids."""

    def log_probs(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> list[list[float]]:
        """The log-probability in nats of every token of targets that are there; both sides with the end token."""

    def search(
        self, sources: Sequence[Sequence[int]], config: DecodingConfig, max_length: int
    ) -> list[list[Hypothesis]]:
        """The engine's own search: hypotheses, best first; of `max_length` tokens at most, the end included."""


class Scorer(Engine, Protocol):
    """An engine that can also score translations that are there."""

    def log_probs(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> list[list[float]]:
        """The log-probability in nats of every token of targets that are there; both sides with the end token."""


class EngineModel:
    """One of our engines, with the tokenizer that was exported beside it, as a `Foreign` model."""

    def __init__(self, engine: Scorer, tokenizer: Tokenizer) -> None:
        self._engine, self._tokenizer = engine, tokenizer

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Source ids with the final end token."""
        return self._tokenizer.encode_source(texts)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of target ids."""
        return self._tokenizer.decode_target(tokens)

    def log_probs(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> list[list[float]]:
        """The log-probability in nats of every token of targets that are there."""
        return self._engine.log_probs(sources, targets)

    def search(
        self, sources: Sequence[Sequence[int]], config: DecodingConfig, max_length: int
    ) -> list[list[Hypothesis]]:
        """The hypotheses of the engine, best first."""
        return _search(self._engine, sources, config, max_length)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table of differences."""

    what: str
    compared: int
    equal: int | None = None
    ties: int = 0
    largest: float | None = None  # difference, in nats


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was compared, and what was found wrong."""

    rows: Sequence[Row]
    faults: Sequence[str]
    notes: Sequence[str] = ()

    def __str__(self) -> str:
        lines = [f"{'':<28}{'compared':>9}{'equal':>7}{'ties':>6}  largest difference"]
        for row in self.rows:
            equal = "" if row.equal is None else row.equal
            ties = "" if row.equal is None else row.ties
            largest = "" if row.largest is None else f"{row.largest:.1e}"
            lines.append(f"{row.what:<28}{row.compared:>9}{equal:>7}{ties:>6}  {largest}".rstrip())
        return "\n".join([*lines, *self.notes])


def verify(
    ours: LoadedRun,
    theirs: Foreign,
    sentences: Sequence[str],
    quantised: bool = False,
    references: Sequence[str] | None = None,
) -> Report:
    """Compare a model with ours on some sentences.

    Args:
        ours: the run that was exported.
        theirs: what it became.
        sentences: to translate; those too long for the model are left out.
        quantised: report agreement, and BLEU if there are references, instead of asking for equality.
        references: of the sentences, for the BLEU of a quantised model.

    Raises:
        ExportError: if no sentence is left to compare.
    """
    comparison = _Comparison(ours, theirs, sentences, references)
    return comparison.agreement() if quantised else comparison.equality()


def sample_sentences(loaded: LoadedRun, number: int = SENTENCES) -> list[str]:
    """Sentences to compare on: of the run's validation corpus, or if it is not there, made of random tokens."""
    corpus = _validation(loaded.config, number)
    if corpus:
        return corpus
    generator = np.random.default_rng(1)
    size = loaded.tokenizer.source_vocab_size
    longest = min(_LONGEST, loaded.config.model.max_length) // 2
    rows = (generator.integers(0, size, generator.integers(1, longest + 1)) for _ in range(number))
    texts = [loaded.tokenizer.decode_source([int(token) for token in row]).replace("\n", " ") for row in rows]
    return [text for text in texts if text.strip()]


def _validation(config: Config, number: int) -> list[str]:
    if config.data.validation is None or config.data.validation.dataset:  # the Hub is not asked for this
        return []
    try:
        pairs = read_corpus(config.data.validation, config.data.languages)
        return [pair.source for pair in islice(pairs, number)]
    except DataError:  # the run was moved without its data
        return []


def read_sentences(path: Path) -> list[str]:
    """The lines of a file to compare on, without blank ones.

    Raises:
        DataError: if it is missing or not UTF-8.
        ExportError: if nothing is in it.
    """
    lines = [line for line in read_lines(path) if line.strip()]
    if not lines:
        raise ExportError(f"{path}: no sentence to compare on; give a file of source sentences")
    return lines


class _Translated(NamedTuple):
    """The best translations of the same sources by both."""

    config: DecodingConfig
    sources: list[list[int]]
    ours: list[Hypothesis]
    theirs: list[Hypothesis]
    cut: list[bool]  # True where our search had to end at the greatest length, which engines do in several ways


class _Comparison:
    """Ours and theirs on the same sentences."""

    def __init__(
        self, ours: LoadedRun, theirs: Foreign, sentences: Sequence[str], references: Sequence[str] | None
    ) -> None:
        self.ours, self.theirs = ours, theirs
        limit = ours.config.model.max_length
        encoded = ours.tokenizer.encode_source(sentences)
        kept = [i for i, tokens in enumerate(encoded) if 1 < len(tokens) <= limit]
        if not kept:
            raise ExportError(f"no sentence to compare on: all are empty or over {limit} tokens; give others")
        self.texts, self.sources = [sentences[i] for i in kept], [encoded[i] for i in kept]
        self.references = [references[i] for i in kept] if references is not None else None
        self.max_length = min(limit, 2 * max(map(len, self.sources)) + 20)

    def equality(self) -> Report:
        """Ask for the same results, but for rounding and ties."""
        beam_size = max(self.ours.config.decoding.beam_size, 2)
        greedy, beam = self._translate(1), self._translate(beam_size)
        tokens, differences = self._tokens(), self._differences(greedy)
        largest = float(np.max(differences))  # which is not a number if one is not
        rows = [tokens, Row(what=_LOG_PROBS, compared=len(differences), largest=largest)]
        faults = self._cut_otherwise(tokens)
        if not largest <= TOLERANCE:  # nor not a number
            faults.append(f"log-probabilities differ by up to {largest:.2g} nats (allowed: {TOLERANCE:g})")
        notes = []
        for name, translated in (("greedy", greedy), (f"beam-{beam_size}", beam)):
            row = self._compare(f"{name} translations", translated)
            rows.append(row)
            if different := row.compared - (row.equal or 0) - row.ties:
                faults.append(f"{different} of {row.compared} {name} translations differ, and not for a tie")
            if row.largest is not None and not row.largest <= TOLERANCE:
                faults.append(f"scores of {name} search differ by up to {row.largest:.2g} (allowed: {TOLERANCE:g})")
            if cut := sum(translated.cut):
                notes.append(f"{name}: without {cut} that our search had to end at {self.max_length} tokens")
        return Report(rows=rows, faults=faults, notes=notes)

    def agreement(self) -> Report:
        """Say how near a quantised model comes; refuse only what cannot be rounding."""
        beam_size = self.ours.config.decoding.beam_size
        # Of CTranslate2, as many hypotheses as beams are asked for, which a smaller patience would not let it find.
        translated = self._translate(beam_size, max(self.ours.config.decoding.patience, 1.0))
        tokens, differences = self._tokens(), self._differences(translated)
        faults, mean = self._cut_otherwise(tokens), float(np.mean(differences))
        if not mean <= QUANTISED_TOLERANCE:
            faults.append(f"log-probabilities differ by {mean:.2g} nats on average (allowed: {QUANTISED_TOLERANCE:g})")
        row = replace(self._compare(f"beam-{beam_size} translations", translated), largest=None)
        ours = [self.ours.tokenizer.decode_target(found.tokens) for found in translated.ours]
        theirs = [self.theirs.decode(found.tokens) for found in translated.theirs]
        language = self.ours.config.data.target_language
        agreement = validation_score(theirs, ours, "bleu", language)
        notes = [f"log-probabilities differ by {mean:.3f} nats on average", f"BLEU against our output: {agreement:.2f}"]
        if self.references is not None:
            before, after = (validation_score(texts, self.references, "bleu", language) for texts in (ours, theirs))
            notes.append(f"BLEU: {after:.2f}, ours: {before:.2f} ({after - before:+.2f})")
        log_probs = Row(what=_LOG_PROBS, compared=len(differences), largest=float(np.max(differences)))
        return Report(rows=[tokens, log_probs, row], faults=faults, notes=notes)

    def _tokens(self) -> Row:
        theirs = self.theirs.encode(self.texts)
        equal = sum(mine == other for mine, other in zip(self.sources, theirs, strict=True))
        return Row(what="sentences as tokens", compared=len(self.texts), equal=equal)

    @staticmethod
    def _cut_otherwise(tokens: Row) -> list[str]:
        different = tokens.compared - (tokens.equal or 0)
        return [f"{different} of {tokens.compared} sentences are cut into other tokens"] if different else []

    def _differences(self, translated: _Translated) -> list[float]:
        """How far the log-probabilities of tokens lie apart, for our translations and one very long pair."""
        end = self.ours.tokenizer.eos_id
        long_source, long_target = self._long_pair()
        sources = [*translated.sources, long_source]
        targets = [*([*found.tokens, end] for found in translated.ours), long_target]
        ours = token_log_probs(self.ours.model, self.ours.tokenizer, sources, targets)
        theirs = self.theirs.log_probs(sources, targets)
        pairs = zip(ours, theirs, strict=True)
        return [abs(float(x) - y) for mine, other in pairs for x, y in zip(mine, other, strict=True)]

    def _long_pair(self) -> tuple[list[int], list[int]]:
        """All the sentences in a row, as long as the model takes, so that far positions are compared too."""
        end = self.ours.tokenizer.eos_id
        length = min(self.ours.config.model.max_length, _LONG) - 1
        row = [token for source in self.sources for token in source[:-1]]
        row = (row * (length // len(row) + 1))[:length]
        ordinary = {*range(self.ours.tokenizer.target_vocab_size)} - {*self.ours.tokenizer.never_output, end}
        return [*row, end], [*(token if token in ordinary else min(ordinary) for token in row), end]

    def _translate(self, beam_size: int, patience: float = 1.0) -> _Translated:
        config = replace(
            self.ours.config.decoding, beam_size=beam_size, n_best=1, sample=False, min_length_ratio=0.0,
            no_repeat_ngram=0, patience=patience, precision="float32", shortlist=False,
        )  # fmt: skip
        config = in_power_form(config)  # which is all that others have
        engine = TorchEngine(self.ours.model, self.ours.tokenizer)
        ours = _search(engine, self.sources, config, self.max_length)
        cut = [any(len(each.tokens) + 1 >= self.max_length for each in hypotheses) for hypotheses in ours]
        theirs = self.theirs.search(self.sources, config, self.max_length)
        return _Translated(config, self.sources, [best for best, *_ in ours], [best for best, *_ in theirs], cut)

    def _compare(self, what: str, translated: _Translated) -> Row:
        everything = zip(translated.sources, translated.ours, translated.theirs, translated.cut, strict=True)
        both = [(source, mine, other) for source, mine, other, cut in everything if not cut]
        scores = [abs(mine.score - other.score) for _, mine, other in both if mine.tokens == other.tokens]
        unequal = [entry for entry in both if entry[1].tokens != entry[2].tokens]
        largest = float(np.max(scores)) if scores else None
        ties = self._ties(unequal, translated.config)
        return Row(what=what, compared=len(both), equal=len(scores), ties=ties, largest=largest)

    def _ties(self, unequal: Sequence[tuple[list[int], Hypothesis, Hypothesis]], config: DecodingConfig) -> int:
        """How many sources have two translations that our model finds equally good: rounding may choose either.

        In greedy search, they need be so at the first token that differs alone; what follows is another sentence.
        """
        end = self.ours.tokenizer.eos_id
        sources = [source for source, _, _ in unequal]
        targets = ([[*mine.tokens, end] for _, mine, _ in unequal], [[*other.tokens, end] for _, _, other in unequal])
        log_probs = [token_log_probs(self.ours.model, self.ours.tokenizer, sources, side) for side in targets]
        ties = 0
        for mine, other, our_log_probs, their_log_probs in zip(*targets, *log_probs, strict=True):
            ours, theirs = (
                sum(values) / length_penalty(len(values), config) for values in (our_log_probs, their_log_probs)
            )
            first = next(i for i, (one, another) in enumerate(zip(mine, other, strict=False)) if one != another)
            step = abs(our_log_probs[first] - their_log_probs[first])
            ties += bool(abs(ours - theirs) <= TOLERANCE or (config.beam_size == 1 and step <= TOLERANCE))
        return ties


def _search(
    engine: Engine, sources: Sequence[Sequence[int]], config: DecodingConfig, max_length: int
) -> list[list[Hypothesis]]:
    tasks = [Task(list(source), 1, max_length, ()) for source in sources]
    found: list[list[Hypothesis]] = []
    for start in range(0, len(tasks), config.batch_size):
        found += engine.search(tasks[start : start + config.batch_size], config)
    return found
