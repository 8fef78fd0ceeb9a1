"""`seq2seq report`: runs and their translations as one page to look at."""

from __future__ import annotations

from pathlib import Path

import click

from .options import FILE, PATH, device_option, ensemble_option, language_option, rerank_option
from .streams import progress_bar


def _named_files(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> list[tuple[str, Path]]:
    """NAME=FILE options as pairs."""
    pairs = []
    for value in values:
        name, equals, file = value.partition("=")
        if not (equals and name.strip() and file):
            raise click.BadParameter(f"{value!r}: expected NAME=FILE, such as baseline=baseline.en", context, parameter)
        pairs.append((name.strip(), Path(file)))
    return pairs


@click.command()
@click.argument("runs", nargs=-1, type=PATH, metavar="[RUN_OR_CHECKPOINT]...")
@click.option("--output", required=True, type=FILE, metavar="FILE", help="The page, such as report.html.")
@click.option("--source", type=PATH, metavar="FILE", help="Sentences that each run translates (.gz too).")
@click.option("--reference", type=PATH, metavar="FILE", help="References, one sentence a line, to score against.")
@click.option(
    "--system", "systems", multiple=True, callback=_named_files, metavar="NAME=FILE",
    help="Translations that are there already, to compare with; may be repeated.",
)  # fmt: skip
@click.option("--beam-size", type=int, metavar="N", help="Of the runs' translations.  [default: that of each run]")
@ensemble_option
@rerank_option
@language_option("  [default: that of a tag, or of the first run]")
@device_option
def report(
    *,
    runs: tuple[Path, ...],
    output: Path,
    source: Path | None,
    reference: Path | None,
    systems: list[tuple[str, Path]],
    beam_size: int | None,
    ensemble: tuple[Path, ...],
    rerank_by: Path | None,
    target_language: str,
    device: str,
) -> None:
    """Write learning curves, settings, scores and translations of runs as one HTML file.

    The file needs no network and no other file. With --source, runs translate; up to three runs and --system files are
    shown beside each other. With --reference, they are scored, compared with the first, and scored by kind of sentence.
    With --ensemble, each run is joined with the runs named there.
    """
    if not runs and not systems:
        raise click.UsageError("nothing to report on: name a RUN, or give --system NAME=FILE")
    if str(output) == "-":
        raise click.UsageError("--output -: a page goes to a file; name one, such as report.html")
    from seq2seq.evaluation import read_parallel
    from seq2seq.reporting.report import Texts, Translating, write_report

    texts = Texts(source=source, reference=reference, systems=systems, target_language=target_language)
    # A pipe can be read only once.
    total = len(runs) * len(read_parallel(source)[0]) if source and source.is_file() else 0
    with progress_bar(total or None, "sentences") as bar:
        how = Translating(beam_size=beam_size, ensemble=ensemble, rerank_by=rerank_by, device=device)
        write_report(runs, output, texts, how, progress=bar.update)
    click.echo(output)
