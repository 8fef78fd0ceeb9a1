"""`seq2seq average`: one checkpoint as the mean of several."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import PATH
from .streams import complain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seq2seq.config import Config
    from seq2seq.data.tokenizer import Tokenizer
    from seq2seq.model.transformer import Transformer


@click.command()
@click.argument("run", type=PATH, metavar="RUN")
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="Average the N latest checkpoints.")
@click.option("--best", type=click.IntRange(min=1), metavar="N", help="Average the N with the best validation scores.")
def average(*, run: Path, last: int | None, best: int | None) -> None:
    """Average checkpoints of RUN into a new one.

    The mean of the weights of several checkpoints often translates better than each; without an option, of the latest
    that training keeps (`training.keep_checkpoints`). It is validated like any checkpoint, so it becomes the run's best
    if it is; the mean of the latest that the run's recipe asks for (`recipe.average`) is what the run translates with
    anyway. Prints its folder.
    """
    if last is not None and best is not None:
        raise click.UsageError("--last and --best exclude each other")
    from seq2seq import averaging, checkpoint
    from seq2seq.errors import CheckpointError

    folder, found = checkpoint.resolve(run)  # says what is wrong with RUN before anything else is read
    if found.resolve() == run.resolve():
        raise CheckpointError(f"{run}: is one checkpoint; name its run, {folder}")
    folder = averaging.average(run, last=last, best=best, validate=_scores)
    scores = checkpoint.read_info(folder).validation
    if scores:
        click.echo(
            f"validation: loss {scores['loss']:.3f}, BLEU {scores['bleu']:.2f}, chrF {scores['chrf']:.2f}", err=True
        )
    click.echo(folder)


def _scores(model: Transformer, config: Config, tokenizer: Tokenizer) -> Mapping[str, float] | None:
    """Scores on the run's validation text, if there is any, which may not have come with the run."""
    from seq2seq.errors import DataError
    from seq2seq.training.validation import read_validation_pairs, validate

    try:
        pairs = read_validation_pairs(config)
    except DataError as error:
        complain(f"warning: the mean is not validated: {error}")
        return None
    return validate(model, tokenizer, pairs, config) if pairs else None
