"""What methods of training and decoding give, on one recipe: `python recipes/ablation.py multi30k_de_en`.

    python recipes/ablation.py RECIPE [--data DIR] [--output DIR] [--seed N] [--only METHOD] [--set KEY=VALUE]

Trains the recipe without any method, and with one method at a time, as runs of their own in DIR (runs/ablation/RECIPE),
where finished ones stay; then translates the test set with each, and prints a Markdown table. All train as many steps,
`--set training.steps=3000`; methods of decoding, and the mean of checkpoints, share the run without methods. Nothing is
chosen by this table: it says what methods are worth; recipes are tuned on validation text. Methods that need other
models or text (distillation, back-translation, ensembles, reranking) are not in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import click

from seq2seq.averaging import average
from seq2seq.checkpoint import due_checkpoints
from seq2seq.config import Config, load_config
from seq2seq.data.corpus import read_lines
from seq2seq.errors import ConfigError, Seq2SeqError
from seq2seq.evaluation import Score, Scores, compare, score
from seq2seq.files import remove_directory
from seq2seq.recipe import Recipe, load_recipe, run_recipe
from seq2seq.settings import flat, to_dict
from seq2seq.telling import say

# Every method off; the search is plain, and the weights are those of the best single checkpoint.
PLAIN = (
    "training.r_drop=0", "training.subword_sampling=0", "training.ema_decay=0", "training.layer_drop=0",
    "training.minimum_risk=0", "training.source_word_dropout=0", "training.target_word_dropout=0",
    "training.label_smoothing=0", "model.attention_dropout=0", "model.activation_dropout=0", "model.norm=pre",
    "model.initialisation=glorot",
    "training.optimizer=adamw", "training.weight_decay=0", "tokenizer.fold_source_case=false",
    "training.max_minutes=0", "training.patience=0", "training.last_from=1",
    "recipe.average=0", "recipe.ensemble=1", "decoding.mbr=off", "decoding.beam_size=5", "decoding.patience=1",
    "decoding.length_reward=0", "diversification.models=0", "diversification.together=false",
    "distillation.teacher=", "back_translation.monolingual=",
    "back_translation.reverse_model=",
)  # fmt: skip
TRAINING: Mapping[str, tuple[str, ...]] = {
    "baseline": (),
    "Muon": ("training.optimizer=muon",),
    "weight decay": ("training.weight_decay=0.1",),
    "source text in lower case": ("tokenizer.fold_source_case=true",),
    "label smoothing": ("training.label_smoothing=0.1",),
    "subword sampling": ("training.subword_sampling=0.1",),
    "R-Drop": ("training.r_drop=1.0",),
    "moving average": ("training.ema_decay=0.999",),
    "word dropout": ("training.source_word_dropout=0.1", "training.target_word_dropout=0.1"),
    "dropout inside the layers, too": ("model.attention_dropout=0.1", "model.activation_dropout=0.1"),
    "minimum risk in the last tenth": (
        "training.minimum_risk=100", "training.risk_from=0.9", "training.risk_learning_rate=0.001",
        "training.risk_batch_tokens=768",
    ),
    "LayerDrop": ("training.layer_drop=0.1",),
    "norm after each sub-layer": ("model.norm=post",),
    "depth-scaled initialisation": ("model.initialisation=depth_scaled",),
    "12-layer encoder and 1-layer decoder": ("model.encoder_layers=12", "model.decoder_layers=1"),
}
MEAN = "mean of 5 checkpoints"  # the latest ones of the run without methods; of fewer, if it has not as many
DECODING: Mapping[str, Mapping[str, Any]] = {
    MEAN: {},
    "beam 5, patience 2": {"beam_size": 5, "patience": 2.0},
    "MBR by BLEU, beam 32": {"mbr": "bleu", "candidates": 32},
    "MBR by chrF, beam 32": {"mbr": "chrf", "candidates": 32},
    "MBR by BLEU, 32 samples": {"mbr": "bleu", "candidates": 32, "sample": True, "epsilon": 0.02},
}


class Row(NamedTuple):
    """One method with one seed."""

    method: str
    seed: int
    minutes: float
    translations: list[str]
    scores: Scores


@click.command()
@click.argument("recipe")
@click.option("--data", type=click.Path(path_type=Path), help="Local files to use instead of fetching the corpus.")
@click.option("--output", type=click.Path(path_type=Path), help="Where the runs go.  [default: runs/ablation/RECIPE]")
@click.option("--seed", "seeds", default=[1], show_default=True, multiple=True, help="Of training; may be repeated.")
@click.option("--only", multiple=True, help="A method to look at, beside the baseline; may be repeated.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="A setting of all runs.")
def main(
    recipe: str,
    data: Path | None,
    output: Path | None,
    seeds: tuple[int, ...],
    only: tuple[str, ...],
    overrides: tuple[str, ...],
) -> None:
    """Train and translate RECIPE, a name or a TOML file, with one method at a time; print a table."""
    unknown = [name for name in only if name not in (*TRAINING, *DECODING)]
    if unknown:
        raise click.UsageError(f"no method {unknown[0]!r}; there are {', '.join((*TRAINING, *DECODING))}")
    limited = "training.steps" not in {each.split("=")[0].strip() for each in overrides}
    path = Path(recipe) if recipe.endswith(".toml") else Path(__file__).with_name(f"{recipe}.toml")
    folder = output or Path("runs/ablation") / path.stem
    try:
        if limited and load_recipe(path, overrides).config.training.max_minutes:
            raise ConfigError(f"{recipe}: time ends its training; say how many steps all have: --set training.steps=N")
        recipes = {seed: _recipes(path, [*PLAIN, *overrides, f"training.seed={seed}"], only) for seed in seeds}
        for seed in seeds:
            for method, wanted in recipes[seed].items():
                _refuse_another(_run(folder, method, seed), wanted.config)
        rows = [row for seed in seeds for row in _rows(recipes[seed], folder, data, seed, only)]
        language = load_recipe(path, overrides).config.data.target_language
        references = list(read_lines(folder / f"baseline-{rows[0].seed}" / "data" / f"test.{language}"))
        click.echo("\n".join(table(rows, references, language)))
    except (Seq2SeqError, OSError) as error:
        raise click.ClickException(str(error)) from None


def _recipes(path: Path, common: Sequence[str], only: Sequence[str]) -> dict[str, Recipe]:
    """The recipe with each method to train with, the baseline first: with all that fit it, or those asked for."""
    found = {}
    for method, settings in TRAINING.items():
        if method == "baseline" or not only or method in only:
            try:
                found[method] = load_recipe(path, [*common, *settings])
            except ConfigError as error:
                if method == "baseline" or only:
                    raise
                say(f"{method}: left out: {error}")
    return found


def _rows(
    recipes: Mapping[str, Recipe], folder: Path, data: Path | None, seed: int, only: Sequence[str]
) -> Iterator[Row]:
    """What each method gives with a seed."""
    for method, recipe in recipes.items():
        say(f"== {method}, seed {seed}")
        yield _trained(recipe, method, seed, _run(folder, method, seed), data)
    for method, changes in DECODING.items():
        if not only or method in only:
            say(f"== {method}, seed {seed}")
            yield _searched(recipes["baseline"], method, seed, folder / f"baseline-{seed}", changes)


def _run(folder: Path, method: str, seed: int) -> Path:
    return folder / f"{method.replace(' ', '_')}-{seed}"


def _refuse_another(run: Path, wanted: Config) -> None:
    """Refuse a run that is there and was trained with other settings, also those that a recipe lets change."""
    if not (run / "config.toml").exists():
        return
    before, now = (flat(to_dict(config.training)) for config in (load_config(run / "config.toml"), wanted))
    for name in (name for name, value in now.items() if before.get(name) != value and name != "log_every"):
        raise ConfigError(
            f"{run}: was trained with training.{name} = {before.get(name)!r}, and {now[name]!r} is asked for, which is "
            "not to be in one table; choose another --output"
        )


def _trained(recipe: Recipe, method: str, seed: int, run: Path, data: Path | None) -> Row:
    result = run_recipe(recipe, run, data)
    translations = list(read_lines(run / "translations" / f"test.{recipe.config.data.target_language}"))
    return Row(method, seed, result.figures["training_seconds"] / 60, translations, result.scores)


def _searched(recipe: Recipe, method: str, seed: int, run: Path, changes: Mapping[str, Any]) -> Row:
    from seq2seq.decoding.translator import Translator

    source, reference = (
        list(read_lines(run / "data" / f"test.{language}")) for language in recipe.config.data.languages
    )
    if method == MEAN:
        number = min(5, recipe.config.training.keep_checkpoints, len(due_checkpoints(run)))
        method, mean = MEAN.replace("5", str(number)), average(run, last=number)
        translator = Translator.load(mean)
        remove_directory(mean)  # so that the run stays as it was
    else:
        translator = Translator.load(run)
    found = [each.text for each in translator.translate(source, replace(translator.config, **changes))]
    scores = score(found, [reference], target_language=recipe.config.data.target_language)
    return Row(method, seed, 0.0, found, scores)


def table(rows: list[Row], references: list[str], language: str) -> Iterator[str]:
    """The outcome as Markdown; p is that of BLEU against the baseline of the same seed."""
    heads = ["method", "seed", "BLEU", "against the baseline", "chrF", "BLEU, lower-cased, tokenised", "minutes"]
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        baseline = next(each for each in rows if each.method == "baseline" and each.seed == row.seed)
        against = ""
        if row is not baseline:
            found = compare(row.translations, [baseline.translations], [references], target_language=language)[0].bleu
            against = f"{found.difference:+.2f}, p = {found.p_value:.3f}"
        measures = [row.scores.bleu, row.scores.chrf, row.scores.bleu_lowercased_tokenised]
        bleu, chrf, lowercased = map(_with_interval, measures)
        minutes = f"{row.minutes:.1f}" if row.minutes else "as the baseline"
        yield f"| {row.method} | {row.seed} | {bleu} | {against} | {chrf} | {lowercased} | {minutes} |"


def _with_interval(measure: Score) -> str:
    half = ((measure.high or 0.0) - (measure.low or 0.0)) / 2
    return f"{measure.score:.2f} ± {half:.2f}" if half else f"{measure.score:.2f}"


if __name__ == "__main__":
    main()
