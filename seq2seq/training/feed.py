"""From tokens on disk to the batches of each step, the same on every machine and after every resume.

An epoch takes *runs* of contiguous pairs, of all corpora, in random order, and divides them into *pools*. The pairs of
a pool are read, shuffled, sorted by length and cut into batches, and these are shuffled. So only a pool is in memory,
and a position needs no more than its own pool. A small corpus is one run, and all small corpora are one pool.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from seq2seq.config import Config
from seq2seq.data.batching import Batch, Examples, Ints, TokenSequences, make_batch, plan_batches
from seq2seq.data.corpus import SentencePair, read_corpus
from seq2seq.data.noise import noisy
from seq2seq.data.token_store import TokenStore
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.errors import DataError
from seq2seq.training.distributed import Processes
from seq2seq.training.mixture import refuse_parts_without_pairs, weights_in

RUN_PAIRS = 1000
POOL_TOKENS = 2**24  # of both sides: 64 MB, some 300,000 pairs
SAMPLED_POOL_TOKENS = 2**21  # where every pair is segmented anew, which takes much longer than all else


class Position(NamedTuple):
    """How far training has come in the data: `batches` of a pool of an epoch are used up, and all pools before it."""

    epoch: int = 0
    batches: int = 0
    pool: int = 0

    @property
    def next_epoch(self) -> Position:
        """Where an epoch begins: here, or after what is left of this one."""
        return self if self == Position(self.epoch) else Position(self.epoch + 1)


class StepBatches(NamedTuple):
    """What one process works through in one step."""

    batches: list[Batch]  # its micro-batches, or its shares of them, if there is something for it
    num_target_tokens: int  # of the whole step, over all processes
    position: Position  # after the step


class Run(NamedTuple):
    """Contiguous pairs of one corpus, of which an epoch takes a share."""

    number: int  # in the epoch: a pair that comes twice comes in two runs
    corpus: int
    start: int
    stop: int
    share: float


class _Pool(NamedTuple):
    """Pairs in memory, and the batches that they make."""

    examples: Examples
    plan: list[Ints]
    target_tokens: list[int]  # of each batch


_NOTHING = _Pool(Examples.joined([]), [], [])


def read_pairs(config: Config, counts: Counter[str] | None = None) -> Iterator[SentencePair]:
    """The pairs of all training corpora, one corpus after another."""
    for corpus in config.data.train:
        yield from read_corpus(corpus, config.data.languages, counts)


def tokenize(pairs: Sequence[SentencePair], tokenizer: Tokenizer, sampling: float = 0.0, seed: int = 0) -> Examples:
    """Token ids of sentence pairs; with `sampling`, of one random segmentation each."""
    return Examples(
        TokenSequences.of(tokenizer.encode_source([pair.source for pair in pairs], sampling, 2 * seed)),
        TokenSequences.of(tokenizer.encode_target([pair.target for pair in pairs], sampling, 2 * seed + 1)),
    )


class Feed:
    """The endless row of steps over the training corpora; epochs follow one another without a gap."""

    def __init__(self, config: Config, tokenizer: Tokenizer, group: Processes, stores: Sequence[TokenStore]) -> None:
        """Begin with the tokens of each training corpus, as `open_stores` finds them.

        Raises:
            DataError: if no training pair is left.
        """
        self._training = config.training
        self._is_in_last_part = self._minimises_risk = False
        self._tokenizer = tokenizer
        self._tags = {*tokenizer.user_symbols, *(corpus.tag for corpus in config.data.train if corpus.tag)}
        self._group = group
        self._stores = stores
        self._data, self._noise, self._segments_anew = config.data, config.noise, config.segments_anew
        self._max_length, self._longest = config.data.max_length, config.model.max_length
        self._size = sum(store.fitting(self._max_length) for store in stores)
        self.counts: Counter[str] = sum((store.counts for store in stores), Counter())
        self.counts["too_long"] = sum(map(len, stores)) - self._size
        if not self._size:
            read, long = self.counts["read"], self.counts["too_long"]
            raise DataError(f"`data.train`: no usable pair ({read} read, {long} too long); check the corpora")
        sizes = [store.fitting(self._max_length) for store in stores]
        refuse_parts_without_pairs(config.data, config.training.minimum_risk > 0, sizes)
        self._epoch, self._runs = -1, [[Run(0, 0, 0, 0, 1.0)]]
        self._at, self._pool = (-1, 0), _NOTHING

    def __len__(self) -> int:
        return self._size

    def sample(self) -> Examples:
        """Training pairs, each in its best segmentation: all, or as many as a pool holds, drawn at random."""
        pools = pools_of(self._stores, [1.0] * len(self._stores), POOL_TOKENS, self._training.seed, 0)
        return Examples.joined([self._read(run, 0)[1] for run in pools[0]])

    def step(self, position: Position) -> StepBatches:
        """The batches of the step that begins at a position.

        Each step takes `accumulate * processes` batches of the plan; process r takes every one whose number is r,
        counted round. So a step is the same however its batches are divided, and all processes make equal steps.
        Processes that share batches take `accumulate`, and process r every pair whose number in the batch is r, counted
        round.
        """
        mine: list[Batch] = []
        num_tokens = 0
        rank, size, sharing = self._group.rank, self._group.size, self._group.share_batches
        for number in range(self._training.accumulate * (1 if sharing else size)):
            position = self._load(position)
            pool, place = self._pool, position.batches
            rows = pool.plan[place]
            num_tokens += pool.target_tokens[place]
            if sharing and len(rows[rank::size]):
                mine.append(self._batch(rows[rank::size]))
            elif not sharing and number % size == rank:
                mine.append(self._batch(rows))
            position = position._replace(batches=place + 1)
            if position.batches == len(pool.plan):
                position = self._next_pool(position)
        return StepBatches(mine, num_tokens, position)

    def begin_part(self, is_last: bool, minimises_risk: bool) -> None:
        """From now on, which is to be a new epoch, have the batches and the weights of a part of training."""
        self._is_in_last_part, self._minimises_risk = is_last, minimises_risk
        self._epoch, self._at, self._pool = -1, (-1, 0), _NOTHING

    def _batch(self, rows: Ints) -> Batch:
        return make_batch(self._pool.examples, rows, self._tokenizer.pad_id, self._tokenizer.start_id)

    def _next_pool(self, position: Position) -> Position:
        more = position.pool + 1 < len(self._runs_of(position.epoch))
        return Position(position.epoch, 0, position.pool + 1) if more else Position(position.epoch + 1)

    def _load(self, position: Position) -> Position:
        """Have the pool of a position at hand; the position of the next batch, in that pool or a later one.

        A pool may have no batch: of a corpus with a small weight, or after a resume with settings that give it fewer.
        """
        empty = 0
        while True:
            pools = self._runs_of(position.epoch)
            if position.pool < len(pools):
                if self._at != (position.epoch, position.pool):
                    self._pool = _NOTHING  # makes room
                    self._pool = self._make_pool(pools[position.pool], position.epoch, position.pool)
                    self._at = position.epoch, position.pool
                if position.batches < len(self._pool.plan):
                    return position
                empty += not self._pool.plan
            if empty > len(pools):
                raise DataError("`data.train`: no pair is drawn in an epoch; raise the `weight` of a corpus")
            position = self._next_pool(position)

    def _runs_of(self, epoch: int) -> list[list[Run]]:
        """The runs of each pool of an epoch: which pairs an epoch takes is decided here and in `_read`, by shares."""
        if epoch != self._epoch:
            size = SAMPLED_POOL_TOKENS if self._segments_anew else POOL_TOKENS
            sizes = [len(store) for store in self._stores]
            weights = weights_in(epoch, self._data, sizes, self._is_in_last_part, self._minimises_risk)
            self._runs = pools_of(self._stores, weights, size, self._training.seed, epoch)
            self._epoch = epoch
        return self._runs

    def _make_pool(self, runs: Sequence[Run], epoch: int, pool: int) -> _Pool:
        examples = Examples.joined([self._segmented(run, epoch) for run in runs])
        seed = (self._training.seed, epoch, 0, pool) if pool else (self._training.seed, epoch)
        training = self._training
        tokens = training.batch_tokens_of_risk if self._minimises_risk else training.batch_tokens
        plan = plan_batches(examples, tokens, *seed)
        lengths = examples.target.lengths
        return _Pool(examples, plan, [int(lengths[batch].sum()) for batch in plan])

    def _read(self, run: Run, epoch: int) -> tuple[Ints, Examples]:
        """The rows of a run that an epoch takes, and what is there: none that is too long, and of the rest a share."""
        store = self._stores[run.corpus]
        rows = run.start + np.flatnonzero(store.lengths(run.start, run.stop) <= self._max_length)
        if run.share < 1:
            # From 1: numpy takes (seed, epoch, 0) for (seed, epoch), which shuffles the epoch.
            generator = np.random.default_rng((self._training.seed, epoch, run.corpus + 1, run.start))
            rows = np.sort(generator.permutation(rows)[: round(run.share * len(rows))])
        return rows, store.read(rows)

    def _segmented(self, run: Run, epoch: int) -> Examples:
        """A run as an epoch sees it: in its best segmentation, or with noise, or with subword sampling in a random one.

        The only place where training makes ids of text again. They are a function of the seed, the epoch and the run;
        where the model does not take as many, the best segmentation of the plain text stays.
        """
        rows, plain = self._read(run, epoch)
        if not self._segments_anew:
            return plain
        tags, seed = self._tags, self._training.seed
        numbers = (int(row) + (run.number << 32) for row in rows)  # a pair that comes twice has different noise
        pairs = [
            noisy(pair, self._noise, seed, epoch, number, tags)
            for pair, number in zip(self._stores[run.corpus].pairs(rows), numbers, strict=True)
        ]
        seed += 1_000_003 * epoch + (run.number << 64)
        sampled = tokenize(pairs, self._tokenizer, self._training.subword_sampling, seed)
        return Examples(
            _shortened(sampled.source, plain.source, self._longest),
            _shortened(sampled.target, plain.target, self._longest),
        )


def pools_of(
    stores: Sequence[TokenStore], weights: Sequence[float], pool_tokens: int, seed: int, epoch: int
) -> list[list[Run]]:
    """Divide the runs of an epoch, in random order, into pools of about as many tokens, some `pool_tokens` at most.

    A corpus that fits into one pool with all others is one run: nothing needs shuffling before the pool is.

    Args:
        stores: the tokens of each corpus.
        weights: how often a pair of each corpus comes; for the fraction, runs are drawn, the last one in part.
        pool_tokens: tokens of both sides.
        seed: of the order, with the epoch.
        epoch: the number of the epoch.
    """
    total = sum(weight * store.num_tokens for weight, store in zip(weights, stores, strict=True))
    runs: list[Run] = []
    for corpus, (weight, store) in enumerate(zip(weights, stores, strict=True)):
        # A large corpus of a small weight is in runs too, of which only those are read that are drawn.
        length = RUN_PAIRS if max(total, store.num_tokens) > pool_tokens else max(len(store), 1)
        drawn = _drawn(weight % 1, len(store), length, (seed, epoch, corpus + 1, 0, 1)) if weight % 1 else {}
        for start in range(0, len(store), length):
            stop = min(start + length, len(store))
            shares = [1.0] * int(weight) + ([drawn[start]] if start in drawn else [])
            runs += [Run(len(runs) + i, corpus, start, stop, share) for i, share in enumerate(shares)]
    if total <= pool_tokens:
        return [runs]
    order = np.random.default_rng((seed, epoch, 0, 0, 1)).permutation(len(runs))
    pools = min(-int(-total // pool_tokens), len(runs))
    # Within a pool in the order of the disk.
    return [[runs[i] for i in sorted(part.tolist())] for part in np.array_split(order, pools)]


def _drawn(fraction: float, size: int, length: int, seed: Sequence[int]) -> dict[int, float]:
    """Where the runs begin that make up a fraction of `size` pairs, at random, and what share of each is taken."""
    left = round(fraction * size)
    drawn: dict[int, float] = {}
    for number in np.random.default_rng(seed).permutation(-(-size // length)).tolist():
        if left <= 0:
            break
        start = number * length
        pairs = min(length, size - start)
        drawn[start] = min(1.0, left / pairs)
        left -= pairs
    return drawn


def _shortened(sampled: TokenSequences, plain: TokenSequences, longest: int) -> TokenSequences:
    if not (sampled.lengths > longest).any():
        return sampled
    rows = (random if len(random) <= longest else whole for random, whole in zip(sampled, plain, strict=True))
    return TokenSequences.of([row.tolist() for row in rows])
