"""`seq2seq prepare`: from raw corpora to a filtered one on disk, with a lockfile and a report."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from .options import PATH, set_option
from .recipes import config_of
from .streams import complain


@click.command()
@click.argument("name", metavar="CONFIG_OR_RECIPE")
@click.option("--output", required=True, type=PATH, metavar="DIR", help="The folder to make.")
@click.option("--data", type=PATH, metavar="DIR", help="Local files to use instead of fetching a recipe's corpus.")
@set_option
def prepare(*, name: str, output: Path, data: Path | None, overrides: tuple[str, ...]) -> None:
    """Filter the training corpora of a config as its [prepare] says, whatever their size.

    CONFIG_OR_RECIPE is the path of a TOML file, or one of `seq2seq recipe list`, whose corpus is fetched to
    runs/RECIPE, where `seq2seq recipe run` finds it; if it has no validation or test text, some is held out there.
    DIR/train is a data set to train on (`[[data.train]]` with `path`), DIR/report.html says what each filter dropped,
    with samples, and DIR/prepare.lock.json what it was made from. What was killed goes on where it was when the same
    command runs again; what is done already is not done again.
    """
    from tqdm import tqdm

    from seq2seq.data.preparation import prepare as prepare_corpus

    loaded = config_of(name, overrides, data, cleaned=False)
    with tqdm(unit=" pairs", unit_scale=True, disable=not sys.stderr.isatty(), dynamic_ncols=True) as bar:
        done = prepare_corpus(loaded, output, bar.update)
    if done.was_there:
        complain(f"{output}: done already")
    if done.seconds:
        complain(", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in done.seconds.items()))
    report = done.report
    for each in report["filters"]:
        if each["dropped"]:
            click.echo(f"{each['name']:>16} {each['dropped']:>12,} of {each['in']:,}", err=True)
    share = report["kept"] / max(report["read"], 1)
    click.echo(f"{report['kept']:,} of {report['read']:,} pairs kept ({share:.1%}); {output / 'report.html'}", err=True)
