"""Preparing a corpus: what it holds, what is told of it, and going on after a kill."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from seq2seq.config import Config, CorpusConfig, DataConfig, PrepareConfig
from seq2seq.data import preparation
from seq2seq.data.cleaning import REASONS, clean, clean_each
from seq2seq.data.corpus import SentencePair, read_corpus
from seq2seq.data.preparation import prepare
from seq2seq.data.sides import Sides
from seq2seq.errors import DataError

SETTINGS = PrepareConfig(max_characters=60, drop_copies=True, max_repetition=3, source_scripts=("LATIN",))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, "BLOCK", 20)


def corpus(folder: Path, name: str, number: int, seed: int) -> CorpusConfig:
    """Pairs of which many have something that a filter is for; the last sixth came before."""
    generator = random.Random(seed)
    words = ["ab", "cd", "ef", "Über", "мир", "x" * 30, "nnnnn", "Ã¤", "&lt;", "", "\u2028", "<b>"]
    sides = [[" ".join(generator.choices(words, k=generator.randint(0, 5))) for _ in range(number)] for _ in range(2)]
    for side, suffix in zip(sides, ("en", "de"), strict=True):
        lines = side + side[: number // 5]
        (folder / f"{name}.{suffix}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return CorpusConfig(source=str(folder / f"{name}.en"), target=str(folder / f"{name}.de"))


@pytest.fixture
def config(tmp_path: Path) -> Config:
    train = (corpus(tmp_path, "a", 150, 1), corpus(tmp_path, "b", 90, 2))
    validation, test = (corpus(tmp_path, name, 10, seed) for name, seed in (("valid", 3), ("test", 4)))
    languages = {"source_language": "en", "target_language": "de"}
    return Config(data=DataConfig(**languages, train=train, validation=validation, test=test), prepare=SETTINGS)


def read(folder: Path) -> list[SentencePair]:
    return list(read_corpus(CorpusConfig(path=str(folder / "train"))))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"deduplicate": False}, {"deduplicate_sides": "source"}, {"deduplicate_sides": "both"},
        {"deduplicate_by": "normalised", "remove_overlap": False},
    ],
)  # fmt: skip
def test_what_is_kept_and_counted_is_what_clean_keeps_and_counts(
    config: Config, tmp_path: Path, changes: dict[str, object]
) -> None:
    config = replace(config, prepare=replace(SETTINGS, **changes))
    done = prepare(config, tmp_path / "out")
    assert config.data.validation is not None
    assert config.data.test is not None
    counts: Counter[str] = Counter()
    pairs = [pair for each in config.data.train for pair in read_corpus(each, keep_empty=True)]
    held_out = [*read_corpus(config.data.validation), *read_corpus(config.data.test)]
    assert read(tmp_path / "out") == list(clean(pairs, config.prepare, held_out, counts))
    assert {name: n for name, n in done.report["dropped"].items() if n} == counts
    assert done.report["read"] == 288
    assert done.report["kept"] == 288 - counts.total()


def test_a_corpus_is_cleaned_its_own_way(config: Config, tmp_path: Path) -> None:
    own = PrepareConfig(max_characters=20, min_letters=0.9, drop_swapped=True)
    first, second = config.data.train
    config = replace(config, data=replace(config.data, train=(first, replace(second, prepare=own))))
    done = prepare(config, tmp_path / "out")
    assert config.data.validation is not None
    assert config.data.test is not None
    counts: Counter[str] = Counter()
    held_out = [*read_corpus(config.data.validation), *read_corpus(config.data.test)]
    each = [(list(read_corpus(corpus, keep_empty=True)), kind) for corpus, kind in ((first, SETTINGS), (second, own))]
    learnt = Sides.learn([*read_corpus(first), *read_corpus(second)])
    assert read(tmp_path / "out") == list(clean_each(each, held_out, counts, sides=learnt))
    assert {name: n for name, n in done.report["dropped"].items() if n} == counts
    names = [each["name"] for each in done.report["filters"]]
    assert names == [name for name in REASONS if name in names]
    assert {"script", "letters", "repetition", "swapped"} <= set(names)


def test_tags_are_put_before_what_was_judged_without_them(config: Config, tmp_path: Path) -> None:
    plain = prepare(config, tmp_path / "plain")
    tagged = tuple(replace(corpus, tag="<bt>") for corpus in config.data.train)
    assert config.data.validation is not None
    data = replace(config.data, train=tagged, validation=replace(config.data.validation, tag="<bt>"))
    done = prepare(replace(config, data=data), tmp_path / "tagged")
    assert done.report["dropped"] == plain.report["dropped"]
    assert read(tmp_path / "tagged") == [(f"<bt> {pair.source}", pair.target) for pair in read(tmp_path / "plain")]
    assert done.report["words"] == plain.report["words"]


def test_corpora_of_the_other_direction_have_sides_of_their_own(tmp_path: Path) -> None:
    generator = random.Random(1)
    words = ["".join(generator.choices(letters, k=5)) for letters in ("abcdef", "uvwxyz") for _ in range(50)]
    for name, suffixes in {"there": ("en", "de"), "back": ("de", "en")}.items():
        for side, suffix in enumerate(suffixes):
            lines = [" ".join(generator.choices(words[50 * side :][:50], k=6)) for _ in range(100)]
            (tmp_path / f"{name}.{suffix}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    train = tuple(
        CorpusConfig(source=str(tmp_path / f"{name}.en"), target=str(tmp_path / f"{name}.de"), tag=tag)
        for name, tag in (("there", "<2de>"), ("back", "<2en>"))
    )
    config = Config(data=DataConfig(train=train), prepare=PrepareConfig(drop_swapped=True))
    assert prepare(config, tmp_path / "out").report["kept"] == 200


def test_sources_with_different_tags_are_no_duplicates(tmp_path: Path) -> None:
    for suffix, text in {"en": "hello there", "de": "hallo du"}.items():
        (tmp_path / f"a.{suffix}").write_text(f"{text}\n", encoding="utf-8")
    one = CorpusConfig(source=str(tmp_path / "a.en"), target=str(tmp_path / "a.de"))
    settings = PrepareConfig(deduplicate_by="normalised", deduplicate_sides="source")
    for number, tags in enumerate((("<1>", "<2>"), ("<1>", "<1>"))):
        data = DataConfig(train=tuple(replace(one, tag=tag) for tag in tags))
        done = prepare(Config(data=data, prepare=settings), tmp_path / f"out{number}")
        assert done.report["kept"] == (2, 1)[number]


def test_progress_knows_how_much_is_to_do(config: Config, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    prepare(config, tmp_path / "out", lambda *done: told.append(done))
    for stage in ("filters", "writing"):
        totals = {total for name, _, total in told if name == stage}
        assert totals == {sum(pairs for name, pairs, _ in told if name == stage)}, stage
    assert sum(pairs for name, pairs, _ in told if name == "filters") == 288


def test_a_data_set_that_may_change_is_refused(tmp_path: Path) -> None:
    data = DataConfig(train=(CorpusConfig(dataset="someone/something", revision="main"),))
    with pytest.raises(DataError, match=r"someone/something: `revision` = 'main': name a commit"):
        prepare(Config(data=data), tmp_path / "out")
    for fixed in ("0" * 40, "refs/convert/parquet"):
        assert preparation._source(CorpusConfig(dataset="someone/something", revision=fixed))["revision"] == fixed


def test_counts_of_the_report_add_up(config: Config, tmp_path: Path) -> None:
    report = prepare(config, tmp_path / "out").report
    rest = report["read"]
    for each in report["filters"]:
        assert each["in"] == rest == each["out"] + each["dropped"]
        assert len(each["samples"]) <= min(10, each["dropped"])
        assert bool(each["samples"]) == bool(each["dropped"])
        rest = each["out"]
    assert rest == report["kept"] > 0
    assert sum(each["source"] for each in report["words"]) == report["kept"]
    assert {"empty", "mojibake", "script", "overlap", "duplicate"} <= {
        each["name"] for each in report["filters"] if each["dropped"]
    }


def test_it_is_the_same_byte_for_byte_and_is_not_made_twice(config: Config, tmp_path: Path) -> None:
    assert not prepare(config, tmp_path / "one").was_there
    prepare(config, tmp_path / "two")
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert prepare(config, tmp_path / "one").was_there
    (tmp_path / "one/train/state.json").write_text("{}")
    assert not prepare(config, tmp_path / "one").was_there
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_what_was_killed_goes_on_with_what_is_missing(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(config, tmp_path / "whole")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(preparation, "_assemble", killed)
        prepare(config, tmp_path / "out")
    work = tmp_path / "out/.parts"
    parts = sorted(work.glob("*.json"))
    for path in parts[3:5]:
        path.unlink()
    written = {path: path.stat().st_mtime_ns for path in parts if path.exists() and path.name != "fingerprint.json"}

    def keep(*arguments: object) -> None:
        assert all(path.stat().st_mtime_ns == time for path, time in written.items())
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(preparation, "_assemble", keep)
        prepare(config, tmp_path / "out")
    prepare(config, tmp_path / "out")
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_other_settings_and_other_text_make_it_anew(config: Config, tmp_path: Path) -> None:
    before = prepare(config, tmp_path / "out").report
    changed = replace(config, prepare=replace(SETTINGS, drop_copies=False))
    assert "copy" in before["dropped"]
    assert "copy" not in prepare(changed, tmp_path / "out").report["dropped"]
    with Path(config.data.train[0].source).open("a", encoding="utf-8") as file:
        file.write("one more\n")
    with Path(config.data.train[0].target).open("a", encoding="utf-8") as file:
        file.write("eins mehr\n")
    assert prepare(config, tmp_path / "out").report["read"] == before["read"] + 1


def test_a_moved_corpus_is_the_same(config: Config, tmp_path: Path) -> None:
    prepare(config, tmp_path / "out")
    (tmp_path / "moved").mkdir()
    moved = tuple(
        replace(each, **{
            side: str(Path(getattr(each, side)).rename(tmp_path / "moved" / Path(getattr(each, side)).name))
            for side in ("source", "target")
        })
        for each in config.data.train
    )  # fmt: skip
    assert prepare(replace(config, data=replace(config.data, train=moved)), tmp_path / "out").was_there


def test_the_lockfile_has_sources_settings_and_hashes(config: Config, tmp_path: Path) -> None:
    prepare(config, tmp_path / "out")
    lock = json.loads((tmp_path / "out/prepare.lock.json").read_text(encoding="utf-8"))
    assert [file["name"] for source in lock["made_from"]["sources"] for file in source["files"]][:2] == ["a.en", "a.de"]
    assert lock["made_from"]["settings"]["max_characters"] == 60
    assert str(tmp_path) not in json.dumps(lock)
    written = [path for path in (tmp_path / "out/train").rglob("*") if path.is_file()]
    assert set(lock["files"]) == {path.relative_to(tmp_path / "out").as_posix() for path in written}
    assert not (tmp_path / "out/.parts").exists()


def test_the_page_shows_samples_as_text(config: Config, tmp_path: Path) -> None:
    prepare(config, tmp_path / "out")
    text = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    tags: set[str] = set()
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: tags.add(tag)  # type: ignore[method-assign]
    parser.feed(text)
    assert "b" not in tags
    assert "&lt;b&gt;" in text
    assert "script" not in tags
    assert "http" not in text


def test_errors_of_a_worker_and_of_a_corpus_are_told(config: Config, tmp_path: Path) -> None:
    Path(config.data.train[1].source).write_bytes(b"ab\n" * 50 + b"\xff\n" * 40)
    with pytest.raises(DataError, match=r"b\.en:51: not UTF-8"):
        prepare(config, tmp_path / "out")
    missing = CorpusConfig(source=str(tmp_path / "no.en"), target=str(tmp_path / "no.de"))
    with pytest.raises(DataError, match=r"no\.en: no such file"):
        prepare(replace(config, data=replace(config.data, train=(missing,))), tmp_path / "out")


@pytest.mark.skipif(sys.platform != "linux", reason="workers that are not forked do not see the patch")
def test_a_killed_worker_is_told(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, "identities", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(DataError, match="a worker process was killed"):
        prepare(config, tmp_path / "out")


def test_nothing_left_says_what_took_it(config: Config, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no pair is left \(288 read, .* too_long"):
        prepare(replace(config, prepare=replace(SETTINGS, max_characters=1)), tmp_path / "out")


def test_a_folder_with_something_else_is_left_alone(config: Config, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")
    with pytest.raises(DataError, match="holds something else"):
        prepare(config, tmp_path / "out")
    assert files(tmp_path / "out") == {"mine.txt": b"mine"}
