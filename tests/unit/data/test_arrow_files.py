"""Arrow files: text comes back as it was, `datasets` reads them, and what is damaged is said to be."""

from __future__ import annotations

from pathlib import Path

import datasets
import pytest

from seq2seq.data.arrow_files import arrow_of, describe, fingerprint_of, pairs_of, shards_of
from seq2seq.data.corpus import SentencePair
from seq2seq.errors import DataError

PAIRS = [SentencePair("a\u2028b", "日本\r"), SentencePair("", "x" * 5000)]


def test_pairs_survive_and_datasets_reads_them(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    for name in ("one.arrow", "inner/two.arrow"):
        (tmp_path / name).write_bytes(arrow_of(PAIRS))
        assert pairs_of(tmp_path / name) == PAIRS
    describe(tmp_path, ["one.arrow", "inner/two.arrow"])
    assert [SentencePair(**row) for row in datasets.load_from_disk(str(tmp_path))] == PAIRS * 2
    assert shards_of(tmp_path) == [tmp_path / "one.arrow", tmp_path / "inner/two.arrow"]
    assert len(fingerprint_of(tmp_path)) == 16
    assert fingerprint_of(tmp_path / "inner") == ""


@pytest.mark.parametrize("content", [b"", b"not arrow", arrow_of(PAIRS)[:-3000]])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.arrow").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.arrow: damaged .*; `seq2seq prepare`"):
        pairs_of(tmp_path / "x.arrow")
