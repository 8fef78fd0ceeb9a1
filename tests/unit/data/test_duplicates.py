"""First occurrences, in portions of any size, against a set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seq2seq.data.duplicates import first_occurrences

KEY = st.integers(0, 2**64 - 1) | st.integers(0, 5).map(lambda n: n << 61) | st.integers(0, 5)


@given(st.lists(st.lists(KEY, max_size=20), max_size=4), st.integers(1, 30))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_first_of_each_key_is_marked(tmp_path: Path, files: list[list[int]], portion: int) -> None:
    paths = [tmp_path / f"{number}.npy" for number in range(len(files))]
    for path, keys in zip(paths, files, strict=True):
        np.save(path, np.array(keys, dtype=np.uint64))
    seen: set[int] = set()
    expected = [not (key in seen or seen.add(key)) for keys in files for key in keys]
    assert first_occurrences(paths, portion).tolist() == expected


@pytest.mark.parametrize("portion", [1, 10, 100])
def test_without_keys_there_are_no_flags(tmp_path: Path, portion: int) -> None:
    np.save(tmp_path / "none.npy", np.array([], dtype=np.uint64))
    assert first_occurrences([tmp_path / "none.npy"], portion).size == first_occurrences([], portion).size == 0
