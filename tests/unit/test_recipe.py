"""Recipes with a training and a translation that are only pretended; `tests/integration` has the real ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from seq2seq import devices
from seq2seq.checkpoint import CheckpointInfo
from seq2seq.config import CorpusConfig, save_config
from seq2seq.data.corpus import read_lines, write_lines
from seq2seq.errors import ConfigError, DataError, DecodingError, Interrupted, RecipeError, TrainingError
from seq2seq.files import write_json
from seq2seq.going_on import is_discarded, refuse_changes, stamp
from seq2seq.pipeline import Pipeline
from seq2seq.recipe import RecipeResult, describe, load_recipe, run_recipe, with_corpus
from seq2seq.recipe_training import Trainings
from seq2seq.settings import to_dict
from seq2seq.stages import StageRecord
from seq2seq.training import trainer
from tests.other_process import working_in

TOML = """\
[recipe]
description = "numbers in words"
average = 2
samples = 3
validation_size = 5
test_size = 10

[data]
source_language = "xx"
target_language = "yy"
"""
SCRIPT = """\
from pathlib import Path

WORDS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen".split()


def fetch(config, output):
    lines = [f"{a} {b} times {c} make" for a in WORDS for b in WORDS[:3] for c in WORDS[:3]]
    for language, text in ((config.data.source_language, lines), (config.data.target_language, map(str.upper, lines))):
        (output / f"train.{language}").write_text("".join(f"{line}\\n" for line in text))
"""


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "numbers.toml"
    path.write_text(TOML)
    path.with_suffix(".py").write_text(SCRIPT)
    return path


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which stages are worked at; training and translating take no time."""
    done: list[str] = []
    real = {name: getattr(Pipeline, name) for name in ("fetch", "prepare", "train", "evaluate")}

    def fake_checkpoint(run: Path, name: str) -> None:
        folder = run / "checkpoints" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.safetensors").write_text(name)
        info = CheckpointInfo(step=20, tokenizer_hash="x", target_tokens_seen=1000, training_seconds=10.0)
        write_json(folder / "checkpoint.json", vars(info))

    def fake_train(config: object, run: Path, *, tokenizer: None, device: str, resume: bool, overwrite: bool) -> None:
        assert overwrite is not resume
        done.append("resumed" if resume else "trained")
        (run / "tokenizer").mkdir(exist_ok=True)
        (run / "tokenizer" / "joint.model").write_text("pieces")
        save_config(config, run / "config.toml")  # type: ignore[arg-type]
        for name in ("step_00000010", "step_00000020"):
            fake_checkpoint(run, name)

    def worked(name: str) -> object:
        def work(self: Pipeline) -> None:
            done.append(name)
            real[name](self)

        return work

    def average(self: Pipeline) -> None:
        done.append("average")
        fake_checkpoint(self.run, "average_last_2")
        self.record.write("average", made=["average_last_2"])

    def translate(self: Pipeline) -> None:
        done.append("translate")
        (self.run / "translations").mkdir(exist_ok=True)
        for path in (self.run / "data").glob("test*.xx"):
            write_lines(self.run / "translations" / f"{path.stem}.yy", map(str.upper, read_lines(path)))
        self.record.write("translate", checkpoint="average_last_2", sentences_per_second=5.0)

    for name in ("fetch", "prepare", "evaluate"):
        monkeypatch.setattr(Pipeline, name, worked(name))
    monkeypatch.setattr(Pipeline, "average", average)
    monkeypatch.setattr(Pipeline, "translate", translate)
    monkeypatch.setattr("seq2seq.training.trainer.train", fake_train)
    return done


ALL = ["fetch", "prepare", "trained", "average", "translate", "evaluate"]


def run(path: Path, *overrides: str, data: Path | None = None, overwrite: bool = False) -> RecipeResult:
    output = path.parent / "run"
    return run_recipe(load_recipe(path, overrides), output, data, report=lambda line: None, overwrite=overwrite)


