"""Recipes: from a public corpus to a translator and its scores, in stages that are done once.

A recipe is a TOML file of settings and a Python script of the same name beside it, whose `fetch(config, output)` writes
the corpus to `output` as text: `train.SOURCE train.TARGET`, and `validation.*` and `test.*` where the corpus has them.
Further test sets, whose names begin with `test`, such as `test_news.*`, are scored too.
A run directory gets, beside what training writes:

    RUN/raw/                 the text as fetched
    RUN/data/                cleaned training text, and validation and test text, held out where `raw` has none
    RUN/distillation/        a teacher's translations of the training text, and
    RUN/back_translation/    back-translations of monolingual text, where the settings ask for them
    RUN/diversification/     runs that translate the training text, forward_1, backward_1 and so on, and
    RUN/forward_1/           what they make, where the settings ask for it
    RUN/ensemble/2/          another run of an ensemble, and so on, where the settings ask for one
    RUN/translations/        of the test sets
    RUN/scores.json          what they score, and what the run took
    RUN/stages.json          which stages are done
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

from seq2seq.config import Config, PrepareConfig, load_config
from seq2seq.data.corpus import read_lines
from seq2seq.errors import RecipeError
from seq2seq.evaluation import Score, Scores, format_scores
from seq2seq.files import alone_in, remove_leftovers
from seq2seq.pipeline import Pipeline
from seq2seq.run_folder import RunFolder
from seq2seq.stages import Stage, StageRecord
from seq2seq.telling import say

# Of text that is cleaned already, maybe each corpus its own way.
_AS_IT_IS = PrepareConfig(
    unicode_form="none", drop_mojibake=False, max_characters=10**9, max_ratio=10.0**9, remove_overlap=False,
    deduplicate=False,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings of a run and the script that fetches its corpus."""

    name: str
    config: Config
    script: Path


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A test sentence as it was translated, and as it should be."""

    source: str
    translation: str
    reference: str


@dataclass(frozen=True, kw_only=True)
class RecipeResult:
    """What a finished recipe leaves to say."""

    recipe: Recipe
    run: Path
    scores: Scores
    further: dict[str, Scores]  # of further test sets
    figures: dict[str, Any]  # of `scores.json`, beside the scores: what the run took
    samples: tuple[Sample, ...]


def load_recipe(path: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe's TOML file, with `KEY=VALUE` overrides laid over it.

    Raises:
        ConfigError: if a setting is wrong.
        RecipeError: if the script beside it is missing, or the languages are not usable as file name endings.
    """
    path = Path(path)
    config = load_config(path, overrides)
    languages = {"source_language": config.data.source_language, "target_language": config.data.target_language}
    for name, language in languages.items():
        if not re.fullmatch(r"[A-Za-z0-9_-]+", language):
            raise RecipeError(f"`data.{name}` = {language!r}: a recipe needs a language code, such as de or zh-Hans")
    if config.data.source_language == config.data.target_language:
        raise RecipeError(f"`data.target_language` = {config.data.target_language!r}: is the source language too")
    script = path.with_suffix(".py")
    if not script.is_file():
        raise RecipeError(f"{script}: missing; a recipe's script has the name of its TOML file and a `fetch` function")
    return Recipe(name=path.stem, config=config, script=script)


def run_recipe(
    recipe: Recipe,
    output: Path | str,
    data: Path | str | None = None,
    device: str = "auto",
    report: Callable[[str], None] = say,
    overwrite: bool = False,
) -> RecipeResult:
    """Fetch, prepare, train, average, translate and evaluate; stages that are done and unchanged are skipped.

    Args:
        recipe: what to run.
        output: the run directory to make or go on with.
        data: a folder of local `train.LANG`, `val.LANG` and `test.LANG` files to take instead of fetching.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        report: takes the lines that say what happens.
        overwrite: train anew where a run exists.

    Raises:
        RecipeError: if changed settings do not fit the training that `output` holds, or a stage cannot run.
        DataError, ConfigError, TokenizerError, TrainingError: from the stages.
        Interrupted: after Ctrl-C or SIGTERM in training, when its state is saved.
    """
    run = Path(output)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RecipeError(
            "a recipe runs in one process; stop it (Ctrl-C) once it trains, go on with `torchrun ... -m seq2seq_cli "
            "train RUN/config.toml --output RUN --resume` (RUN: that of the model that was training, maybe one "
            "in RUN/diversification or RUN/ensemble), then run the recipe again for the rest"
        )
    with alone_in(run, RecipeError):
        pipeline = _pipeline(recipe, run, data, device, report)
        pipeline.check_training(overwrite)
        for folder in (run, run / "checkpoints"):
            remove_leftovers(folder)
        if not overwrite:  # which removes more
            pipeline.trainings.remove_idle_means()
        try:
            for stage in pipeline.stages():
                _do(stage, pipeline)
        except BaseException:
            pipeline.trainings.restore()
            raise
        return _result(recipe, run)


