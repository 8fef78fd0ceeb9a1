"""`seq2seq evaluate`: translate a test set with one or several checkpoints and score it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import PATH, decoding_options, device_option, engine_option, ensemble_option, with_decoding
from .streams import complain, progress_bar

if TYPE_CHECKING:
    from seq2seq.decoding.engine import EngineName
    from seq2seq.evaluation import Scores


@click.command()
@click.argument("runs", nargs=-1, required=True, type=PATH, metavar="RUN_OR_CHECKPOINT...")
@click.option("--source", required=True, type=PATH, metavar="FILE", help="Sentences to translate (.gz too).")
@click.option(
    "--reference", "references", required=True, multiple=True, type=PATH, metavar="FILE",
    help="References, one sentence a line; repeat the option for several references of each sentence.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@engine_option
@ensemble_option
@device_option
@decoding_options
def evaluate(
    *,
    runs: tuple[Path, ...],
    source: Path,
    references: tuple[Path, ...],
    as_json: bool,
    engine: EngineName,
    ensemble: tuple[Path, ...],
    device: str,
    **decoding: Any,
) -> None:
    """Translate a test set and score the translations.

    Each RUN_OR_CHECKPOINT gets a row with BLEU, chrF and TER as sacreBLEU computes them, with 95% intervals and
    signatures, the lower-cased tokenised BLEU that many papers report, and sentences translated in a second. With
    --ensemble, each is joined with the runs named there. Decoding settings that are not given are those of each run.
    """
    from seq2seq import evaluation

    sources, *targets = evaluation.read_parallel(source, *references)
    for path, lines in zip(references, targets, strict=True):
        if evaluation.looks_tokenised(lines):
            complain(f"warning: {path}: looks tokenised; give raw text, or the scores cannot be compared with others")
    from seq2seq.checkpoint import resolve

    found = [resolve(run)[1] if engine == "torch" else run for run in (*runs, *ensemble)]
    checkpoints, others = found[: len(runs)], found[len(runs) :]
    rows: list[tuple[str, Scores]] = []
    speeds: list[float] = []
    for checkpoint in checkpoints:
        together = [checkpoint, *others]
        scores, speed = _evaluate(together, sources, targets, engine, device, decoding)
        rows.append((" + ".join(map(str, together)), scores))
        speeds.append(speed)
    if as_json:
        records = [
            {"checkpoint": name, **scores.to_json(), "sentences_per_second": round(speed, 2)}
            for (name, scores), speed in zip(rows, speeds, strict=True)
        ]
        click.echo(json.dumps(records, ensure_ascii=False, indent=2))
    else:
        click.echo(evaluation.format_scores(rows, speeds))


def _evaluate(
    checkpoints: list[Path],
    sources: list[str],
    references: list[list[str]],
    engine: EngineName,
    device: str,
    options: dict[str, Any],
) -> tuple[Scores, float]:
    """The scores of checkpoints together and the sentences they translate in a second, loading not counted."""
    from seq2seq import evaluation
    from seq2seq.decoding.loading import load_ensemble
    from seq2seq.decoding.translator import Translator

    loaded = load_ensemble(checkpoints, device, engine)
    config = with_decoding(loaded.config.decoding, options)
    translator = Translator(loaded.engine, loaded.tokenizer, config)
    with progress_bar(len(sources), "sentences") as bar:
        began = time.monotonic()
        translations = translator.translate(sources, progress=bar.update)
        seconds = time.monotonic() - began
    hypotheses = [translation.text for translation in translations]
    scores = evaluation.score(hypotheses, references, target_language=loaded.config.data.target_language)
    return scores, len(sources) / max(seconds, 1e-9)
