"""What a training of some speed takes, in time and in text."""

from __future__ import annotations

import pytest

from seq2seq.config import TrainingConfig
from seq2seq.training.forecast import Forecast

FOUND = Forecast(tokens_per_second=100.0, tokens_per_step=10.0, peak_memory_mb=1.0, risk_tokens_per_second=20.0)
RISK = {"minimum_risk": 1.0, "risk_from": 0.8}


@pytest.mark.parametrize(
    ("settings", "hours", "tokens"),
    [
        ({}, 1.0, 360_000),
        ({"max_minutes": 30}, 0.5, 180_000),
        ({"max_minutes": 90}, 1.0, 360_000),
        # A fifth of the steps take five times as long; with batches half as large, two and a half times.
        (RISK, 0.8 + 1.0, 360_000),
        (RISK | {"risk_batch_tokens": 512}, 0.8 + 0.5, 360_000 * 0.9),
        # In a fifth of the time, there is a fifth of the text, in batches of whatever size.
        (RISK | {"max_minutes": 60}, 1.0, 360_000 * (0.8 + 0.2 / 5)),
        (RISK | {"max_minutes": 60, "risk_batch_tokens": 512}, 1.0, 360_000 * (0.8 + 0.2 / 5)),
    ],
)
def test_hours_and_tokens(settings: dict[str, float], hours: float, tokens: float) -> None:
    training = TrainingConfig(steps=36_000, batch_tokens=1024, **settings)
    assert FOUND.hours_and_tokens(training) == pytest.approx((hours, tokens))
