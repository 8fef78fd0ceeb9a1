"""The feed: each pair once an epoch, steps alike on any number of processes, positions that can be taken up."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from seq2seq.config import Config, CorpusConfig, DataConfig, TokenizerConfig, TrainingConfig
from seq2seq.data.tokenizer import Tokenizer, train_tokenizer
from seq2seq.errors import DataError
from seq2seq.training.distributed import Processes
from seq2seq.training.feed import Feed, Position

LINES = [f"{'word ' * (i % 7)}number {i}" for i in range(60)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("feed") / "tokenizer"
    return train_tokenizer(TokenizerConfig(vocab_size=290, algorithm="bpe"), LINES, LINES, folder)


def config_for(folder: Path, lines=LINES, max_length: int = 100, **training: object) -> Config:
    for side in ("a", "b"):
        (folder / f"train.{side}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    corpus = CorpusConfig(source=str(folder / "train.a"), target=str(folder / "train.b"))
    settings = {"batch_tokens": 64, **training}
    return Config(data=DataConfig(train=(corpus,), max_length=max_length), training=TrainingConfig(**settings))


def rows(work) -> list[tuple[int, ...]]:
    return [tuple(row[row != 0].tolist()) for batch in work.batches for row in batch.source]


@pytest.mark.parametrize("sampling", [0.0, 0.2])
def test_every_pair_once_an_epoch(tmp_path, tokenizer, sampling) -> None:
    feed = Feed(config_for(tmp_path, subword_sampling=sampling), tokenizer, Processes())
    position, seen = Position(), Counter()
    while position.epoch == 0:
        work = feed.step(position)
        seen.update(tokenizer.decode_source(row) for row in rows(work))
        position = work.position
    assert seen == Counter(tokenizer.decode_source(row) for row in tokenizer.encode_source(LINES))


def test_a_step_is_the_same_on_two_processes(tmp_path, tokenizer) -> None:
    alone = Feed(config_for(tmp_path, accumulate=4), tokenizer, Processes()).step(Position())
    shares = [
        Feed(config_for(tmp_path, accumulate=2), tokenizer, Processes(rank, 2)).step(Position()) for rank in (0, 1)
    ]
    assert sorted(rows(alone)) == sorted(rows(shares[0]) + rows(shares[1]))
    assert len(shares[0].batches) == len(shares[1].batches) == 2
    assert {alone.num_target_tokens} == {share.num_target_tokens for share in shares}
    assert {alone.position} == {share.position for share in shares}
    assert alone.num_target_tokens == sum(batch.num_target_tokens for batch in alone.batches)


def test_a_position_is_all_it_takes_to_go_on(tmp_path, tokenizer) -> None:
    config = config_for(tmp_path, accumulate=3, subword_sampling=0.1)
    feed, position, all_rows = Feed(config, tokenizer, Processes()), Position(), []
    for _ in range(9):
        work = feed.step(position)
        all_rows.append(rows(work))
        if len(all_rows) == 5:
            taken_up = work.position
        position = work.position
    again = Feed(config, tokenizer, Processes())
    for expected in all_rows[5:]:
        work = again.step(taken_up)
        assert rows(work) == expected
        taken_up = work.position
    assert position.epoch > 0


def test_long_pairs_are_dropped_and_counted(tmp_path, tokenizer) -> None:
    feed = Feed(config_for(tmp_path, [*LINES, "far too long " * 50], max_length=60), tokenizer, Processes())
    assert len(feed) == len(LINES)
    assert feed.counts["too_long"] == 1
    with pytest.raises(DataError, match="no usable pair"):
        Feed(config_for(tmp_path, max_length=2), tokenizer, Processes())
