"""Tokenising once: the same bytes however it is done, found again, and made anew when something else is asked for."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from seq2seq.config import Config, CorpusConfig, DataConfig, TrainingConfig
from seq2seq.data import token_writer
from seq2seq.data.token_writer import open_stores
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.errors import DataError


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_writer, "BLOCK", 20)


@pytest.fixture
def config(tmp_path: Path, source_lines: list[str], target_lines: list[str]) -> Config:
    corpora = []
    for name, start, stop in (("a", 0, 70), ("b", 70, 100)):
        for side, lines in (("de", source_lines), ("en", target_lines)):
            text = "".join(f"{line}\n" for line in [*lines[start:stop], "" if side == "en" else "empty"])
            (tmp_path / f"{name}.{side}").write_text(text, encoding="utf-8")
        corpora.append(CorpusConfig(source=str(tmp_path / f"{name}.de"), target=str(tmp_path / f"{name}.en")))
    return Config(data=DataConfig(train=tuple(corpora)))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def no_tokenising(*_: object) -> int:
    raise AssertionError("it was tokenised again")


def test_what_is_written_is_what_the_tokenizer_gives(
    config: Config, tokenizer: Tokenizer, tmp_path: Path, source_lines: list[str]
) -> None:
    first, second = open_stores(config, tokenizer, tmp_path / "tokens")
    assert [len(first), len(second)] == [70, 30]
    assert [row.tolist() for row in second.read(np.arange(30)).source] == tokenizer.encode_source(source_lines[70:100])
    assert first.counts == {"read": 71, "empty_target": 1}
    assert first.coverage["source"]["words"] == 70 * 8
    assert first.coverage["source"]["unknown"] == 0
    assert not first.has_text


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_bytes_do_not_depend_on_the_number_of_processes(
    config: Config, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    config = replace(config, training=TrainingConfig(subword_sampling=0.1))
    open_stores(config, tokenizer, tmp_path / "usual")
    monkeypatch.setattr(token_writer, "cores", lambda: workers)
    open_stores(config, tokenizer, tmp_path / "tokens")
    assert files(tmp_path / "tokens") == files(tmp_path / "usual")
    assert "corpus001/text/data-000001.arrow" in files(tmp_path / "tokens")


def test_it_is_found_again_until_something_changes(
    config: Config, tokenizer: Tokenizer, nfkc_tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tokens"
    open_stores(config, tokenizer, folder)
    weighted = replace(config.data, train=tuple(replace(each, weight=0.5) for each in config.data.train))
    with monkeypatch.context() as patched:
        patched.setattr(token_writer, "_write_shard", no_tokenising)
        open_stores(config, tokenizer, folder)
        open_stores(replace(config, data=weighted), tokenizer, folder)
        for changed in (
            lambda: open_stores(config, nfkc_tokenizer, folder),
            lambda: open_stores(replace(config, training=TrainingConfig(subword_sampling=0.1)), tokenizer, folder),
        ):
            with pytest.raises(AssertionError, match="tokenised again"):
                changed()
    path = Path(config.data.train[0].source)
    path.write_text(path.read_text(encoding="utf-8").replace("ber", "bar"), encoding="utf-8")
    os.utime(path, ns=(1, 1))
    before = files(folder)
    open_stores(config, tokenizer, folder)
    changed_files = {name for name, content in files(folder).items() if before[name] != content}
    assert changed_files
    assert all(name.startswith("corpus000") for name in changed_files)


def test_what_was_killed_goes_on_with_what_is_missing(
    config: Config, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_stores(config, tokenizer, tmp_path / "whole")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(token_writer, "_finish", killed)
        open_stores(config, tokenizer, tmp_path / "tokens")
    work = tmp_path / "tokens/.corpus000.parts"
    (work / "data-000002.json").unlink()
    (work / ".data-000003.arrow.99999999.partial").touch()
    times = {path.name: path.stat().st_mtime_ns for path in work.glob("*.arrow")}
    open_stores(config, tokenizer, tmp_path / "tokens")
    assert files(tmp_path / "tokens") == files(tmp_path / "whole")
    kept = [name for name, time in times.items() if (tmp_path / "tokens/corpus000" / name).stat().st_mtime_ns == time]
    assert sorted(kept) == ["data-000000.arrow", "data-000001.arrow", "data-000003.arrow"]


def test_other_processes_do_not_write(config: Config, tokenizer: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="all processes must see the same run directory"):
        open_stores(config, tokenizer, tmp_path / "tokens", write=False)
    written = open_stores(config, tokenizer, tmp_path / "tokens")
    found = open_stores(config, tokenizer, tmp_path / "tokens", write=False)
    assert [len(store) for store in found] == [len(store) for store in written]


def test_a_bad_line_leaves_no_store(config: Config, tokenizer: Tokenizer, tmp_path: Path) -> None:
    Path(config.data.train[1].source).write_bytes(b"ab\n" * 25 + b"\xff\n" * 6)
    with pytest.raises(DataError, match=r"b\.de:26: not UTF-8"):
        open_stores(config, tokenizer, tmp_path / "tokens")
    assert not (tmp_path / "tokens/corpus001").exists()
