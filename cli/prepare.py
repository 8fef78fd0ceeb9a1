"""`seq2seq prepare`: from raw corpora to filtered and tokenised ones on disk, with a lockfile and a report."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from .options import PATH, data_option, set_option
from .recipes import config_of
from .streams import complain

if TYPE_CHECKING:
    from tqdm import tqdm


@click.command()
@click.argument("name", metavar="CONFIG_OR_RECIPE")
@click.option("--output", required=True, type=PATH, metavar="DIR", help="The folder to make.")
@click.option("--run", type=PATH, metavar="RUN", help="Where a recipe's corpus is fetched to.  [default: in runs]")
@data_option
@set_option
def prepare(*, name: str, output: Path, run: Path | None, data: Path | None, overrides: tuple[str, ...]) -> None:
    """Filter the training corpora of a config as its [prepare] says, and tokenise them, whatever their size.

    CONFIG_OR_RECIPE is the path of a TOML file, or one of `seq2seq recipe list`, whose corpus is fetched to
    runs/RECIPE, or RUN, where `seq2seq recipe run` finds it; if it has no validation or test text, some is held out
    there.
    `seq2seq train DIR/config.toml` begins to train on what was prepared at once; DIR can be moved. DIR/train is a data
    set, should another config want it (`[[data.train]]` with `path`). DIR/report.html says what each filter dropped,
    with samples, and what the tokenizer makes of the rest, DIR/prepare.lock.json what all was made from. What was
    killed goes on where it was when the same command runs again; what is done already is not done again.
    """
    from seq2seq.config import NO_STAGES
    from seq2seq.data.training_folder import make_ready
    from seq2seq.errors import RecipeError, TrainingError

    try:
        loaded = config_of(name, overrides, data, run=run, cleaned=False)
    except (RecipeError, TrainingError) as error:  # which say what helps a recipe's own command
        told = str(error).replace("another --output", "another --run")
        raise RecipeError(re.sub(", or --overwrite (it|to train anew)", "", told)) from None
    if run is not None and not (run / "raw").exists():
        raise click.UsageError(f"--run {run}: {name} is no recipe, whose corpus would go there; leave it out")
    if idle := [stage for stage, settings in NO_STAGES.items() if getattr(loaded, stage) != settings]:
        complain(f"warning: {name}: [{'], ['.join(idle)}]: no text is made here; `seq2seq recipe run` does it")
    with _Bars() as bars:
        done = make_ready(loaded, output, bars.update)
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
    coverage = report["coverage"]
    for side in ("source", "target"):
        each = coverage[side]
        complain(
            f"{side}: {each['pieces_per_word']:.2f} pieces a word, {each['unknown_share']:.3%} unknown, "
            f"{each['bytes_share']:.3%} spelt in bytes"
        )
    long = coverage["too_long"] / max(coverage["pairs"], 1)
    complain(f"{long:.2%} of the pairs are longer than data.max_length = {coverage['max_length']} tokens")
    complain(f"train with: seq2seq train {output / 'config.toml'} --output RUN")


class _Bars:
    """A progress bar for each stage, one after another; with its rate, and the time left where that can be told."""

    def __init__(self) -> None:
        self._stage = ""
        self._bar: tqdm[NoReturn] | None = None

    def __enter__(self) -> _Bars:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, stage: str, pairs: int, total: int) -> None:
        """Take note of what a stage has done."""
        from tqdm import tqdm

        if self._bar is None or stage != self._stage:
            self._close()
            self._stage = stage
            self._bar = tqdm(
                desc=stage, total=total or None, unit=" pairs", unit_scale=True, disable=not sys.stderr.isatty(),
                dynamic_ncols=True,
            )  # fmt: skip
        self._bar.update(pairs)
