"""Recipes that make training text with models: distillation and back-translation, from local files to scores."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from seq2seq import synthesis
from seq2seq.config import load_config, save_config
from seq2seq.data.corpus import read_lines
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.decoding.translator import Translator
from seq2seq.errors import ConfigError, RecipeError
from seq2seq.pipeline import Pipeline
from seq2seq.recipe import describe, load_recipe, run_recipe
from seq2seq.stages import StageRecord
from seq2seq.training.trainer import train
from tests.conftest import CONFIG

MONOLINGUAL = [f"{word} CAFE {word} DEAF" for word in ("ABBA", "FADE", "BEEF", "ACE", "HAG", "DAB", "CHAFE", "EGG")]
STAGES = ["fetch", "prepare", "distillation", "back_translation", "train", "translate", "evaluate"]


@pytest.fixture
def recipe(corpus: Path, trained_run: Path, tmp_path: Path) -> Path:
    """A recipe whose teacher is the tiny run, and whose reverse model is the same one, said to be of en-de."""
    reverse = shutil.copytree(trained_run, tmp_path / "reverse")
    config = load_config(reverse / "config.toml")
    data = replace(config.data, source_language="en", target_language="de")
    decoding = replace(config.decoding, min_length_ratio=1.0)  # it has not learnt enough to say something unasked
    save_config(replace(config, data=data, decoding=decoding), reverse / "config.toml")
    local = tmp_path / "local"
    local.mkdir()
    for name in ("train", "valid", "test"):
        for language in ("de", "en"):
            shutil.copy(corpus / f"{name}.{language}", local)
    held_out = (corpus / "test.en").read_text(encoding="utf-8")
    (tmp_path / "mono.en").write_text("".join(f"{line}\n" for line in MONOLINGUAL) + f"\n{held_out}", encoding="utf-8")
    text = CONFIG.replace("steps = 40", "steps = 4").replace("validate_every = 20", "validate_every = 4")
    text = "".join(line for line in text.splitlines(True) if not line.startswith(("train =", "validation =")))
    text += f'''max_length_ratio = 1.0
max_length_offset = 2
[prepare]
max_ratio = 100.0
[distillation]
teacher = "{trained_run}"
beam_size = 1
original_weight = 1.0
[back_translation]
monolingual = "mono.en"
reverse_model = "reverse"
beam_size = 1
weight = 3.0
'''
    (tmp_path / "small.toml").write_text(text, encoding="utf-8")
    (tmp_path / "small.py").write_text("def fetch(config, output): ...\n", encoding="utf-8")
    return tmp_path / "small.toml"


def run(path: Path, *overrides: str) -> list[str]:
    """Run the recipe; the lines about its stages."""
    told: list[str] = []
    run_recipe(load_recipe(path, overrides), path.parent / "run", path.parent / "local", "cpu", told.append)
    return [line for line in told if line.startswith("== ")]


def lines(path: Path) -> list[str]:
    return list(read_lines(path))


def test_a_recipe_distils_and_back_translates(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "BLOCK", 100)
    translate, calls = Translator.translate, 0

    def stop_in_the_second_block(self: Translator, *arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return translate(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Translator, "translate", stop_in_the_second_block)
        with pytest.raises(KeyboardInterrupt):
            run(recipe)
    folder = recipe.parent / "run"
    (block,) = (folder / ".distillation").glob("*.txt")
    block.write_text("".join(f"OLD {number}\n" for number in range(100)), encoding="utf-8")
    assert run(recipe) == [f"== {stage}{': done already' if i < 2 else ''}" for i, stage in enumerate(STAGES)]
    assert not (folder / ".distillation").exists()
    kept = [f"== {stage}: done already" for stage in STAGES if stage not in ("distillation", "back_translation")]
    assert run(recipe) == kept
    # What the run was trained on stays, whatever becomes of the teacher.
    teacher = Path(load_recipe(recipe).config.distillation.teacher)
    teacher.rename(teacher.with_name("elsewhere"))
    assert run(recipe) == kept
    teacher.with_name("elsewhere").rename(teacher)

    sides = (lines(folder / "distillation" / f"distillation.{language}") for language in ("de", "en"))
    distilled, sources = list(zip(*sides, strict=True)), lines(folder / "data" / "train.de")
    assert distilled[:100] == [(source, f"OLD {number}") for number, source in enumerate(sources[:100])]
    assert {source for source, _ in distilled} <= set(sources)
    made, references = lines(folder / "back_translation" / "back_translation.en"), lines(folder / "data" / "test.en")
    assert made and set(made) <= set(MONOLINGUAL) and not set(made) & set(references)
    assert all(line.startswith("<bt> ") for line in lines(folder / "back_translation" / "back_translation.de"))
    assert "<bt>" in Tokenizer.load(folder / "tokenizer").source_pieces("<bt> abba")
    config = load_config(folder / "config.toml")
    assert [corpus.weight for corpus in config.data.train] == [1.0, 1.0, 3.0]
    with pytest.raises(RecipeError, match=r"trained with other settings: back_translation\.tag"):
        run(recipe, "back_translation.tag=<other>")
    # Nor is anything scored on what it was trained on, and be it text that only a model has translated.
    more = [recipe.parent / "local" / f"test_more.{language}" for language in ("de", "en")]
    for text, refused in (("zebra", False), (made[0], True), ("zebras", False)):
        for path in more:
            path.write_text(f"{text}\n", encoding="utf-8")
        if refused:
            with pytest.raises(RecipeError, match=r"back_translation: the run was trained on this text, and "):
                run(recipe)
        else:
            assert "== translate" in run(recipe)
    train(config, folder, device="cpu", resume=True)  # as torchrun would, with the run's own config


def test_a_tag_of_the_training_text_stands_before_what_was_made_too(recipe: Path) -> None:
    tagged = '[data]\ntrain = [{ path = "none.tsv", tag = "<2en>" }]'
    recipe.write_text(recipe.read_text(encoding="utf-8").replace("[data]", tagged), encoding="utf-8")
    run, loaded = recipe.parent / "run", load_recipe(recipe)
    pipeline = Pipeline(loaded.config, loaded.script, run, recipe.parent / "local", "cpu", print, StageRecord(run))
    assert [corpus.tag for corpus in pipeline.settings.config_to_train().data.train] == ["<2en>"] * 3


def test_a_recipe_diversifies_its_text_with_models_that_it_trains(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = recipe.read_text(encoding="utf-8")
    recipe.write_text(
        text[: text.index("[distillation]")] + "[recipe]\naverage = 2\n[diversification]\nmodels = 1\nbeam_size = 1\n",
        encoding="utf-8",
    )
    stages = ["fetch", "prepare", "train forward_1", "forward_1", "train backward_1", "backward_1"]
    stages += ["train", "average", "translate", "evaluate"]
    options = ("training.checkpoint_every=2", "training.keep_checkpoints=3", "decoding.min_length_ratio=1.0")
    options += ("decoding.candidates=4",)

    def stop(*arguments: object) -> object:
        raise KeyboardInterrupt  # when the first model is validated

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Translator, "translate", stop)
        run(recipe, *options)
    with pytest.raises(RecipeError, match=r"forward_1: was trained with other .*: training\.seed = 102 \(was 101"):
        run(recipe, *options, "training.seed=2")
    told = run(recipe, *options)
    assert told == [f"== {stage}{': done already' if i < 2 else ''}" for i, stage in enumerate(stages)]
    rest = [*stages[:2], *stages[6:]]
    assert run(recipe, *options) == [f"== {stage}: done already" for stage in rest]
    folder = recipe.parent / "run"
    more = (*options, "training.steps=6", "recipe.average=0")
    assert run(recipe, *more) == [*(f"== {stage}: done already" for stage in stages[:2]), "== train", *told[-2:]]
    together = load_recipe(recipe, [*more, "diversification.together=true"])
    said: list[str] = []
    described = describe(run_recipe(together, folder, recipe.parent / "local", "cpu", said.append))
    assert sum("translates with `recipe.average` = 2, as when it was trained" in line for line in said) == 2
    runs = [str(folder / "diversification" / name) for name in ("forward_1", "backward_1")]
    assert f" {folder} --ensemble {runs[0]} --rerank-by {runs[1]} --source" in described
    by_hand = Translator.load(folder, ensemble=runs[:1], rerank_by=runs[1])
    found = [each.text for each in by_hand.translate(lines(folder / "data" / "test.de"))]
    assert lines(folder / "translations" / "test.en") == found
    backward = load_config(folder / "diversification" / "backward_1" / "config.toml")
    assert backward.data.languages == ("en", "de")
    sources, targets = (lines(folder / "data" / f"train.{language}") for language in ("de", "en"))
    assert set(lines(folder / "forward_1" / "forward_1.de")) <= set(sources)
    assert set(lines(folder / "backward_1" / "backward_1.en")) <= set(targets)
    assert len(load_config(folder / "config.toml").data.train) == 3
    with pytest.raises(RecipeError, match=r"trained with other settings: diversification\.models = 2 \(was 1\)"):
        run(recipe, *options, "diversification.models=2")
    with pytest.raises(ConfigError, match=r"diversification\.models.*recipe run"):
        train(load_config(recipe), recipe.parent / "plain", device="cpu")


def test_training_without_a_recipe_refuses_what_only_a_recipe_does(recipe: Path, tmp_path: Path) -> None:
    config = load_config(recipe, [])
    with pytest.raises(ConfigError, match=r"distillation\.teacher.*seq2seq translate"):
        train(config, tmp_path / "plain", device="cpu")
    assert not (tmp_path / "plain").exists()
