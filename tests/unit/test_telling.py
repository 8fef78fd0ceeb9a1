import time

import pytest

from seq2seq.telling import now_and_then


def test_all_that_is_done_is_told_at_most_once_in_so_many_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now, told = 100.0, list[str]()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    count = now_and_then(told.append, "{} done".format, seconds=5.0)
    for after, number in ((1.0, 3), (5.0, 4), (9.0, 1), (10.0, 2), (30.0, 5)):
        now = 100.0 + after
        count(number)
    assert told == ["7 done", "10 done", "15 done"]
