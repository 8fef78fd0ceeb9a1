"""`seq2seq train`: from a config file to a run directory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import PATH, device_option, set_option

if TYPE_CHECKING:
    from seq2seq.config import Config


@click.command()
@click.argument("config", type=PATH, metavar="CONFIG.toml")
@click.option("--output", required=True, type=PATH, metavar="RUN", help="The run directory to make.")
@set_option
@click.option("--resume", is_flag=True, help="Go on from the latest checkpoint in RUN, as if there had been no break.")
@click.option("--overwrite", is_flag=True, help="Start anew where a run exists.")
@device_option
def train(
    *, config: Path, output: Path, overrides: tuple[str, ...], resume: bool, overwrite: bool, device: str
) -> None:
    """Train a translator as CONFIG.toml says.

    RUN gets the configuration, the tokenizer, checkpoints and metrics.jsonl; `seq2seq translate RUN` takes the best
    checkpoint. Ctrl-C stops after the step at hand and saves. `torchrun --nproc-per-node=N -m seq2seq_cli train ...`
    trains with N processes; with torch 2.13 or newer, TORCH_ELASTIC_SHUTDOWN_TIMEOUT=600 gives them so many seconds,
    not 30, to stop and save.
    """
    if resume and overwrite:
        raise click.UsageError("--resume and --overwrite exclude each other")
    from seq2seq.config import load_config

    loaded = load_config(config, overrides)
    is_first = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun started
    if is_first and not resume:
        _tell_of_idle_settings(loaded, config)
    from seq2seq.checkpoint import latest
    from seq2seq.errors import Interrupted
    from seq2seq.training.setup import TOKENS
    from seq2seq.training.trainer import train as train_run

    try:
        train_run(loaded, output, device=device, resume=resume, overwrite=overwrite)
    except KeyboardInterrupt:  # from the first step on, Ctrl-C and SIGTERM end it in order
        if is_first and (output / TOKENS).exists() and latest(output) is None:
            raise Interrupted(f"{output}: what was tokenised is kept; --resume, without --overwrite, goes on") from None
        raise
    if is_first:
        click.echo(f"translate with: seq2seq translate {output} --input FILE", err=True)


def _tell_of_idle_settings(config: Config, file: Path) -> None:
    """Say what the config asks for that other commands do."""
    from seq2seq.config import PrepareConfig

    raw = [own for corpus, own in zip(config.data.train, config.prepare_each, strict=True)
           if not Path(corpus.path).is_dir() or not corpus.path]  # fmt: skip
    if any(own != PrepareConfig() for own in raw):
        remedy = f"`seq2seq prepare {file} --output DIR`, and train DIR/config.toml"
        click.echo(f"`[prepare]`: training takes the text as it is; to filter it: {remedy}", err=True)
    if config.data.test:
        click.echo("`data.test`: is scored by recipes; here, `seq2seq evaluate` does it, afterwards", err=True)
    if config.data.risk_weights and not config.training.minimum_risk:
        click.echo("`data.risk_weights`: do nothing while `training.minimum_risk` = 0", err=True)
    if config.recipe.ensemble > 1:
        click.echo(f"`recipe.ensemble` = {config.recipe.ensemble}: is for recipes; this trains one model", err=True)
    if config.recipe.average:
        click.echo(f"`recipe.average` = {config.recipe.average}: is for `seq2seq average`, afterwards", err=True)
