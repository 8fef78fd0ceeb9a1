"""Batches: every example once, budget kept, order a function of seed and epoch, padding in its place."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq.data.batching import Examples, TokenSequences, cut_batches, make_batch, plan_batches

lengths = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=80)


def examples_of(pairs: list[tuple[int, int]]) -> Examples:
    return Examples(
        TokenSequences.of([list(range(4, 4 + source)) for source, _ in pairs]),
        TokenSequences.of([list(range(50, 50 + target)) for _, target in pairs]),
    )


@given(pairs=lengths, budget=st.integers(1, 200), seed=st.integers(0, 5), epoch=st.integers(0, 5))
def test_each_example_once_and_within_budget(pairs, budget, seed, epoch) -> None:
    plan = plan_batches(examples_of(pairs), budget, seed, epoch)
    assert sorted(np.concatenate(plan).tolist()) == list(range(len(pairs)))
    for batch in plan:
        longest = max(max(pairs[i]) for i in batch)
        assert longest * len(batch) <= budget or len(batch) == 1


@given(pairs=lengths, seed=st.integers(0, 3))
def test_same_seed_and_epoch_same_order(pairs, seed) -> None:
    examples = examples_of(pairs)
    first, again = (plan_batches(examples, 100, seed, 1) for _ in range(2))
    assert [batch.tolist() for batch in first] == [batch.tolist() for batch in again]


def test_other_epochs_and_seeds_have_other_orders() -> None:
    examples = examples_of([(5, 5)] * 100)
    orders = {str([b.tolist() for b in plan_batches(examples, 50, seed, epoch)]) for seed in (1, 2) for epoch in (0, 1)}
    assert len(orders) == 4


@settings(max_examples=50)
@given(sizes=st.lists(st.integers(1, 30), max_size=50), budget=st.integers(1, 90), most=st.integers(0, 5))
def test_cut_batches_is_a_partition_in_order(sizes, budget, most) -> None:
    parts = cut_batches(np.array(sizes, dtype=np.int64), budget, most)
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(len(sizes)))
    assert not most or all(part.stop - part.start <= most for part in parts)


def test_batch_is_shifted_padded_and_masked() -> None:
    examples = Examples(TokenSequences.of([[5, 3], [6, 7, 3]]), TokenSequences.of([[8, 9, 3], [3]]))
    batch = make_batch(examples, [0, 1], pad_id=0, start_id=2)
    assert batch.source.tolist() == [[5, 3, 0], [6, 7, 3]]
    assert batch.source_mask.tolist() == [[True, True, False], [True, True, True]]
    assert batch.target_input.tolist() == [[2, 8, 9], [2, 0, 0]]
    assert batch.target_output.tolist() == [[8, 9, 3], [3, 0, 0]]
    assert batch.target_mask.tolist() == [[True, True, True], [True, False, False]]
    assert batch.num_target_tokens == 4


def test_sequences_come_back() -> None:
    rows = [[1, 2, 3], [], [4]]
    packed = TokenSequences.of(rows)
    assert [row.tolist() for row in packed] == rows
    assert packed.lengths.tolist() == [3, 0, 1]


@given(seed=st.integers(0, 1000), positions=st.integers(1, 200))
def test_parts_of_a_batch_hold_the_same_pairs_with_no_more_padding(seed: int, positions: int) -> None:
    generator = np.random.default_rng(seed)
    sides = [[generator.integers(4, 50, generator.integers(1, 12)).tolist() for _ in range(9)] for _ in range(2)]
    batch = make_batch(Examples(*map(TokenSequences.of, sides)), np.arange(9), 0, 2)
    parts = list(batch.parts(positions))
    for place in range(5):
        mask = 1 if place < 2 else 4
        tokens = [token for part in parts for token in part[place][part[mask]].tolist()]
        assert tokens == batch[place][batch[mask]].tolist()
    assert sum(part.num_target_tokens for part in parts) == batch.num_target_tokens
    for part in parts:
        assert part.source_mask.any(0).all() and part.target_mask.any(0).all()
        assert len(part.source) == 1 or len(part.source) * batch.target_mask.size(1) <= positions
