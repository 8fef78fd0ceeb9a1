"""`seq2seq prepare` and `seq2seq doctor` of a recipe by its name: its corpus is fetched, and is the same each time."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from seq2seq.config import Config, CorpusConfig
from seq2seq.data.corpus import read_corpus, read_lines
from seq2seq.training import forecast as forecast_module
from seq2seq.training.forecast import Forecast
from tests.conftest import Command


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_recipe_is_prepared_and_deleted_and_made_again_the_same(here: Path, seq2seq: Command) -> None:
    locks = []
    for _ in range(2):
        done = seq2seq("prepare", "reverse", "--output", "out")
        assert done.status == 0, done.stderr
        assert (here / "runs/reverse/raw/train.forth").exists()
        assert not (here / "runs/reverse/data").exists(), "nothing has to be held out"
        locks.append((here / "out/prepare.lock.json").read_bytes())
        shutil.rmtree(here / "out")
        shutil.rmtree(here / "runs")
    assert locks[0] == locks[1]
    assert json.loads(locks[0])["counts"]["read"] == 6000


def test_where_a_training_is_in_the_way_another_place_is_named(here: Path, seq2seq: Command) -> None:
    steps = ("--set", "training.steps=1", "--set", "training.validate_every=0", "--set", "training.warmup_steps=0")
    assert seq2seq("train", *_reverse_text(here), "--output", "runs/reverse", *steps).status == 0
    prepare = ("prepare", "reverse", "--output", "out")
    done = seq2seq(*prepare)
    assert done.status == 1 and "choose another --run" in done.stderr and "--o" not in done.stderr
    shutil.rmtree(here / "runs/reverse/checkpoints")
    (here / "runs/reverse/metrics.jsonl").unlink()
    done = seq2seq(*prepare)
    assert done.status == 1 and "choose another --run" in done.stderr and "--o" not in done.stderr
    done = seq2seq("prepare", "own.toml", "--output", "own", "--run", "elsewhere")
    assert done.status == 2 and "--run elsewhere: own.toml is no recipe" in done.stderr
    done = seq2seq(*prepare, "--run", "elsewhere", "--set", "diversification.models=1")
    assert done.status == 0 and (here / "elsewhere/raw/train.forth").exists() and (here / "out/config.toml").exists()
    assert "warning: reverse: [diversification]: no text is made here; `seq2seq recipe run` does it" in done.stderr


def _reverse_text(here: Path) -> tuple[Path]:
    """A config of its own, to have a run where the recipe has its."""
    for name in ("a", "b"):
        (here / name).write_text("ab cd\n" * 50, encoding="utf-8")
    (here / "own.toml").write_text(
        "[[data.train]]\nsource = 'a'\ntarget = 'b'\n[tokenizer]\nvocab_size = 266\n[model]\npreset = 'tiny'\n",
        encoding="utf-8",
    )
    return (here / "own.toml",)


def test_text_is_held_out_as_the_recipe_does_it(here: Path, seq2seq: Command) -> None:
    generator = random.Random(1)
    lines = [" ".join(generator.choices("abcdefghij", k=6)) for _ in range(300)]
    (here / "mine").mkdir()
    for language in ("forth", "back"):
        (here / f"mine/train.{language}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    sizes = ("--set", "recipe.validation_size=10", "--set", "recipe.test_size=20")
    done = seq2seq("prepare", "reverse", "--data", "mine", "--output", "out", *sizes)
    assert done.status == 0, done.stderr
    kept = {pair.source for pair in read_corpus(CorpusConfig(path="out/train"))}
    held_out = {line for name in ("validation", "test") for line in read_lines(f"runs/reverse/data/{name}.forth")}
    assert len(held_out) == 30
    assert held_out | kept <= set(lines)
    assert not held_out & kept
    assert kept == set(read_lines("runs/reverse/data/train.forth"))


def test_what_a_recipe_cleaned_its_own_way_is_not_cleaned_again(here: Path, seq2seq: Command) -> None:
    generator = random.Random(1)
    words = ["".join(generator.choices("abcdefghij", k=5)) for _ in range(3000)]
    lines = [" ".join(generator.choices(words, k=6 if i % 6 else 250)) for i in range(300)]
    for language in ("forth", "back"):
        (here / f"t.{language}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    (here / "mine.toml").write_text(
        "[data]\nsource_language = 'forth'\ntarget_language = 'back'\n"
        "train = [{ source = 't.forth', target = 't.back', prepare = { max_characters = 2000 } }]\n"
        "[recipe]\nvalidation_size = 5\ntest_size = 5\n[tokenizer]\nvocab_size = 280\n[model]\npreset = 'tiny'\n",
        encoding="utf-8",
    )
    (here / "mine.py").write_text(
        "from seq2seq.fetch import fetch_hub\n\n\ndef fetch(config, output):\n    fetch_hub(config.data, output)\n",
        encoding="utf-8",
    )
    done = seq2seq("prepare", here / "mine", "--output", "out")
    assert done.status == 0, done.stderr
    kept = [pair.source for pair in read_corpus(CorpusConfig(path="out/train"))]
    assert sorted(kept) == sorted(read_lines("runs/mine/data/train.forth")) and any(len(line) > 1000 for line in kept)


def test_the_doctor_looks_at_what_the_recipe_trains_on(
    here: Path, seq2seq: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast_module, "forecast", lambda *_: Forecast(1000.0, 400.0, 100.0, 100.0))
    done = seq2seq("doctor", "reverse", "--json")
    told = json.loads(done.stdout)
    assert told["figures"]["pairs"] == {"train": 5984, "validation": 200, "test": 200}
    again = seq2seq("doctor", "reverse", "--json")
    assert "== prepare: done already" in again.stderr
    assert json.loads(again.stdout)["figures"]["target_tokens"] == told["figures"]["target_tokens"]


def test_a_copied_recipe_of_the_hub_is_a_recipe(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from seq2seq_cli import recipes

    languages = "[data]\nsource_language = 'de'\ntarget_language = 'en'\n"
    (here / "mine.toml").write_text(f"{languages}[[data.train]]\ndataset = 'some/corpus'\n", encoding="utf-8")
    fetched = Config()
    monkeypatch.setattr("seq2seq.recipe.with_corpus", lambda *_, **__: fetched)
    assert recipes.config_of("mine.toml", (), None).data.train[0].dataset == "some/corpus"
    (here / "mine.py").write_text("print('something else')\n", encoding="utf-8")
    assert recipes.config_of("mine.toml", (), None).data.train[0].dataset == "some/corpus"
    (here / "mine.py").write_text("def fetch(config, output): ...\n", encoding="utf-8")
    assert recipes.config_of("mine.toml", (), None) is fetched
    two = "[[data.train]]\ndataset = 'some/corpus'\n[[data.train]]\ndataset = 'another/corpus'\n"
    (here / "mine.toml").write_text(f"{languages}{two}", encoding="utf-8")
    assert recipes.config_of("mine.toml", (), None) is fetched
    (here / "mine.toml").write_text(f"{languages}[[data.train]]\nsource = 'a'\ntarget = 'b'\n", encoding="utf-8")
    assert len(recipes.config_of("mine.toml", (), None).data.train) == 1, "its text is here; the script is another's"


@pytest.mark.parametrize("command", ["prepare", "doctor"])
def test_an_unknown_name_is_told(command: str, seq2seq: Command) -> None:
    done = seq2seq(command, "revers", *(("--output", "out") if command == "prepare" else ()))
    assert done.status == 1
    assert "'revers': no such recipe; did you mean 'reverse'?" in done.stderr