def test_a_recipe_runs_from_corpus_to_scores(recipe_file: Path, log: list[str]) -> None:
    result = run(recipe_file)
    assert log == ALL
    assert result.scores.bleu.score == pytest.approx(100)
    values = json.loads((result.run / "scores.json").read_text())
    assert values["bleu"]["signature"] and values["tokens_per_second"] == 100.0 and values["sentences"] == 10
    assert values["peak_memory_mb"] > 0 and set(values["stage_seconds"]) >= {"fetch", "train"}


def test_the_result_is_told_with_samples_and_the_next_commands(recipe_file: Path, log: list[str]) -> None:
    result = run(recipe_file)
    text = describe(result)
    assert result.scores.bleu.signature in text and "BLEU lower-cased tokenised" in text
    assert len(result.samples) == 3
    for sample in result.samples:
        assert sample.source in text and sample.translation in text and sample.reference == sample.source.upper()
    assert f"seq2seq translate {result.run}" in text
    assert f"seq2seq evaluate {result.run} --source {result.run / 'data' / 'test.xx'}" in text


def test_further_test_sets_are_held_out_and_scored(recipe_file: Path, log: list[str]) -> None:
    write = "(output / f'test_more.{end}').write_text('zero one times two make\\n')"
    recipe_file.with_suffix(".py").write_text(f"{SCRIPT}    for end in ('xx', 'yy'):\n        {write}\n")
    result = run(recipe_file)
    assert set(result.further) == {"test_more"} and result.further["test_more"].bleu.score == 0
    assert "test_more" in describe(result)
    assert json.loads((result.run / "scores.json").read_text())["further_test_sets"]["test_more"]["sentences"] == 1
    assert "zero one times two make" not in read_lines(result.run / "data" / "train.xx")
    assert run(recipe_file) == result


def test_stages_that_are_done_are_skipped(recipe_file: Path, log: list[str]) -> None:
    first = run(recipe_file)
    log.clear()
    assert run(recipe_file) == first
    assert log == []


def test_text_that_the_recipe_names_itself_is_fetched_again_when_it_changes(recipe_file: Path, log: list[str]) -> None:
    own = [recipe_file.parent / f"mine/{name}" for name in ("one", "two")]
    own[0].parent.mkdir()
    for path in own:
        path.write_text("text\n")
    given = f"[[data.train]]\nsource = '{own[0]}'\ntarget = '{own[1]}'\n[data.test]\npath = '{own[0].parent}'\n"
    recipe_file.write_text(f"{TOML}{given}")
    run(recipe_file)
    for path in own:
        log.clear()
        path.write_text("another\n")
        run(recipe_file)
        assert log == ["fetch"], "what it gives is the same here"


@pytest.mark.parametrize(
    ("override", "again"),
    [
        ("decoding.beam_size=2", ["translate"]),  # the same translations need no new scores
        ("recipe.average=1", ["average", "translate"]),
        ("recipe.samples=1", []),
        ("training.steps=9000", ["resumed"]),
        ("training.patience=3", ["resumed"]),
        ("training.precision=auto", ["resumed"]),
    ],
)
def test_a_changed_setting_repeats_what_depends_on_it(
    recipe_file: Path, log: list[str], override: str, again: list[str]
) -> None:
    run(recipe_file)
    log.clear()
    run(recipe_file, override)
    assert [stage for stage in log if stage != "evaluate"] == again


@pytest.mark.parametrize(
    "override", ["model.d_model=64", "tokenizer.vocab_size=99", "training.seed=2", "prepare.max_ratio=2.0",
                 "data.max_length=9", "recipe.test_size=7"]
)  # fmt: skip
def test_a_setting_of_another_model_does_not_lose_the_trained_one(
    recipe_file: Path, log: list[str], override: str
) -> None:
    run(recipe_file)
    log.clear()
    name = override.partition("=")[0]
    with pytest.raises(RecipeError, match=rf"{name} = .* \(was .*\); choose another --output, or --overwrite") as error:
        run(recipe_file, override)
    assert "\n" not in str(error.value) and log == []
    run(recipe_file, override, overwrite=True)
    assert "trained" in log


