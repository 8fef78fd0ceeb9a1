"""`seq2seq evaluate`: translate a test set with one or several checkpoints and score it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import (
    PATH,
    decoding_options,
    device_option,
    engine_option,
    ensemble_option,
    language_option,
    refuse_idle,
    rerank_option,
    with_decoding,
)
from .streams import complain, progress_bar

if TYPE_CHECKING:
    from seq2seq.config import DecodingConfig
    from seq2seq.decoding.engine import EngineName
    from seq2seq.decoding.translator import Translator
    from seq2seq.evaluation import Scores


@click.command()
@click.argument("runs", nargs=-1, required=True, type=PATH, metavar="RUN_OR_CHECKPOINT...")
@click.option("--source", required=True, type=PATH, metavar="FILE", help="Sentences to translate (.gz too).")
@click.option(
    "--reference", "references", required=True, multiple=True, type=PATH, metavar="FILE",
    help="References, one sentence a line; repeat the option for several references of each sentence.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option(
    "--reverse-weights", callback=lambda _context, _parameter, value: _weights(value), metavar="X,X,...",
    help="With --rerank-by: a row for each of these weights, from one search. Choose on validation text.",
)  # fmt: skip
@engine_option
@ensemble_option
@rerank_option
@device_option
@language_option("  [default: that of a tag, or of each run]")
@decoding_options("n_best")
def evaluate(
    *,
    runs: tuple[Path, ...],
    source: Path,
    references: tuple[Path, ...],
    as_json: bool,
    reverse_weights: tuple[float, ...],
    engine: EngineName,
    ensemble: tuple[Path, ...],
    rerank_by: Path | None,
    device: str,
    target_language: str,
    **decoding: Any,
) -> None:
    """Translate a test set and score the translations.

    Each RUN_OR_CHECKPOINT gets a row with BLEU, chrF and TER as sacreBLEU computes them, with 95% intervals and
    signatures, the lower-cased tokenised BLEU that many papers report, and sentences translated in a second. With
    --ensemble, each is joined with the runs named there. Decoding settings that are not given are those of each run.
    """
    if reverse_weights and rerank_by is None:
        raise click.UsageError("--reverse-weights: there is no reverse model; give one with --rerank-by RUN")
    if reverse_weights and decoding["reverse_weight"] is not None:
        raise click.UsageError("--reverse-weight: does nothing beside --reverse-weights; leave one out")
    from seq2seq import evaluation

    sources, *targets = evaluation.read_parallel(source, *references)
    limit = evaluation.MAX_RESAMPLED_SENTENCES
    if len(sources) > limit:
        complain(f"warning: {source}: {len(sources)} lines; over {limit} there are no intervals")
    for path, lines in zip(references, targets, strict=True):
        if evaluation.looks_tokenised(lines):
            complain(f"warning: {path}: looks tokenised; give raw text, or the scores cannot be compared with others")
    from seq2seq.checkpoint import resolve
    from seq2seq.config import load_config
    from seq2seq.data.tags import tagged_language
    from seq2seq.decoding.loading import export_in

    found = [resolve(run)[1] if engine == "torch" and not export_in(run) else run for run in (*runs, *ensemble)]
    checkpoints, others = found[: len(runs)], found[len(runs) :]
    folders = [path if (path / "config.toml").exists() else resolve(path)[0] for path in checkpoints]
    configs = [_of_one(load_config(folder / "config.toml").decoding) for folder in folders]
    refuse_idle(configs, decoding, rerank_by is not None, engine)
    for config in configs:  # of the last one, too, before the first translates
        with_decoding(config, decoding, rerank_by is not None)
    rows: list[tuple[str, Scores]] = []
    speeds: list[float] = []
    try:
        for checkpoint in checkpoints:
            together = [checkpoint, *others]
            translator, language = _open(together, rerank_by, engine, device, decoding)
            for name, translations, speed in _translate(translator, sources, reverse_weights):
                asked_for = target_language or tagged_language(sources, translator.config.tag) or language
                scores = evaluation.score(translations, targets, target_language=asked_for)
                rows.append((" + ".join(map(str, together)) + name, scores))
                speeds.append(speed)
    finally:  # what there is, should a later one fail
        if rows:
            click.echo(_as_json(rows, speeds) if as_json else evaluation.format_scores(rows, speeds))


def _as_json(rows: list[tuple[str, Scores]], speeds: list[float]) -> str:
    records = [
        {"checkpoint": name, **scores.to_json(), "sentences_per_second": round(speed, 2)}
        for (name, scores), speed in zip(rows, speeds, strict=True)
    ]
    return json.dumps(records, ensure_ascii=False, indent=2)


def _of_one(config: DecodingConfig) -> DecodingConfig:
    """A run's decoding settings, for one translation of each sentence."""
    return replace(config, n_best=1)


def _weights(text: str | None) -> tuple[float, ...]:
    """Numbers with commas between them."""
    try:
        weights = () if text is None else tuple(float(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r}: give numbers with commas between them, such as 0,0.5,1") from None
    if not all(0 <= weight <= 1000 for weight in weights):
        raise click.BadParameter(f"{text!r}: weights must be between 0 and 1000")
    return weights


def _open(
    checkpoints: list[Path], rerank_by: Path | None, engine: EngineName, device: str, options: dict[str, Any]
) -> tuple[Translator, str]:
    """What translates with all checkpoints together, and the language it translates to."""
    from seq2seq.decoding.loading import load_ensemble, load_reverse
    from seq2seq.decoding.translator import Translator

    loaded = load_ensemble(checkpoints, device, engine)
    config = with_decoding(_of_one(loaded.config.decoding), options, rerank_by is not None)
    reverse = load_reverse(rerank_by, loaded.config, device) if rerank_by else None
    return Translator.of(loaded, config, reverse), loaded.config.data.target_language


def _translate(
    translator: Translator, sources: list[str], reverse_weights: tuple[float, ...]
) -> Iterator[tuple[str, list[str], float]]:
    """What to add to the name of the system, its translations, and sentences in a second; for each weight, if any."""
    names = [f", reverse weight {weight:g}" for weight in reverse_weights] or [""]
    with progress_bar(len(sources), "sentences") as bar:
        began = time.monotonic()
        if reverse_weights:
            found = translator.translate_by_weights(sources, reverse_weights, progress=bar.update)
        else:
            found = [translator.translate(sources, progress=bar.update)]
        speed = len(sources) / max(time.monotonic() - began, 1e-9)
    for name, translations in zip(names, found, strict=True):
        yield name, [each.text for each in translations], speed
