"""The lexicon: what it learns, what it keeps, what it says of damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from seq2seq.data import lexicon
from seq2seq.data.batching import Examples, TokenSequences
from seq2seq.data.lexicon import Lexicon, learn_lexicon
from seq2seq.errors import CheckpointError

END = 3


def some_examples(number: int = 400) -> Examples:
    """Source token s becomes target token s + 20, in any order; a third of the targets hold 90 besides."""
    generator = np.random.default_rng(1)
    sources = [[*generator.integers(4, 60, generator.integers(2, 8)).tolist(), END] for _ in range(number)]
    targets = [
        [*generator.permutation([s + 20 for s in source[:-1]]).tolist(), *([90] if i % 3 else []), END]
        for i, source in enumerate(sources)
    ]
    return Examples(TokenSequences.of(sources), TokenSequences.of(targets))


def test_it_finds_what_tokens_become() -> None:
    learnt = learn_lexicon(some_examples(), 100, 100, joint=False)
    assert [learnt.translations[s, 0] for s in range(4, 60)] == [s + 20 for s in range(4, 60)]
    assert set(learnt.translations[END][:2]) == {END, 90}, "the end token stands for no word"
    assert (learnt.translations[60:] == -1).all()


def test_a_shortlist_has_the_tokens_of_its_sources_each_once_and_the_frequent_ones(monkeypatch) -> None:
    monkeypatch.setattr(lexicon, "_FREQUENT", 1)
    learnt = learn_lexicon(some_examples(), 100, 100, joint=False)
    listed = learnt.shortlist(np.array([[5, 7, 5], [9, 0, 0]]))
    assert {25, 27, 29, END} <= set(listed.tolist())
    assert len(listed) < 70
    assert listed.tolist() == sorted(set(listed.tolist()))


def test_of_one_vocabulary_tokens_may_be_copied() -> None:
    learnt = learn_lexicon(some_examples(), 100, 100, joint=True)
    assert 97 in learnt.shortlist(np.array([97]))


def test_of_many_pairs_some_are_drawn(monkeypatch) -> None:
    monkeypatch.setattr(lexicon, "_ENTRIES", 200)
    few = learn_lexicon(some_examples(), 100, 100, joint=False)
    assert 0 < (few.translations[:, 0] >= 0).sum() < 40, "of 57"


def test_it_is_kept(tmp_path: Path) -> None:
    assert Lexicon.load(tmp_path) is None
    learnt = learn_lexicon(some_examples(), 100, 100, joint=True)
    learnt.save(tmp_path)
    loaded = Lexicon.load(tmp_path)
    assert loaded is not None
    assert (loaded.translations == learnt.translations).all() and (loaded.frequent == learnt.frequent).all()
    (tmp_path / lexicon.FILE).write_bytes(b"no")
    with pytest.raises(CheckpointError, match=r"lexicon\.safetensors: damaged .*train --resume"):
        Lexicon.load(tmp_path)
