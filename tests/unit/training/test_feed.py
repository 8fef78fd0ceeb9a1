"""The feed: each pair once an epoch, steps alike on any number of processes, positions that can be taken up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq.config import (
    Config,
    CorpusConfig,
    CurriculumConfig,
    DataConfig,
    NoiseConfig,
    TokenizerConfig,
    TrainingConfig,
)
from seq2seq.data.batching import plan_batches
from seq2seq.data.corpus import SentencePair
from seq2seq.data.token_writer import open_stores
from seq2seq.data.tokenizer import Tokenizer, train_tokenizer
from seq2seq.errors import DataError
from seq2seq.training import feed as module
from seq2seq.training.distributed import Processes
from seq2seq.training.feed import Feed, Position, StepBatches, tokenize

LINES = [f"{'word ' * (i % 7)}number {i}" for i in range(60)]
Corpora = tuple[Path, Tokenizer]

pool_sizes = st.integers(30, 400)  # tokens; all lines together have twice the most
run_sizes = st.integers(1, 9)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("feed") / "tokenizer"
    return train_tokenizer(TokenizerConfig(vocab_size=290, algorithm="bpe"), LINES, LINES, folder)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory, tokenizer) -> Corpora:
    """A folder for texts, which stay there for many examples of a test."""
    return tmp_path_factory.mktemp("corpora"), tokenizer


def config_for(folder: Path, lines=LINES, max_length: int = 100, weights=(1.0,), **training: object) -> Config:
    """The lines shared among as many corpora as there are weights."""
    corpora = []
    for number, weight in enumerate(weights):
        paths = [folder / f"train{number}.{side}" for side in ("a", "b")]
        for path in paths:
            path.write_text("".join(f"{line}\n" for line in lines[number :: len(weights)]), encoding="utf-8")
        corpora.append(CorpusConfig(source=str(paths[0]), target=str(paths[1]), weight=weight))
    settings = {"batch_tokens": 64, **training}
    return Config(data=DataConfig(train=tuple(corpora), max_length=max_length), training=TrainingConfig(**settings))


def feed_for(config: Config, tokenizer: Tokenizer, group: Processes | None = None) -> Feed:
    folder = Path(config.data.train[0].source).parent / "tokens"
    return Feed(config, tokenizer, group or Processes(), open_stores(config, tokenizer, folder))


@contextmanager
def sizes(run_pairs: int, pool_tokens: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "RUN_PAIRS", run_pairs)
        patched.setattr(module, "POOL_TOKENS", pool_tokens)
        patched.setattr(module, "SAMPLED_POOL_TOKENS", pool_tokens)
        yield


def rows(work: StepBatches) -> list[tuple[int, ...]]:
    return [tuple(row[row != 0].tolist()) for batch in work.batches for row in batch.source]


def epoch_of(feed: Feed, epoch: int = 0) -> list[StepBatches]:
    position, works = Position(epoch), []
    while position.epoch == epoch:
        works.append(feed.step(position))
        position = works[-1].position
    return works


def texts_of(feed: Feed, tokenizer: Tokenizer, epoch: int = 0) -> Counter[str]:
    return texts_in(epoch_of(feed, epoch), tokenizer)


def texts_in(works: list[StepBatches], tokenizer: Tokenizer) -> Counter[str]:
    return Counter(tokenizer.decode_source(row) for work in works for row in rows(work))


@settings(max_examples=30)
@given(run_pairs=run_sizes, pool_tokens=pool_sizes, sampling=st.sampled_from([0.0, 0.2]))
def test_every_pair_once_an_epoch(corpora: Corpora, run_pairs: int, pool_tokens: int, sampling: float) -> None:
    folder, tokenizer = corpora
    with sizes(run_pairs, pool_tokens):
        feed = feed_for(config_for(folder, weights=(1.0, 1.0), subword_sampling=sampling), tokenizer)
        for epoch in (0, 3):
            works = epoch_of(feed, epoch)
            assert texts_in(works, tokenizer) == Counter(LINES)
            assert len({work.position.pool for work in works}) > 1


@settings(max_examples=20)
@given(run_pairs=run_sizes, pool_tokens=pool_sizes, budget=st.integers(10, 200))
def test_batches_keep_to_their_budget(corpora: Corpora, run_pairs: int, pool_tokens: int, budget: int) -> None:
    folder, tokenizer = corpora
    with sizes(run_pairs, pool_tokens):
        for work in epoch_of(feed_for(config_for(folder, batch_tokens=budget), tokenizer)):
            (batch,) = work.batches
            longest = max(batch.source.size(1), batch.target_output.size(1))
            assert len(batch.source) * longest <= budget or len(batch.source) == 1
            assert work.num_target_tokens == batch.num_target_tokens


@pytest.mark.parametrize("sampling", [0.0, 0.2])
def test_what_fits_into_a_pool_is_planned_as_a_whole(tmp_path, tokenizer, sampling) -> None:
    config = config_for(tmp_path, subword_sampling=sampling)
    feed = feed_for(config, tokenizer)
    for epoch in (0, 1):
        seed = config.training.seed + 1_000_003 * epoch
        examples = tokenize([SentencePair(line, line) for line in LINES], tokenizer, sampling, seed)
        expected = plan_batches(examples, 64, config.training.seed, epoch)
        batches = [work.batches[0].target_output for work in epoch_of(feed, epoch)]
        assert len(batches) == len(expected)
        for batch, indices in zip(batches, expected, strict=True):
            assert [row[row != 0].tolist() for row in batch] == [examples.target[i].tolist() for i in indices]


@settings(max_examples=20)
@given(run_pairs=run_sizes, pool_tokens=pool_sizes)
def test_a_step_is_the_same_on_two_processes(corpora: Corpora, run_pairs: int, pool_tokens: int) -> None:
    folder, tokenizer = corpora
    with sizes(run_pairs, pool_tokens):
        alone = feed_for(config_for(folder, accumulate=4), tokenizer)
        feeds = [feed_for(config_for(folder, accumulate=2), tokenizer, Processes(rank, 2)) for rank in (0, 1)]
        position = Position()
        while position.epoch < 2:
            work, shares = alone.step(position), [feed.step(position) for feed in feeds]
            assert sorted(rows(work)) == sorted(rows(shares[0]) + rows(shares[1]))
            assert len(shares[0].batches) == len(shares[1].batches) == 2
            assert {work.num_target_tokens} == {share.num_target_tokens for share in shares}
            assert {work.position} == {share.position for share in shares}
            assert work.num_target_tokens == sum(batch.num_target_tokens for batch in work.batches)
            position = work.position


@settings(max_examples=10)
@given(run_pairs=run_sizes, pool_tokens=pool_sizes, sampling=st.sampled_from([0.0, 0.1]))
def test_any_position_is_all_it_takes_to_go_on(
    corpora: Corpora, run_pairs: int, pool_tokens: int, sampling: float
) -> None:
    folder, tokenizer = corpora
    config = config_for(folder, weights=(1.0, 0.5), accumulate=3, subword_sampling=sampling)
    with sizes(run_pairs, pool_tokens):
        feed, position, works = feed_for(config, tokenizer), Position(), []
        while position.epoch < 2:
            works.append((position, feed.step(position)))
            position = works[-1][1].position
        for begin, expected in works:
            work = feed_for(config, tokenizer).step(begin)
            assert rows(work) == rows(expected)
            assert work.position == expected.position


@settings(max_examples=20)
@given(run_pairs=run_sizes, pool_tokens=pool_sizes, weight=st.sampled_from([0.0, 0.5, 2.0, 2.25]))
def test_weights_say_how_often_pairs_are_seen(
    corpora: Corpora, run_pairs: int, pool_tokens: int, weight: float
) -> None:
    folder, tokenizer = corpora
    with sizes(run_pairs, pool_tokens):
        feed = feed_for(config_for(folder, weights=(1.0, weight)), tokenizer)
        epochs = [texts_of(feed, tokenizer, epoch) for epoch in (0, 1, 0)]
    assert epochs[0] == epochs[2], "a function of the epoch"
    assert all(epochs[0][line] == 1 for line in LINES[::2])
    counts = [epochs[0][line] for line in LINES[1::2]]
    assert set(counts) <= {int(weight), int(weight) + 1}
    assert sum(counts) == round(30 * weight)


def test_a_small_share_of_a_large_corpus_is_drawn_as_a_few_runs(tmp_path, tokenizer, monkeypatch) -> None:
    monkeypatch.setattr(module, "RUN_PAIRS", 4)
    feed = feed_for(config_for(tmp_path, weights=(0.0, 0.25)), tokenizer)
    monkeypatch.setattr(module, "POOL_TOKENS", feed._stores[1].num_tokens // 2)
    (pool,) = feed._runs_of(0)
    assert len(pool) <= 3, "of 8 runs; 30 / 4 pairs are wanted"
    assert sum(texts_of(feed, tokenizer, 0).values()) == 8
    seen = set().union(*(texts_of(feed, tokenizer, epoch) for epoch in range(30)))
    assert len(seen) == 30, "in the course of time, all come"


def test_a_part_of_a_corpus_is_drawn_anew(tmp_path, tokenizer) -> None:
    feed = feed_for(config_for(tmp_path, weights=(1.0, 0.5)), tokenizer)
    first, second = (texts_of(feed, tokenizer, epoch) for epoch in (0, 1))
    assert sum(first.values()) == sum(second.values()) == 45
    assert first != second


def test_both_random_choices_of_an_epoch_are_independent(tmp_path, tokenizer) -> None:
    config = config_for(tmp_path, weights=(0.5,))
    feed = feed_for(config, tokenizer)
    (store,) = feed._stores
    drawn, _ = feed._read(module.Run(0, 0, 0, len(store), 0.5), 3)
    shuffled = np.random.default_rng((config.training.seed, 3)).permutation(60)
    assert drawn.tolist() != sorted(shuffled[:30].tolist())


def test_a_curriculum_has_corpora_come_one_after_another(tmp_path, tokenizer) -> None:
    config = config_for(tmp_path, weights=(1.0, 1.0))
    stages = (CurriculumConfig(epochs=2, weights=(1.0, 0.0)), CurriculumConfig(weights=(0.0, 2.0)))
    feed = feed_for(replace(config, data=replace(config.data, curriculum=stages)), tokenizer)
    first, second = ({tokenizer.decode_source(ids) for ids in tokenizer.encode_source(LINES[i::2])} for i in (0, 1))
    seen = [texts_of(feed, tokenizer, epoch) for epoch in range(4)]
    assert [set(texts) for texts in seen] == [first, first, second, second]
    assert set(seen[3].values()) == {2}


def test_the_risk_has_batches_and_weights_of_its_own(tmp_path, tokenizer) -> None:
    config = config_for(tmp_path, weights=(1.0, 1.0), batch_tokens=200, risk_batch_tokens=40)
    feed = feed_for(replace(config, data=replace(config.data, risk_weights=(2.0, 0.0))), tokenizer)
    assert texts_of(feed, tokenizer, 1) == Counter(LINES)
    feed.step(Position(2))
    feed.begin_part(is_last=False, minimises_risk=True)
    works = epoch_of(feed, 2)
    assert max(batch.source.numel() for work in works for batch in work.batches) <= 40
    assert texts_of(feed, tokenizer, 2) == Counter(LINES[::2] * 2)


def test_the_last_part_has_weights_of_its_own(tmp_path, tokenizer) -> None:
    config = config_for(tmp_path, weights=(1.0, 1.0), last_from=0.5)
    feed = feed_for(replace(config, data=replace(config.data, last_weights=(1.0, 0.0))), tokenizer)
    assert texts_of(feed, tokenizer, 0) == Counter(LINES)
    feed.begin_part(is_last=True, minimises_risk=False)
    assert texts_of(feed, tokenizer, 1) == Counter(LINES[::2])


def test_parts_of_which_no_pair_comes_are_refused_before_the_first_step(tmp_path, tokenizer) -> None:
    config = config_for(tmp_path, weights=(1.0, 1.0), minimum_risk=1.0, last_from=0.5)
    changes = (
        ("data.risk_weights", {"risk_weights": (0.001, 0.0)}),
        ("data.last_weights", {"last_weights": (0.0, 0.001)}),
        ("data.curriculum.weights", {"curriculum": (CurriculumConfig(weights=(0.0, 0.001)),)}),
        ("data.train.weight", {"train": tuple(replace(corpus, weight=0.001) for corpus in config.data.train)}),
    )
    for name, change in changes:
        with pytest.raises(DataError, match=rf"`{name}` = .*: take none of the corpora's \[30, 30\] pairs"):
            feed_for(replace(config, data=replace(config.data, **change)), tokenizer)


def test_an_epoch_begins_once() -> None:
    assert Position(2).next_epoch == Position(2)
    assert Position(2, 1).next_epoch == Position(2, 0, 1).next_epoch == Position(3)


@settings(max_examples=10)
@given(run_pairs=run_sizes, pool_tokens=pool_sizes)
def test_noise_is_new_in_each_epoch_and_for_each_time_that_a_pair_comes(
    corpora: Corpora, run_pairs: int, pool_tokens: int
) -> None:
    folder, tokenizer = corpora
    with sizes(run_pairs, pool_tokens):
        config = replace(config_for(folder, LINES[6::7], weights=(2.0,)), noise=NoiseConfig(typos=1.0))
        seen = [texts_of(feed_for(config, tokenizer), tokenizer, epoch) for epoch in (0, 0, 1)]
    assert seen[0] == seen[1] != seen[2]
    assert not set(seen[0]) & set(LINES) and len(seen[0]) > len(LINES[6::7])


def test_too_little_weight_is_told(tmp_path, tokenizer) -> None:
    lines = ["a", *["a" * 200] * 3]  # of which one fits; a share of 2 / 4 of that is none
    feed = feed_for(config_for(tmp_path, lines, max_length=20, weights=(0.6,)), tokenizer)
    with pytest.raises(DataError, match="no pair is drawn in an epoch"):
        feed.step(Position())


def test_a_position_beyond_the_end_goes_on_with_what_comes_next(tmp_path, tokenizer) -> None:
    feed = feed_for(config_for(tmp_path), tokenizer)
    for beyond in (Position(0, 10_000), Position(0, 0, 7)):
        assert rows(feed.step(beyond)) == rows(feed.step(Position(1)))


def test_long_pairs_are_dropped_and_counted(tmp_path, tokenizer) -> None:
    config = config_for(tmp_path, [*LINES, "far too long " * 50], max_length=60)
    feed = feed_for(config, tokenizer)
    assert len(feed) == len(LINES)
    assert feed.counts["too_long"] == 1
    assert texts_of(feed, tokenizer) == Counter(LINES)
    with pytest.raises(DataError, match="no usable pair"):
        feed_for(replace(config, data=replace(config.data, max_length=2)), tokenizer)


def test_a_sample_is_all_of_a_small_corpus_and_a_part_of_a_large_one(tmp_path, tokenizer) -> None:
    feed = feed_for(config_for(tmp_path, weights=(3.0, 0.5)), tokenizer)
    assert len(feed.sample()) == len(LINES)
    with sizes(2, 300):
        some = [tuple(row.tolist()) for row in feed.sample().source]
    assert 0 < len(some) == len(set(some)) < len(LINES)
