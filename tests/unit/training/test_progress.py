"""What training tells: figures, times, and a journal that survives being killed."""

from __future__ import annotations

import json
import math

import pytest

from seq2seq.training.progress import Clock, Journal, Meter, console_line, duration


def test_meter_divides_by_tokens_and_seconds() -> None:
    meter = Meter()
    meter.add(smoothed=20.0, plain=10.0, tokens=10, seconds=0.5)
    meter.add(smoothed=60.0, plain=30.0, tokens=30, seconds=1.5)
    report = meter.report()
    assert report["loss"] == pytest.approx(2.0)
    assert report["perplexity"] == pytest.approx(math.e)
    assert report["tokens_per_second"] == pytest.approx(20.0)
    assert report["steps_per_second"] == pytest.approx(1.0)


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0s"), (59.6, "1m 00s"), (185, "3m 05s"), (7620, "2h 07m")])
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_console_line_has_all_that_one_wants_to_know() -> None:
    record = {
        "step": 1000, "loss": 3.4, "perplexity": 20.5, "tokens_per_second": 7123.4, "learning_rate": 5e-4,
        "gradient_norm": 1.25,
    }  # fmt: skip
    line = console_line(record, steps=8000, epoch=2, seconds_left=90)
    for part in ("1,000/8,000", "epoch 3", "3.400", "20.50", "7,123 tok/s", "5.00e-04", "1.25", "1m 30s"):
        assert part in line


def test_clock_counts_laps_and_leaves_out_the_rest() -> None:
    times = iter([0.0, 2.0, 10.0, 11.0])
    clock = Clock(100.0, now=lambda: next(times))
    assert clock.lap() == 2.0
    clock.skip()
    assert clock.lap() == 1.0
    assert clock.seconds == 103.0


def test_journal_forgets_what_will_be_done_again(tmp_path) -> None:
    path = tmp_path / "metrics.jsonl"
    damage = b'\x00\xff\n[]\n{}\n{"step": "x"}\n{"step": 1'
    path.write_bytes(b'{"step": 5, "loss": 2}\n{"step": 10, "loss": 1}\n' + damage)
    journal = Journal(tmp_path, resume_step=5)
    journal.write({"step": 10, "loss": 1.5})
    journal.close()
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert records == [{"step": 5, "loss": 2}, {"step": 10, "loss": 1.5}]
