"""From corpora to the batches of each step, the same on every machine and after every resume."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from seq2seq.config import Config
from seq2seq.data.batching import Batch, Examples, Ints, TokenSequences, make_batch, plan_batches
from seq2seq.data.corpus import SentencePair, read_corpus
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.errors import DataError
from seq2seq.training.distributed import Processes


class Position(NamedTuple):
    """How far training has come in the data: `batches` of `epoch` are used up."""

    epoch: int = 0
    batches: int = 0


class StepBatches(NamedTuple):
    """What one process works through in one step."""

    batches: list[Batch]  # its micro-batches
    num_target_tokens: int  # of the whole step, over all processes
    position: Position  # after the step


def read_pairs(config: Config, counts: Counter[str] | None = None) -> Iterator[SentencePair]:
    """The pairs of all training corpora, one corpus after another."""
    languages = (config.data.source_language, config.data.target_language)
    for corpus in config.data.train:
        yield from read_corpus(corpus, languages, counts)


def tokenize(pairs: Sequence[SentencePair], tokenizer: Tokenizer, sampling: float = 0.0, seed: int = 0) -> Examples:
    """Token ids of sentence pairs; with `sampling`, of one random segmentation each."""
    return Examples(
        TokenSequences.of(tokenizer.encode_source([pair.source for pair in pairs], sampling, 2 * seed)),
        TokenSequences.of(tokenizer.encode_target([pair.target for pair in pairs], sampling, 2 * seed + 1)),
    )


class Feed:
    """The endless row of steps over a training corpus; epochs follow one another without a gap."""

    def __init__(self, config: Config, tokenizer: Tokenizer, group: Processes) -> None:
        """Read and tokenise the training corpora.

        Raises:
            DataError: if no training pair is left.
        """
        self._training = config.training
        self._tokenizer = tokenizer
        self._group = group
        self.counts: Counter[str] = Counter()
        pairs: list[SentencePair] = []
        corpora: list[int] = []  # of each pair
        for number, corpus in enumerate(config.data.train):
            pairs += read_corpus(corpus, (config.data.source_language, config.data.target_language), self.counts)
            corpora += [number] * (len(pairs) - len(corpora))
        self._plain = tokenize(pairs, tokenizer)
        fits = self._plain.lengths <= config.data.max_length
        self.counts["too_long"] = int((~fits).sum())
        self._longest = config.model.max_length
        if self.counts["too_long"]:
            pairs = [pair for pair, keep in zip(pairs, fits.tolist(), strict=True) if keep]
            self._plain = Examples(self._plain.source.where(fits), self._plain.target.where(fits))
        if not pairs:
            read, long = self.counts["read"], self.counts["too_long"]
            raise DataError(f"`data.train`: no usable pair ({read} read, {long} too long); check the corpora")
        self._weights = [corpus.weight for corpus in config.data.train]
        self._corpora = np.array(corpora)[fits] if set(self._weights) != {1.0} else None
        self._pairs = pairs if self._training.subword_sampling else []  # text is only kept where it is needed again
        self._epoch = -1
        self._examples = self._plain
        self._plan: list[Ints] = []

    def __len__(self) -> int:
        return len(self._plain)

    @property
    def examples(self) -> Examples:
        """The training pairs, each in its best segmentation."""
        return self._plain

    def step(self, position: Position) -> StepBatches:
        """The batches of the step that begins at a position.

        Each step takes `accumulate * processes` batches of the plan; process r takes every one whose number is r,
        counted round. So a step is the same however its batches are divided, and all processes make equal steps.
        """
        mine: list[Batch] = []
        num_tokens = 0
        for number in range(self._training.accumulate * self._group.size):
            self._load(position.epoch)
            if position.batches >= len(self._plan):  # resumed with settings that give an epoch fewer batches
                position = Position(position.epoch + 1, 0)
                self._load(position.epoch)
            indices = self._plan[position.batches]
            num_tokens += int(self._examples.target.lengths[indices].sum())
            if number % self._group.size == self._group.rank:
                tokenizer = self._tokenizer
                mine.append(make_batch(self._examples, indices, tokenizer.pad_id, tokenizer.start_id))
            position = Position(position.epoch, position.batches + 1)
            if position.batches == len(self._plan):
                position = Position(position.epoch + 1, 0)
        return StepBatches(mine, num_tokens, position)

    def _load(self, epoch: int) -> None:
        """Make the examples and the plan of an epoch, if they are not at hand."""
        if epoch == self._epoch:
            return
        seed = self._training.seed
        if self._training.subword_sampling:
            self._examples = self._sample(seed + 1_000_003 * epoch)
        self._plan = plan_batches(self._examples, self._training.batch_tokens, seed, epoch, self._choose(epoch))
        if not self._plan:
            raise DataError("`data.train`: no pair is drawn in an epoch; raise the `weight` of a corpus")
        self._epoch = epoch

    def _choose(self, epoch: int) -> Ints | None:
        """The examples of an epoch, each corpus by its weight; None where each example comes once."""
        if self._corpora is None:
            return None
        chosen = []
        for number, weight in enumerate(self._weights):
            own = np.flatnonzero(self._corpora == number)
            whole, part = int(weight), weight - int(weight)
            # From 1: numpy takes (seed, epoch, 0) for (seed, epoch), which shuffles the epoch.
            generator = np.random.default_rng((self._training.seed, epoch, number + 1))
            chosen += [own] * whole + [generator.permutation(own)[: round(part * len(own))]]
        return np.concatenate(chosen)

    def _sample(self, seed: int) -> Examples:
        """One random segmentation of every pair; the plain one where the random one is longer than the model takes."""
        sampled = tokenize(self._pairs, self._tokenizer, self._training.subword_sampling, seed)
        return Examples(
            _shortened(sampled.source, self._plain.source, self._longest),
            _shortened(sampled.target, self._plain.target, self._longest),
        )


def _shortened(sampled: TokenSequences, plain: TokenSequences, longest: int) -> TokenSequences:
    if not (sampled.lengths > longest).any():
        return sampled
    rows = (random if len(random) <= longest else whole for random, whole in zip(sampled, plain, strict=True))
    return TokenSequences.of([row.tolist() for row in rows])
