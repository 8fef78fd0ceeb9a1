"""Fetching and preparing; what comes after needs a model, pretended in `test_recipe.py` and real in `integration`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from seq2seq import devices
from seq2seq.config import Config, CorpusConfig, DataConfig, DecodingConfig, PrepareConfig, RecipeConfig
from seq2seq.data.corpus import read_lines
from seq2seq.errors import ConfigError, DataError, DecodingError
from seq2seq.pipeline import Pipeline
from seq2seq.recipe_settings import RecipeSettings
from seq2seq.run_folder import RunFolder
from seq2seq.stages import StageRecord

CONFIG = Config(
    data=DataConfig(source_language="xx", target_language="yy"),
    prepare=PrepareConfig(max_characters=40),
    recipe=RecipeConfig(validation_size=5, test_size=10),
)
WORDS = [f"{letter}{letter}" for letter in "abcdefghijklmnop"]
LINES = [f"{a} {b} times {c} make" for a in WORDS for b in WORDS[:3] for c in WORDS[:3]]


class Prepared:
    """A run directory after `fetch` and `prepare` of local files."""

    def __init__(self, folder: Path, **files: list[str]) -> None:
        local, run = folder / "local", folder / "run"
        local.mkdir()
        for name, lines in files.items():
            (local / f"{name}.xx").write_text("".join(f"{line}\n" for line in lines))
            (local / f"{name}.yy").write_text("".join(f"{line.upper()}\n" for line in lines))
        self.told: list[str] = []
        self.record = StageRecord(run)
        self.pipeline = Pipeline(CONFIG, folder / "none.py", run, local, "cpu", self.told.append, self.record)
        for stage in list(self.pipeline.stages())[:2]:
            self.record.run(stage)
        self.data = run / "data"

    def lines(self, name: str, language: str = "xx") -> list[str]:
        return list(read_lines(self.data / f"{name}.{language}"))


def test_text_is_held_out_where_there_is_only_training_text(tmp_path: Path) -> None:
    run = Prepared(tmp_path, train=LINES)
    assert len(run.lines("validation")) == 5 and len(run.lines("test")) == 10 and len(run.lines("train")) > 20
    for side in ("xx", "yy"):
        held_out = {*run.lines("validation", side), *run.lines("test", side)}
        assert len(held_out) == 15 and held_out <= set(LINES) | {line.upper() for line in LINES}
        assert not held_out & set(run.lines("train", side))
    assert any("held out 15 of 144 pairs" in line for line in run.told)


@pytest.mark.parametrize(("given", "made", "size"), [("test", "validation", 5), ("val", "test", 10)])
def test_only_what_is_missing_is_held_out(tmp_path: Path, given: str, made: str, size: int) -> None:
    run = Prepared(tmp_path, train=LINES, **{given: ["this is it", "aa bb times bb make"]})
    assert run.lines({"val": "validation"}.get(given, given)) == ["this is it", "aa bb times bb make"]
    assert len(run.lines(made)) == size and "aa bb times bb make" not in run.lines("train")


def test_what_is_held_out_for_validation_is_not_the_test_text(tmp_path: Path) -> None:
    run = Prepared(tmp_path, train=LINES[:40], test=LINES[:30])
    assert len(run.lines("validation")) == 5 and not set(run.lines("validation")) & set(LINES[:30])


def test_held_out_text_stays_as_it_is_and_training_text_is_cleaned(tmp_path: Path) -> None:
    odd = ["one sentence", "", " x  y ", "one sentence", "long " * 20]
    run = Prepared(tmp_path, train=["a b", "a b", "", "one sentence", "long " * 20, "kept"], val=odd, test=odd)
    assert run.lines("validation") == run.lines("test") == odd
    assert run.lines("train") == ["a b", "kept"]
    assert any("2 training pairs" in line and "1 duplicate" in line and "1 overlap" in line for line in run.told)


def test_training_text_of_which_nothing_is_left_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train: no pair is left \(1 read, 1 overlap\); .* see `\[prepare\]`"):
        Prepared(tmp_path, train=["one sentence"], val=["one sentence"], test=["another one"])
    assert not (tmp_path / "run" / "data").exists()


def test_training_text_that_filters_drop_is_not_asked_for_held_out_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train: no pair is left \(2 read, 2 too long\)"):
        Prepared(tmp_path, train=["long " * 20, "and long " * 20])


def test_held_out_text_has_the_tag_of_training_text_but_for_one_of_its_own(tmp_path: Path) -> None:
    hub = CorpusConfig(dataset="some/texts")
    data = DataConfig(train=(replace(hub, tag="<2yy>"),), validation=hub, test=replace(hub, tag="<formal>"))
    folder = RunFolder(tmp_path, ("xx", "yy"))
    found = RecipeSettings(replace(CONFIG, data=data), folder, is_local=False).tags
    assert found == {"train": "<2yy>", "validation": "<2yy>", "test": "<formal>"}


def test_what_is_prepared_is_done_and_the_rest_is_not(tmp_path: Path) -> None:
    run = Prepared(tmp_path, train=LINES)
    assert [run.record.is_done(stage) for stage in run.pipeline.stages()] == [True, True, False, False, False]


def test_int8_on_a_gpu_is_refused_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "choose_device", torch.device)
    config = replace(CONFIG, decoding=DecodingConfig(precision="int8"))
    run = tmp_path / "run"
    pipeline = Pipeline(config, tmp_path / "none.py", run, None, "cuda", print, StageRecord(run))
    with pytest.raises(DecodingError, match="int8: is for CPUs, the device is cuda"):
        pipeline.check_device()


def test_a_gpu_that_is_not_there_is_refused_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    pipeline = Pipeline(CONFIG, tmp_path / "none.py", tmp_path, None, "cuda", print, StageRecord(tmp_path))
    with pytest.raises(ConfigError, match="0 GPUs"):
        pipeline.check_device()


def test_stages_depend_on_settings_by_the_names_that_finished_runs_have_noted(tmp_path: Path) -> None:
    fetch, prepare = list(Prepared(tmp_path, train=LINES).pipeline.stages())[:2]
    assert {"data.source_language", "data.train"} < fetch.settings.keys()
    assert fetch.settings.keys() | {"validation_size", "test_size", "prepare.max_ratio"} <= prepare.settings.keys()
