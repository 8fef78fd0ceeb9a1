"""How often each corpus comes in an epoch."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.config import Config, CorpusConfig, CurriculumConfig, DataConfig
from seq2seq.errors import ConfigError
from seq2seq.training.mixture import tempered, weights_in

TWO = (CorpusConfig(path="a.tsv", weight=2.0), CorpusConfig(path="b.tsv", weight=0.5))
PLAIN = (CorpusConfig(path="a.tsv"), CorpusConfig(path="b.tsv"))


def test_weights_are_those_of_the_corpora_when_nothing_else_is_said() -> None:
    assert weights_in(3, DataConfig(train=TWO), [10, 1000]) == [2.0, 0.5]


@given(st.lists(st.integers(1, 10**8), min_size=1, max_size=6), st.floats(1, 100))
def test_a_tempered_epoch_is_as_long_as_all_corpora_and_has_shares_by_the_power(
    sizes: list[int], temperature: float
) -> None:
    weights = tempered(sizes, temperature)
    drawn = [weight * size for weight, size in zip(weights, sizes, strict=True)]
    assert sum(drawn) == pytest.approx(sum(sizes))
    for size, number in zip(sizes, drawn, strict=True):
        assert number / drawn[0] == pytest.approx((size / sizes[0]) ** (1 / temperature))


def test_temperature_1_is_the_corpora_as_they_are_and_a_high_one_makes_them_equal() -> None:
    assert tempered([10, 1000], 1.0) == pytest.approx([1.0, 1.0])
    large, small = tempered([1000, 10], 1e9)
    assert 1000 * large == pytest.approx(10 * small)
    assert tempered([5, 0], 2.0) == [1.0, 0.0]
    assert weights_in(0, DataConfig(train=PLAIN, temperature=5.0), [10, 1000]) == tempered([10, 1000], 5.0)


def test_a_stage_ends_after_its_epochs_and_the_last_one_does_not() -> None:
    stages = (CurriculumConfig(epochs=2, weights=(1.0, 0.0)), CurriculumConfig(weights=(0.5, 1.0)))
    data = DataConfig(train=TWO, curriculum=stages)
    assert [weights_in(epoch, data, [1, 1]) for epoch in (0, 1, 2, 50)] == [[1.0, 0.0]] * 2 + [[0.5, 1.0]] * 2


def test_the_risk_may_have_weights_of_its_own() -> None:
    stages = (CurriculumConfig(weights=(1.0, 1.0)),)
    data = DataConfig(train=TWO, curriculum=stages, risk_weights=(0.0, 3.0))
    for is_last in (False, True):
        assert weights_in(7, data, [1, 1], is_last, minimises_risk=False) == [1.0, 1.0]
        assert weights_in(7, data, [1, 1], is_last, minimises_risk=True) == [0.0, 3.0]
    assert weights_in(7, DataConfig(train=TWO), [1, 1], minimises_risk=True) == [2.0, 0.5]


def test_the_last_part_has_its_weights_and_the_risk_them_if_it_has_none_of_its_own() -> None:
    data = DataConfig(train=TWO, last_weights=(1.0, 0.0))
    assert [weights_in(3, data, [1, 1], is_last) for is_last in (False, True)] == [[2.0, 0.5], [1.0, 0.0]]
    assert weights_in(3, data, [1, 1], is_in_last_part=True, minimises_risk=True) == [1.0, 0.0]
    own = replace(data, risk_weights=(0.0, 1.0))
    assert weights_in(3, own, [1, 1], is_in_last_part=True, minimises_risk=True) == [0.0, 1.0]


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"`data.temperature` = 5.0: takes the place of weights"):
        DataConfig(train=TWO, temperature=5.0)
    with pytest.raises(ConfigError, match=r"one for each of the 2 corpora"):
        DataConfig(train=PLAIN, curriculum=(CurriculumConfig(weights=(1.0,)),))
    for wrong in ((1.0,), (0.0, 0.0)):
        with pytest.raises(ConfigError, match=r"one for each of the 2 corpora of `data.train`, and one of them over 0"):
            DataConfig(train=PLAIN, risk_weights=wrong)
        with pytest.raises(ConfigError, match=r"`data.last_weights` = .*: one for each of the 2 corpora"):
            DataConfig(train=PLAIN, last_weights=wrong)
    with pytest.raises(ConfigError, match=r"`data.last_weights` = \[1.0, 0.0\]: never hold; set `training.last_from`"):
        Config(data=DataConfig(train=PLAIN, last_weights=(1.0, 0.0)))
    with pytest.raises(ConfigError, match=r"`data.risk_weights` = -1.0"):
        DataConfig(train=PLAIN, risk_weights=(1.0, -1.0))
    with pytest.raises(ConfigError, match="name a weight over 0"):
        CurriculumConfig(weights=(0.0, 0.0))