@pytest.mark.parametrize("kind", [ConfigError, KeyboardInterrupt])
def test_overwriting_that_cannot_begin_leaves_the_old_run(
    recipe_file: Path, log: list[str], monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    folder = run(recipe_file).run
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def refuse(*_: object, **__: object) -> None:
        raise kind("no")

    with monkeypatch.context() as patch, pytest.raises(kind):
        patch.setattr("seq2seq.training.trainer.train", refuse)
        run(recipe_file, "training.seed=2", overwrite=True)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    log.clear()
    run(recipe_file)
    assert log == []


def test_overwriting_that_cannot_begin_leaves_a_run_that_no_recipe_made(recipe_file: Path, log: list[str]) -> None:
    folder = run(recipe_file).run
    (folder / "stages.json").unlink()
    for name in ("raw", "data", "translations"):
        shutil.rmtree(folder / name)
    script = recipe_file.with_suffix(".py")
    text = script.read_text()
    script.write_text("raise OSError('no network')")
    with pytest.raises(Exception, match="no network"):
        run(recipe_file, overwrite=True)
    script.write_text(text)
    with pytest.raises(RecipeError, match="holds a run that no recipe made"):
        run(recipe_file)


def test_what_is_discarded_is_so_in_a_copy(tmp_path: Path) -> None:
    (tmp_path / "config.toml").touch()
    noted = stamp(tmp_path)
    for entry in ({"discard": noted}, {"discard": noted, "settings": {}}, {"discard": noted - 1}):
        assert is_discarded(entry, tmp_path)
    for entry in ({}, {"settings": {}}, {"discard": noted - 1, "settings": {}}, {"discard": 0}):
        assert not is_discarded(entry, tmp_path)


@pytest.mark.parametrize("begun", [False, True])
def test_overwriting_goes_on_after_a_kill(
    recipe_file: Path, log: list[str], monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    train: Any = trainer.train  # which is only pretended, too

    def killed(*arguments: object, **options: object) -> None:
        if begun:
            train(*arguments, **options)
        raise KeyboardInterrupt

    run(recipe_file)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainings, "restore", lambda self: None)  # which a kill leaves out
        patch.setattr(trainer, "train", killed)
        run(recipe_file, "training.seed=2", overwrite=True)
    log.clear()
    run(recipe_file, "training.seed=2")
    assert ("resumed" if begun else "trained") in log
    with pytest.raises(RecipeError, match=r"training\.seed = 1 \(was 2\)"):
        run(recipe_file)


def test_a_run_of_a_version_with_fewer_settings_goes_on(recipe_file: Path, log: list[str]) -> None:
    folder = run(recipe_file).run
    stages = json.loads((folder / "stages.json").read_text())
    settings = stages["train"]["settings"]
    for name in ("training.r_drop", "model.initialisation", "data.risk_weights"):
        del settings[name]
    settings["data.train"] = [{name: each[name] for name in each if name != "tag"} for each in settings["data.train"]]
    write_json(folder / "stages.json", stages)
    run(recipe_file)
    with pytest.raises(RecipeError, match=r"training\.r_drop = 1\.0 \(was 0\.0\)"):
        run(recipe_file, "training.r_drop=1")


def test_columns_that_are_called_as_the_languages_are_the_same_as_none(tmp_path: Path) -> None:
    languages = {"data.source_language": "en", "data.target_language": "de"}

    def settings(source: str, target: str) -> dict[str, Any]:
        train = to_dict(CorpusConfig(dataset="a", source_column=source, target_column=target)) | {"path": ""}
        return languages | {"data.train": [train], "data.test.source_column": source}

    refuse_changes(tmp_path, settings("en", "de"), settings("", ""), settings("", ""))
    refuse_changes(tmp_path, settings("", ""), settings("en", "de"), settings("en", "de"))
    with pytest.raises(RecipeError, match=r"data\.test\.source_column = '' \(was 'de'\)"):
        refuse_changes(tmp_path, settings("de", "en"), settings("", ""), settings("", ""))


def test_local_files_after_fetched_ones_do_not_lose_the_training(recipe_file: Path, log: list[str]) -> None:
    run(recipe_file)
    for language in ("xx", "yy"):
        (recipe_file.parent / f"train.{language}").write_text("a\nb\n")
    with pytest.raises(RecipeError, match="--data = True"):
        run(recipe_file, data=recipe_file.parent)


def test_other_training_text_does_not_lose_the_training(recipe_file: Path, log: list[str]) -> None:
    run(recipe_file)
    script = recipe_file.with_suffix(".py")
    script.write_text(script.read_text().replace("sixteen", "x").replace("times", "plus"))
    data = recipe_file.parent / "run" / "data"
    before = {path.name: path.read_bytes() for path in data.iterdir()}
    for _ in range(2):
        with pytest.raises(RecipeError, match="was trained on other text"):
            run(recipe_file)
        with pytest.raises(RecipeError, match="was trained on other text"):
            with_corpus(load_recipe(recipe_file), recipe_file.parent / "run")
        # Of other training text, other pairs would be held out: maybe some that the model has learnt.
        assert {path.name: path.read_bytes() for path in data.iterdir()} == before
    script.write_text(SCRIPT)
    log.clear()
    run(recipe_file)
    assert log == ["fetch", "prepare"]


def test_a_training_whose_text_was_replaced_is_neither_lost_nor_gone_on_with(
    recipe_file: Path, log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(recipe_file)
    script = recipe_file.with_suffix(".py")
    script.write_text(SCRIPT.replace("times", "plus"))

    def fail(*_: object, **__: object) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="disk is full"):
        patched.setattr(trainer, "train", fail)
        run(recipe_file, overwrite=True)
    with pytest.raises(RecipeError, match="was trained on other text"):
        run(recipe_file)
    script.write_text(SCRIPT)
    log.clear()
    run(recipe_file)
    assert "trained" not in log


def test_what_a_script_may_read_fetches_anew(recipe_file: Path, log: list[str]) -> None:
    run(recipe_file)
    script = recipe_file.with_suffix(".py")
    script.write_text(script.read_text().replace('f"{a}', 'f"{config.tokenizer.user_symbols[0][2:4]}{a}'))
    log.clear()
    run(recipe_file, 'tokenizer.user_symbols=["<2de>"]', overwrite=True)
    run(recipe_file, 'tokenizer.user_symbols=["<2fr>"]', overwrite=True)
    assert log.count("fetch") == 2
    assert "frzero" in (recipe_file.parent / "run" / "data" / "train.xx").read_text()


def test_a_script_that_fetches_the_same_text_trains_nothing_anew(recipe_file: Path, log: list[str]) -> None:
    run(recipe_file)
    log.clear()
    script = recipe_file.with_suffix(".py")
    script.write_text(script.read_text() + "\n# a comment\n")
    run(recipe_file)
    assert log == ["fetch"]


def test_an_interrupted_training_goes_on_with_the_same_command(
    recipe_file: Path, log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    train = trainer.train

    def stop(*arguments: object, **options: object) -> None:
        train(*arguments, **options)  # type: ignore[arg-type]
        raise Interrupted("with --resume")

    monkeypatch.setattr(trainer, "train", stop)
    with pytest.raises(Interrupted, match="the same command without --overwrite goes on"):
        run(recipe_file)
    monkeypatch.setattr(trainer, "train", train)
    log.clear()
    run(recipe_file)
    assert log == ["resumed", *ALL[3:]]


def test_a_training_that_failed_is_told_how_to_go_on(
    recipe_file: Path, log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise TrainingError("the loss is not a number; then go on from the last checkpoint with --resume")

    monkeypatch.setattr(trainer, "train", fail)
    with pytest.raises(TrainingError, match=r"seq2seq train \S+run/config.toml --output \S+run --resume --set"):
        run(recipe_file)


def test_int8_is_refused_on_a_gpu_unless_nothing_is_left_to_do(
    recipe_file: Path, log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(devices, "choose_device", lambda name: torch.device("cuda"))
        with pytest.raises(DecodingError, match="int8: is for CPUs, the device is cuda"):
            run(recipe_file, "decoding.precision=int8")
    assert not log
    expected = run(recipe_file, "decoding.precision=int8").scores
    log.clear()
    monkeypatch.setattr(devices, "choose_device", lambda name: torch.device("cuda"))
    assert run(recipe_file, "decoding.precision=int8").scores == expected and not log


def test_a_leftover_of_a_killed_run_is_removed(recipe_file: Path, log: list[str]) -> None:
    leftover = recipe_file.parent / "run" / ".raw.99999999.partial"
    leftover.mkdir(parents=True)
    run(recipe_file)
    assert not leftover.exists()


def test_a_run_that_no_recipe_made_is_left_alone(recipe_file: Path, log: list[str]) -> None:
    (recipe_file.parent / "run").mkdir()
    for name in ("config.toml", "metrics.jsonl"):
        (recipe_file.parent / "run" / name).write_text("")
    with pytest.raises(RecipeError, match="holds a run that no recipe made"):
        run(recipe_file)
    assert log == []


def test_a_config_that_is_no_run_s_is_left_alone_whatever_is_asked(recipe_file: Path, log: list[str]) -> None:
    (recipe_file.parent / "run").mkdir()
    (recipe_file.parent / "run" / "config.toml").write_text("mine")
    with pytest.raises(TrainingError, match=r"run/config\.toml: exists already, belongs to no run"):
        run(recipe_file, overwrite=True)
    assert log == [] and (recipe_file.parent / "run" / "config.toml").read_text() == "mine"


@pytest.mark.usefixtures("impatient")
def test_a_folder_in_which_another_process_works_is_left_alone(recipe_file: Path, log: list[str]) -> None:
    folder = recipe_file.parent / "run"
    leftover = folder / ".raw.99999999.partial"
    leftover.mkdir(parents=True)
    with working_in(folder):
        with pytest.raises(RecipeError, match="run: another process is at work there"):
            run(recipe_file)
        assert log == [] and leftover.exists()
    run(recipe_file)


def test_local_files_that_are_missing_are_named_before_anything_is_done(recipe_file: Path, log: list[str]) -> None:
    with pytest.raises(DataError, match=r"no train\.xx"):
        run(recipe_file, data=recipe_file.parent)
    assert log == []


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.source_language=", "`data.source_language` = ''"),
        ("data.source_language=../x", "needs a language code"),
        ("data.target_language=xx", "is the source language too"),
    ],
)
def test_languages_that_cannot_name_files_are_refused(recipe_file: Path, override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(recipe_file, [override])


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("temperature", "5.0"), ("risk_weights", "[1.0, 0.0]"), ("last_weights", "[1.0, 0.0]"),
        ("curriculum", "[{ weights = [1.0, 0.0] }]"),
    ],
)  # fmt: skip
def test_what_keeps_corpora_apart_is_refused(recipe_file: Path, log: list[str], setting: str, value: str) -> None:
    corpora = '[[data.train]]\npath = "a.tsv"\n' * 2
    last = "\n[training]\nlast_from = 0.8\n"
    recipe_file.write_text(recipe_file.read_text().replace("[data]", f"[data]\n{setting} = {value}") + corpora + last)
    with pytest.raises(RecipeError, match=rf"`data\.{setting}`: a recipe makes one corpus"):
        run(recipe_file)
    assert not log


@pytest.mark.parametrize(
    ("corpora", "message"),
    [
        (("weight = 2.0", ""), r"`data\.train\.weight`: a recipe makes one corpus"),
        (('tag = "<2xx>"', 'tag = "<2yy>"'), "`data.train`: tags '<2xx>', '<2yy>': a recipe puts its corpora together"),
    ],
)
def test_corpora_that_a_recipe_cannot_put_together_are_refused(
    recipe_file: Path, log: list[str], corpora: tuple[str, str], message: str
) -> None:
    text = "".join(f'[[data.train]]\npath = "a.tsv"\n{own}\n' for own in corpora)
    recipe_file.write_text(recipe_file.read_text() + text)
    with pytest.raises(RecipeError, match=message):
        run(recipe_file)
    assert not log


def test_patience_that_may_end_a_training_before_its_last_part_is_refused(recipe_file: Path, log: list[str]) -> None:
    with pytest.raises(RecipeError, match=r"`training.patience` = 3: might end training before the part that begins"):
        run(recipe_file, "training.patience=3", "training.last_from=0.8")
    assert not log


def test_a_recipe_without_a_script_is_refused(recipe_file: Path) -> None:
    recipe_file.with_suffix(".py").unlink()
    with pytest.raises(RecipeError, match=r"numbers\.py: missing"):
        load_recipe(recipe_file)


def test_an_unknown_setting_is_named(recipe_file: Path) -> None:
    with pytest.raises(ConfigError, match=r"recipe\.samples"):
        load_recipe(recipe_file, ["recipe.sample=3"])


def test_a_users_own_folders_are_left_alone(recipe_file: Path, log: list[str]) -> None:
    mine = recipe_file.parent / "run" / "data" / "mine.txt"
    for overwrite in (False, True):
        mine.parent.mkdir(parents=True, exist_ok=True)
        mine.write_text("precious", encoding="utf-8")
        with pytest.raises(RecipeError, match="exists already, and no recipe made it"):
            run(recipe_file, overwrite=overwrite)
        assert mine.read_text(encoding="utf-8") == "precious"
    assert log == []


@pytest.mark.parametrize(
    ("name", "stage"), [("raw/notes", "fetch"), ("data/test_mine.xx", "prepare"), ("translations/mine.yy", "translate")]
)
def test_a_users_file_beside_what_a_stage_made_stays(recipe_file: Path, log: list[str], name: str, stage: str) -> None:
    folder = run(recipe_file).run
    (folder / "raw" / ".hidden").touch()
    log.clear()
    run(recipe_file)
    assert log == []
    (folder / name).write_text("precious", encoding="utf-8")
    for options in ((), ("decoding.beam_size=2", "training.steps=9000")):
        with pytest.raises(RecipeError, match=rf"{name}: no stage made it, and `{stage}` replaces all .*; move it"):
            run(recipe_file, *options)
    assert (folder / name).read_text(encoding="utf-8") == "precious" and log == []
    (folder / name).unlink()
    run(recipe_file, "decoding.beam_size=2")
    assert log == ["translate"]


def test_what_a_stage_wrote_before_it_was_killed_is_not_called_a_users(
    recipe_file: Path, log: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    texts = {"train": [f"{a} and {b}" for a in "abcdefghij" for b in "klmnopqrst"], "test": ["one two"]}
    texts |= {"validation": ["three four"], "test_2": ["five six"]}
    for name in ("train", "validation", "test"):
        for language in ("xx", "yy"):
            write_lines(mine / f"{name}.{language}", texts[name])
    run(recipe_file, data=mine)
    for language in ("xx", "yy"):
        write_lines(mine / f"test_2.{language}", texts["test_2"])
    write = StageRecord.write

    def killed(self: StageRecord, name: str, **values: Any) -> None:
        if name == "fetch" and "outputs" in values:
            raise KeyboardInterrupt
        write(self, name, **values)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(StageRecord, "write", killed)
        run(recipe_file, data=mine)
    assert (tmp_path / "run/raw/test_2.xx").exists()
    assert "test_2" in run(recipe_file, data=mine).further


def test_a_mean_whose_checkpoints_were_deleted_is_not_trained_over(recipe_file: Path, log: list[str]) -> None:
    folder = run(recipe_file).run
    for checkpoint in folder.glob("checkpoints/step_*"):
        shutil.rmtree(checkpoint)
    log.clear()
    with pytest.raises(RecipeError, match=r"average_last_2: the checkpoints beside it, step_\*, are gone"):
        run(recipe_file)
    assert log == [] and (folder / "checkpoints" / "average_last_2" / "model.safetensors").exists()
    run(recipe_file, overwrite=True)
    assert "trained" in log


def test_what_training_would_replace_is_left_alone(recipe_file: Path, log: list[str]) -> None:
    mine = recipe_file.parent / "run" / "tokenizer" / "joint.model"
    mine.parent.mkdir(parents=True)
    mine.write_text("precious", encoding="utf-8")
    with pytest.raises(TrainingError, match=r"tokenizer: exists already, .*training would replace it"):
        run(recipe_file)
    assert mine.read_text(encoding="utf-8") == "precious" and log == []


def test_recipes_under_torchrun_are_refused(recipe_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RecipeError, match="one process"):
        run(recipe_file)
