"""`seq2seq score`: BLEU, chrF and TER of a file of translations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click

from .options import PATH, language_option
from .streams import checked_stdin_lines, complain

_STDIN = Path("standard input")  # as messages name it


@click.command()
@click.argument("hypotheses", type=PATH)
@click.option(
    "--reference", "references", required=True, multiple=True, metavar="FILE", type=PATH,
    help="References, one sentence a line; repeat the option for several references of each sentence.",
)  # fmt: skip
@click.option(
    "--baseline", "baselines", multiple=True, metavar="FILE", type=PATH,
    help="Translations of another system, to test whether the difference is significant; may be repeated.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@language_option("")
@click.option("--no-confidence", is_flag=True, help="Leave the 95% intervals out.")
def score(
    *,
    hypotheses: Path,
    references: tuple[Path, ...],
    baselines: tuple[Path, ...],
    as_json: bool,
    target_language: str,
    no_confidence: bool,
) -> None:
    """Score HYPOTHESES (- is standard input), raw translated text with one sentence a line, against references.

    Prints BLEU, chrF and TER as sacreBLEU computes them, with 95% intervals and signatures, and the lower-cased
    tokenised BLEU that many papers report.
    """
    from seq2seq import evaluation

    paths = [_STDIN if str(hypotheses) == "-" else hypotheses, *references, *baselines]
    files = evaluation.read_parallel(*paths, read=_lines)
    for path, lines in zip(paths, files, strict=True):
        if evaluation.looks_tokenised(lines):
            complain(f"warning: {path}: looks tokenised; give raw text, or the scores cannot be compared with others")
    translated, of_references, of_baselines = files[0], files[1 : 1 + len(references)], files[1 + len(references) :]
    limit = evaluation.MAX_RESAMPLED_SENTENCES
    if len(translated) > limit and (of_baselines or not no_confidence):
        told = "; for baselines, compare a part of them" if of_baselines else ""
        complain(f"warning: {hypotheses}: {len(translated)} lines; over {limit} there are no intervals and tests{told}")
        of_baselines = []
    comparisons = evaluation.compare(translated, of_baselines, of_references, target_language=target_language)
    scores = evaluation.score(translated, of_references, confidence=not no_confidence, target_language=target_language)
    compared = list(zip(map(str, baselines), comparisons, strict=bool(comparisons)))
    if as_json:
        result: dict[str, object] = {**scores.to_json()}
        if compared:
            result["baselines"] = [{"baseline": name, **comparison.to_json()} for name, comparison in compared]
        click.echo(json.dumps(result, ensure_ascii=False, indent=2))
        return
    click.echo(evaluation.format_scores([(str(hypotheses), scores)]))
    if compared:
        click.echo("\n" + evaluation.format_comparisons(compared))


def _lines(path: Path) -> Iterator[str]:
    """The lines of a file, or of standard input, which is held to what files are."""
    from seq2seq.data.corpus import read_lines

    return checked_stdin_lines() if path is _STDIN else read_lines(path)
