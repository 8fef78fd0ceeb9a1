"""Learning rates at the points that define each schedule."""

from __future__ import annotations

from dataclasses import replace

import pytest

from seq2seq.config import TrainingConfig
from seq2seq.training.schedule import is_in_last_part, learning_rate, minimises_risk


def rate(step: int, **settings: object) -> float:
    return learning_rate(TrainingConfig(learning_rate=0.01, warmup_steps=100, steps=1100, **settings), step)


@pytest.mark.parametrize("schedule", ["inverse_sqrt", "cosine", "linear", "constant"])
def test_warm_up_is_linear_to_the_peak(schedule: str) -> None:
    assert rate(50, schedule=schedule) == pytest.approx(0.005)
    assert rate(100, schedule=schedule) == pytest.approx(0.01)
    assert all(rate(step, schedule=schedule) <= 0.01 for step in range(1, 1100, 7))


def test_inverse_square_root_is_equation_3_of_the_paper() -> None:
    config = TrainingConfig(learning_rate=512**-0.5 * 4000**-0.5, warmup_steps=4000)
    for step in (1, 10, 3999, 4000, 4001, 90_000):
        assert learning_rate(config, step) == pytest.approx(512**-0.5 * min(step**-0.5, step * 4000**-1.5))


def test_cosine_and_linear_end_where_told() -> None:
    for schedule, middle in (("cosine", 0.0055), ("linear", 0.0055)):
        assert rate(600, schedule=schedule, final_learning_rate=0.001) == pytest.approx(middle)
        assert rate(1100, schedule=schedule, final_learning_rate=0.001) == pytest.approx(0.001)
        assert rate(2000, schedule=schedule, final_learning_rate=0.001) == pytest.approx(0.001)


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_limited_time_ends_the_fall_where_the_steps_would_not(schedule: str) -> None:
    def at(step: int, seconds: float, minutes: float = 10) -> float:
        limits = {"steps": 1100, "max_minutes": minutes}
        config = TrainingConfig(learning_rate=0.01, warmup_steps=100, schedule=schedule, **limits)
        return learning_rate(config, step, seconds)

    assert at(200, 300) == at(600, 0) == pytest.approx(0.005)  # what is ahead counts
    assert at(600, 60) == at(600, 0)
    assert at(200, 600) == at(200, 700) == pytest.approx(0, abs=1e-9)
    assert at(50, 60) == pytest.approx(0.005)  # the warm-up is of steps,
    assert at(99, 590) == at(200, 590) < 0.0002  # and where these are slow, it gives way
    assert at(200, 300, minutes=0) == at(200, 0)


def test_no_warm_up_starts_at_the_peak() -> None:
    for schedule in ("inverse_sqrt", "cosine", "linear", "constant"):
        assert learning_rate(TrainingConfig(warmup_steps=0, schedule=schedule), 1) == pytest.approx(5e-4, rel=0.01)


def test_the_risk_is_minimised_in_the_last_part() -> None:
    config = TrainingConfig(steps=100, warmup_steps=0, minimum_risk=0.9, risk_from=0.8)
    assert [minimises_risk(config, step) for step in (1, 80, 81, 100)] == [False, False, True, True]
    limited = replace(config, max_minutes=10)
    assert [minimises_risk(limited, 1, seconds) for seconds in (0, 479, 480, 1000)] == [False, False, True, True]
    assert minimises_risk(limited, 90)
    assert not minimises_risk(replace(config, minimum_risk=0.0), 100)
    assert minimises_risk(replace(config, risk_from=0.0), 1)


def test_the_last_part_begins_at_a_share_of_the_steps_or_the_time() -> None:
    config = TrainingConfig(steps=100, warmup_steps=0, last_from=0.8)
    assert [is_in_last_part(config, step) for step in (1, 80, 81, 100)] == [False, False, True, True]
    limited = replace(config, max_minutes=10)
    assert [is_in_last_part(limited, 1, seconds) for seconds in (0, 479, 480, 1000)] == [False, False, True, True]
    assert not is_in_last_part(replace(config, last_from=1.0), 100)
    assert learning_rate(config, 90) == learning_rate(replace(config, last_from=1.0), 90)


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_the_schedule_ends_where_the_risk_begins_at_a_rate_of_its_own(schedule: str) -> None:
    risk = {"minimum_risk": 30.0, "risk_from": 0.8, "risk_learning_rate": 0.002}
    config = TrainingConfig(steps=1000, warmup_steps=0, learning_rate=0.01, schedule=schedule, **risk)
    for warmup in (0, 300):
        longer = replace(config, warmup_steps=warmup)
        shorter = replace(longer, steps=800, minimum_risk=0.0)
        for step in (1, 100, 400, 799, 800):
            assert learning_rate(longer, step) == pytest.approx(learning_rate(shorter, step))
    found = [learning_rate(config, step) for step in (801, 810, 901, 1000)]
    assert found == pytest.approx([0.0001, 0.001, 0.001, 0.00001])
    limited = replace(config, steps=10**6, max_minutes=10)
    found = [learning_rate(limited, 5, seconds) for seconds in (0, 240, 480, 486, 540, 600)]
    assert found == pytest.approx([0.01, 0.005, 0.0, 0.001, 0.001, 0.0], abs=1e-5)
    alone = [learning_rate(replace(config, steps=3, risk_from=0.0), step) for step in (1, 2, 3)]
    assert alone == pytest.approx([0.002, 0.002 * 2 / 3, 0.002 / 3])