def with_corpus(
    recipe: Recipe,
    output: Path | str,
    data: Path | str | None = None,
    report: Callable[[str], None] = say,
    cleaned: bool = True,
) -> Config:
    """The settings of a recipe with its corpus: the first stages are done, unless they are, and training is not begun.

    Args:
        recipe: whose corpus is wanted.
        output: the run directory to make, or go on with.
        data: as in `run_recipe`.
        report: takes the lines that say what happens.
        cleaned: whether training text is wanted as the recipe trains on it. Otherwise it is as it was fetched; but
            where validation or test text has to be held out of it, it is cleaned, too, and `prepare` is not to drop
            more of it.

    Raises:
        RecipeError: if another process works in `output`.
        RecipeError, DataError, ConfigError, TrainingError: from the stages, and what they find in `output`.
    """
    pipeline = _pipeline(recipe, Path(output), data, "cpu", report)
    pipeline.check_folders()
    fetch, prepare = islice(pipeline.stages(), 2)
    done = pipeline.record.is_done(fetch) and pipeline.record.is_done(prepare)
    with nullcontext() if done else alone_in(Path(output), RecipeError):  # while it trains, its text may be looked at
        if not done:
            remove_leftovers(Path(output))
            pipeline.check_training(overwrite=False)  # of which this text may be
        _do(fetch, pipeline)
        raw = None if cleaned else pipeline.settings.raw_corpora()
        if raw is None:
            _do(prepare, pipeline)
        if raw is None:
            how = recipe.config.prepare if cleaned else _AS_IT_IS
            return replace(recipe.config, prepare=how, data=pipeline.settings.corpora())
        return replace(recipe.config, data=raw)


def _pipeline(
    recipe: Recipe, run: Path, data: Path | str | None, device: str, report: Callable[[str], None]
) -> Pipeline:
    return Pipeline(recipe.config, recipe.script, run, Path(data) if data else None, device, report, StageRecord(run))


def _do(stage: Stage, pipeline: Pipeline) -> None:
    """Do a stage, unless it is done and unchanged."""
    if pipeline.record.is_done(stage):
        pipeline.report(f"== {stage.name}: done already")
    else:
        if stage.name != "evaluate":  # which translates no more
            pipeline.check_device()
        pipeline.report(f"== {stage.name}")
        pipeline.record.run(stage)


def describe(result: RecipeResult) -> str:
    """The result for people: scores with signatures, sample translations, and the next commands to type."""
    from seq2seq.checkpoint import latest, read_info

    config, run = result.recipe.config, shlex.quote(str(result.run))
    languages = config.data.languages
    folder = RunFolder(result.run, languages)
    ensemble = "".join(f" --ensemble {shlex.quote(str(partner))}" for partner in folder.partners(config))
    if reverse := folder.reverse(config):
        ensemble += f" --rerank-by {shlex.quote(str(reverse))}"
    source, reference = (shlex.quote(str(result.run / "data" / f"test.{code}")) for code in languages)
    figures = result.figures
    others = [
        *folder.members(config),
        *folder.teachers(config.diversification, "forward"), *folder.teachers(config.diversification, "backward"),
    ]  # fmt: skip
    seconds = [figures["training_seconds"], *(read_info(at).training_seconds for run in others if (at := latest(run)))]
    of_all = f" (of all models: {sum(seconds) / 60:.1f})" if others else ""
    lines = [
        f"{figures['sentences']:,} test sentences, {figures['checkpoint']}",
        "",
        format_scores([(result.recipe.name, result.scores), *result.further.items()]),
        "",
        f"{figures['steps']:,} steps in {figures['training_seconds'] / 60:.1f} minutes of training{of_all}, "
        f"{figures['tokens_per_second']:,.0f} target tokens/s, peak memory {figures['peak_memory_mb']:,} MB",
    ]
    for sample in result.samples:
        lines += ["", f"  source       {sample.source}", f"  translation  {sample.translation}"]
        lines += [f"  reference    {sample.reference}"]
    lines += [
        "",
        "Next:",
        f"  seq2seq translate {run}{ensemble}  # type sentences and end with Ctrl-D; or --input FILE --output FILE",
        f"  seq2seq evaluate {run}{ensemble} --source {source} --reference {reference}",
        f"  seq2seq report {run}{ensemble} --source {source} --reference {reference} --output report.html",
    ]
    return "\n".join(lines)


def main_for(script: str) -> None:
    """What a recipe's script does when it is run itself: `seq2seq recipe run` of the TOML file beside it."""
    from importlib.metadata import entry_points

    commands = entry_points(group="console_scripts", name="seq2seq")
    if not commands:
        sys.exit("error: seq2seq is not installed; `pip install -e .` in its folder installs it")
    main = next(iter(commands)).load()
    main(["recipe", "run", str(Path(script).with_suffix(".toml")), *sys.argv[1:]])


def _result(recipe: Recipe, run: Path) -> RecipeResult:
    values = json.loads((run / "scores.json").read_text(encoding="utf-8"))
    further = {name: _scores(found) for name, found in values.pop("further_test_sets", {}).items()}
    return RecipeResult(
        recipe=recipe, run=run, scores=_scores(values), further=further, figures=values, samples=_samples(recipe, run)
    )


def _scores(values: dict[str, Any]) -> Scores:
    """The scores among the values of `scores.json`, which are taken out of them."""
    return Scores(**{field.name: Score(**values.pop(field.name)) for field in fields(Scores)})


def _samples(recipe: Recipe, run: Path) -> tuple[Sample, ...]:
    """Sentences of four words or more from all over the test set, taken at even distances and not by hand."""
    data = recipe.config.data
    paths = (
        run / "data" / f"test.{data.source_language}",
        run / "translations" / f"test.{data.target_language}",
        run / "data" / f"test.{data.target_language}",
    )
    samples = [Sample(source=s, translation=t, reference=r) for s, t, r in zip(*map(read_lines, paths), strict=True)]
    number = min(recipe.config.recipe.samples, len(samples))
    telling = [sample for sample in samples if len(sample.reference.split()) >= 4]
    pool = telling if len(telling) >= number else samples
    return tuple(pool[len(pool) * i // number] for i in range(number))
