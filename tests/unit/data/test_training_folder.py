"""A prepared folder: all that training needs, made once, the same bytes each time, and movable."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from seq2seq.config import (
    Config,
    CorpusConfig,
    CurriculumConfig,
    DataConfig,
    DiversificationConfig,
    PrepareConfig,
    TokenizerConfig,
    load_config,
)
from seq2seq.data import preparation, token_writer, training_folder
from seq2seq.data.corpus import SentencePair, read_corpus
from seq2seq.data.token_writer import open_stores, prepared_tokens
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.data.training_folder import make_ready
from seq2seq.errors import DataError, TokenizerError
from seq2seq.training.setup import set_up_run
from tests.other_process import working_in


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, "BLOCK", 30)


def corpus(folder: Path, name: str, number: int, weight: float = 1.0) -> CorpusConfig:
    generator = random.Random(name)
    for suffix in ("en", "de"):
        lines = [" ".join(generator.choices(["ab", "cd", "über", "日本"], k=1 + i % 8)) for i in range(number)]
        (folder / f"{name}.{suffix}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return CorpusConfig(source=str(folder / f"{name}.en"), target=str(folder / f"{name}.de"), weight=weight)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    train = (corpus(tmp_path, "a", 90), corpus(tmp_path, "b", 40, weight=2.5))
    data = DataConfig(
        source_language="en", target_language="de", train=train, validation=corpus(tmp_path, "valid", 4)
    )
    return Config(
        data=data, prepare=PrepareConfig(remove_overlap=False, deduplicate=False, max_ratio=99),
        tokenizer=TokenizerConfig(vocab_size=275, algorithm="bpe"),
    )  # fmt: skip


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def forbid(patched: pytest.MonkeyPatch, *names: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("made again")

    places = {"text": (preparation, "_judge_all"), "tokenizer": (training_folder, "train_tokenizer"),
              "tokens": (training_folder, "write_tokens")}  # fmt: skip
    for name in names:
        patched.setattr(*places[name], refuse)


def test_the_config_trains_on_what_was_prepared(config: Config, tmp_path: Path) -> None:
    make_ready(config, tmp_path / "out")
    ready = load_config(tmp_path / "out/config.toml")
    assert [each.weight for each in ready.data.train] == [1.0, 2.5]
    assert ready.data.validation is not None
    assert list(read_corpus(ready.data.validation)) == list(read_corpus(config.data.validation))
    tokenizer = Tokenizer.load(ready.tokenizer.path)
    stores = open_stores(ready, tokenizer, tmp_path / "unused")
    assert not (tmp_path / "unused").exists()
    for store, before in zip(stores, config.data.train, strict=True):
        pairs = list(read_corpus(before))
        assert store.pairs(np.arange(len(store))) == pairs
        ids = tokenizer.encode_source([pair.source for pair in pairs])
        assert [row.tolist() for row in store.read(np.arange(len(store))).source] == ids


def test_what_makes_more_text_is_left_to_recipes(config: Config, tmp_path: Path) -> None:
    make_ready(replace(config, diversification=DiversificationConfig(models=1)), tmp_path / "out")
    assert load_config(tmp_path / "out/config.toml").diversification == DiversificationConfig()


def test_tags_are_in_the_text_once_and_are_pieces(config: Config, tmp_path: Path) -> None:
    first, second = config.data.train
    validation = replace(config.data.validation, tag="<2de>")
    data = replace(config.data, train=(replace(first, tag="<2de>"), second), validation=validation)
    make_ready(replace(config, data=data), tmp_path / "out")
    ready = load_config(tmp_path / "out/config.toml")
    assert ready.tags == ()
    tokenizer = Tokenizer.load(ready.tokenizer.path)
    tokenizer.check_tag("<2de>")
    sources = [[pair.source for pair in read_corpus(each)] for each in (*ready.data.train, ready.data.validation)]
    assert [{line.count("<2de>") for line in lines} for lines in sources] == [{1}, {0}, {1}]
    assert all(line.startswith("<2de> ") for line in sources[0])


def test_the_tokenizer_learns_no_tags(config: Config, tmp_path: Path) -> None:
    symbols = replace(config, tokenizer=replace(config.tokenizer, user_symbols=("<2DE>",), fold_source_case=True))
    make_ready(symbols, tmp_path / "without")
    train = tuple(replace(each, tag="<2DE>") for each in config.data.train)
    make_ready(replace(symbols, data=replace(config.data, train=train)), tmp_path / "with")
    hashes = {Tokenizer.load(tmp_path / name / "tokenizer").hash for name in ("without", "with")}
    assert len(hashes) == 1


def test_a_curriculum_trains_on_what_was_prepared(config: Config, tmp_path: Path) -> None:
    stages = (CurriculumConfig(weights=(1.0, 0.0)), CurriculumConfig(weights=(0.0, 1.0)))
    train = tuple(replace(each, weight=1.0) for each in config.data.train)
    make_ready(replace(config, data=replace(config.data, train=train, curriculum=stages)), tmp_path / "out")
    ready = load_config(tmp_path / "out/config.toml")
    assert set_up_run(ready, tmp_path / "run")[0].data.curriculum == stages


def test_a_curriculum_loses_the_corpora_of_which_nothing_is_left(config: Config, tmp_path: Path) -> None:
    first, second = config.data.train
    stages: tuple[CurriculumConfig, ...] = (CurriculumConfig(weights=(1.0, 2.0)), CurriculumConfig(weights=(0.0, 3.0)))
    stages += (CurriculumConfig(weights=(1.0, 0.0)),)
    nothing = replace(first, prepare=replace(config.prepare, max_characters=1))
    data = replace(config.data, train=(nothing, replace(second, weight=1.0)), curriculum=stages)
    make_ready(replace(config, data=data), tmp_path / "out")
    ready = load_config(tmp_path / "out/config.toml")
    assert [stage.weights for stage in ready.data.curriculum] == [(2.0,), (3.0,)] and len(ready.data.train) == 1


@pytest.mark.parametrize(("weights", "left"), [((1.0, 0.5), (0.5,)), ((1.0, 0.0), ())])
def test_the_parts_of_training_lose_the_corpora_of_which_nothing_is_left(
    config: Config, tmp_path: Path, weights: tuple[float, ...], left: tuple[float, ...]
) -> None:
    first, second = config.data.train
    nothing = replace(first, prepare=replace(config.prepare, max_characters=1))
    data = replace(config.data, train=(nothing, second), risk_weights=weights, last_weights=weights)
    training = replace(config.training, last_from=0.8)
    make_ready(replace(config, data=data, training=training), tmp_path / "out")
    ready = load_config(tmp_path / "out/config.toml")
    assert ready.data.risk_weights == ready.data.last_weights == left


@pytest.mark.usefixtures("impatient")
def test_one_process_at_a_time_prepares_in_a_folder(config: Config, tmp_path: Path) -> None:
    with working_in(tmp_path / "out"), pytest.raises(DataError, match="out: another process is at work there; wait"):
        make_ready(config, tmp_path / "out")


def test_same_input_same_bytes_and_nothing_twice(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not make_ready(config, tmp_path / "one").was_there
    make_ready(config, tmp_path / "two")
    assert files(tmp_path / "one") == files(tmp_path / "two")
    forbid(monkeypatch, "text", "tokenizer", "tokens")
    assert make_ready(config, tmp_path / "one").was_there
    assert files(tmp_path / "one") == files(tmp_path / "two")
    lock = json.loads((tmp_path / "one/prepare.lock.json").read_text(encoding="utf-8"))
    listed = {*lock["files"], *lock["tokenizer"]["files"], *lock["tokens"], *lock["papers"], "prepare.lock.json"}
    assert {*listed, ".lock"} == set(files(tmp_path / "one"))


def test_only_what_a_setting_concerns_is_made_again(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    before = make_ready(config, out).report["coverage"]
    with monkeypatch.context() as patched:
        forbid(patched, "text", "tokenizer", "tokens")
        shorter = make_ready(replace(config, data=replace(config.data, max_length=6)), out)
    assert shorter.report["coverage"]["too_long"] > before["too_long"]
    assert load_config(out / "config.toml").data.max_length == 6
    with monkeypatch.context() as patched:
        forbid(patched, "text")
        make_ready(replace(config, tokenizer=replace(config.tokenizer, vocab_size=270)), out)
    make_ready(replace(config, tokenizer=replace(config.tokenizer, vocab_size=270)), tmp_path / "fresh")
    assert files(out) == files(tmp_path / "fresh")
    make_ready(replace(config, prepare=replace(config.prepare, max_characters=9)), out)
    make_ready(replace(config, prepare=replace(config.prepare, max_characters=9)), tmp_path / "fresh")
    assert files(out) == files(tmp_path / "fresh")


@pytest.mark.parametrize("name", ["train/corpus000/tokens/data-000001.arrow", "tokenizer/joint.model"])
def test_what_was_changed_by_others_is_mended(config: Config, tmp_path: Path, name: str) -> None:
    make_ready(config, tmp_path / "out")
    before = files(tmp_path / "out")
    (tmp_path / "out" / name).write_bytes(before[name][::-1])
    assert not make_ready(config, tmp_path / "out").was_there
    assert files(tmp_path / "out") == before


def test_a_tokenizer_that_cannot_be_made_costs_nothing_that_is_there(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_ready(config, tmp_path / "out")
    before = files(tmp_path / "out")
    with pytest.raises(TokenizerError):
        make_ready(replace(config, tokenizer=replace(config.tokenizer, vocab_size=10**6)), tmp_path / "out")
    assert files(tmp_path / "out") == before
    forbid(monkeypatch, "text")  # mistakes of a given tokenizer are told before
    tag = replace(config.data.validation, tag="<2de>")
    given = replace(config, tokenizer=replace(config.tokenizer, path=str(tmp_path / "out/tokenizer")))
    with pytest.raises(TokenizerError, match="tag '<2de>': is no piece"):
        make_ready(replace(given, data=replace(config.data, validation=tag)), tmp_path / "new")
    given = replace(config, tokenizer=replace(config.tokenizer, path=str(tmp_path / "typo")))
    with pytest.raises(TokenizerError, match="typo"):
        make_ready(given, tmp_path / "new")


def test_what_others_put_there_is_not_lost(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_ready(config, tmp_path / "out")
    notes = [tmp_path / "out" / name for name in ("train/README.md", "train/corpus000/.notes", "tokenizer/mine.txt")]
    for note in notes:
        note.write_text("mine", encoding="utf-8")
    with monkeypatch.context() as patched:
        forbid(patched, "text", "tokenizer", "tokens")
        assert make_ready(config, tmp_path / "out").was_there
    before = files(tmp_path / "out")
    with pytest.raises(DataError, match=r"train/README\.md: `prepare` did not make it"):
        make_ready(replace(config, prepare=replace(config.prepare, max_characters=9)), tmp_path / "out")
    with pytest.raises(TokenizerError, match=r"holds other files \(mine\.txt\)"):
        make_ready(replace(config, tokenizer=replace(config.tokenizer, vocab_size=270)), tmp_path / "out")
    assert files(tmp_path / "out") == before
    for note in notes:
        note.unlink()
    make_ready(replace(config, prepare=replace(config.prepare, max_characters=9)), tmp_path / "out")


def test_a_config_that_was_edited_is_not_lost(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_ready(config, tmp_path / "out")
    path = tmp_path / "out/config.toml"
    path.write_text(f"# mine\n{path.read_text(encoding='utf-8')}", encoding="utf-8")
    before = files(tmp_path / "out")
    with pytest.raises(DataError, match=r"config\.toml: was edited since `prepare` wrote it"):
        make_ready(config, tmp_path / "out")
    assert files(tmp_path / "out") == before
    path.unlink()
    make_ready(config, tmp_path / "out")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    longer = replace(config, data=replace(config.data, max_length=99))
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(training_folder, "write_report", killed)
        make_ready(longer, tmp_path / "out")
    make_ready(longer, tmp_path / "out")  # whose config was written then, and not edited


def test_killed_while_it_tokenised_it_goes_on_there(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_ready(config, tmp_path / "whole")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(token_writer, "_finish", killed)
        make_ready(config, tmp_path / "out")
    corpus = tmp_path / "out/train/corpus000"
    times = {path.name: path.stat().st_mtime_ns for path in (corpus / ".tokens.parts").glob("*.arrow")}
    forbid(monkeypatch, "text", "tokenizer")
    make_ready(config, tmp_path / "out")
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    assert times and {name: (corpus / "tokens" / name).stat().st_mtime_ns for name in times} == times


def test_a_moved_folder_trains_without_its_text(config: Config, tmp_path: Path) -> None:
    make_ready(config, tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "moved")
    for path in tmp_path.glob("*.*"):
        path.unlink()
    ready = load_config(tmp_path / "moved/config.toml")
    for path in (tmp_path / "moved/train").glob("*/*.arrow"):
        path.write_bytes(b"")  # tokens are mapped, and text is not looked at
    stores = open_stores(ready, Tokenizer.load(ready.tokenizer.path), tmp_path / "unused")
    assert [len(store) for store in stores] == [90, 40]


def test_tokens_of_another_tokenizer_or_text_are_not_taken(config: Config, tmp_path: Path) -> None:
    make_ready(config, tmp_path / "out")
    make_ready(replace(config, tokenizer=replace(config.tokenizer, vocab_size=270)), tmp_path / "other")
    ready = load_config(tmp_path / "out/config.toml")
    other, said = Tokenizer.load(tmp_path / "other/tokenizer"), []
    stores = open_stores(ready, other, tmp_path / "tokens", said.append)
    assert all(store.made_from["tokenizer"] == other.hash for store in stores)
    assert ["prepared with another tokenizer" in line for line in said] == [True, True]
    (first, _) = ready.data.train
    assert prepared_tokens(first) is not None
    assert prepared_tokens(replace(first, source_column="target", target_column="source")) is None
    assert prepared_tokens(replace(first, tag="<2de>")) is None
    state = tmp_path / "out/train/corpus000/state.json"
    state.write_text(state.read_text().replace('_fingerprint": "', '_fingerprint": "0'))
    assert prepared_tokens(first) is None


def test_a_damaged_folder_is_told_when_training_begins(config: Config, tmp_path: Path) -> None:
    make_ready(config, tmp_path / "out")
    ready = load_config(tmp_path / "out/config.toml")
    (tmp_path / "out/train/corpus001/tokens/data-000001.arrow").unlink()
    with pytest.raises(DataError, match=r"corpus001/tokens/data-000001\.arrow: damaged \(missing\); delete the folder"):
        open_stores(ready, Tokenizer.load(ready.tokenizer.path), tmp_path / "tokens")


def test_a_given_tokenizer_is_copied(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_ready(config, tmp_path / "one")
    forbid(monkeypatch, "tokenizer")
    given = replace(config, tokenizer=replace(config.tokenizer, path=str(tmp_path / "one/tokenizer")))
    make_ready(given, tmp_path / "two")
    assert files(tmp_path / "one/train") == files(tmp_path / "two/train")
    (tmp_path / "run").mkdir()
    (tmp_path / "one/tokenizer").rename(tmp_path / "run/tokenizer")
    run = replace(config, training=replace(config.training, initialise_from=str(tmp_path / "run")))
    make_ready(run, tmp_path / "three")
    assert files(tmp_path / "two/train") == files(tmp_path / "three/train")
    missing = replace(config, training=replace(config.training, initialise_from=str(tmp_path / "typo")))
    with pytest.raises(TokenizerError, match="typo"):
        make_ready(missing, tmp_path / "four")


def test_coverage_is_counted(config: Config, tmp_path: Path) -> None:
    report = make_ready(config, tmp_path / "out").report["coverage"]
    tokenizer = Tokenizer.load(tmp_path / "out/tokenizer")
    pairs: list[SentencePair] = [pair for each in config.data.train for pair in read_corpus(each)]
    ids = tokenizer.encode_target([pair.target for pair in pairs])
    words = sum(len(pair.target.split()) for pair in pairs)
    pieces = sum(len(row) - 1 for row in ids)
    assert report["target"]["pieces"] == pieces
    assert report["target"]["pieces_per_word"] == pytest.approx(pieces / words)
    assert report["pairs"] == len(pairs)
    assert "What the tokenizer makes of it" in (tmp_path / "out/report.html").read_text(encoding="utf-8")
