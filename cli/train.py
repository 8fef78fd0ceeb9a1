"""`seq2seq train`: from a config file to a run directory."""

from __future__ import annotations

import os
from pathlib import Path

import click

from .options import PATH, device_option, set_option


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
    trains with N processes.
    """
    if resume and overwrite:
        raise click.UsageError("--resume and --overwrite exclude each other")
    from seq2seq.config import load_config

    loaded = load_config(config, overrides)
    from seq2seq.training.trainer import train as train_run

    train_run(loaded, output, device=device, resume=resume, overwrite=overwrite)
    if os.environ.get("RANK", "0") == "0":  # of the processes that torchrun started
        click.echo(f"translate with: seq2seq translate {output} --input FILE", err=True)
