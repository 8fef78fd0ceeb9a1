"""`seq2seq import`: a Marian model of Hugging Face as a run. (`import` is a word of Python's own.)"""

from __future__ import annotations

from pathlib import Path

import click

from .options import PATH
from .streams import complain


@click.command("import")
@click.argument("source", metavar="DIR|HUB_ID")
@click.option("--output", required=True, type=PATH, metavar="RUN", help="The run to make.")
@click.option("--revision", metavar="REV", help="Commit, tag or branch on the Hub.  [default: the newest]")
@click.option("--no-verify", is_flag=True, help="Do not compare the run with the model, which needs transformers.")
def import_run(*, source: str, output: Path, revision: str | None, no_verify: bool) -> None:
    """Make a run of a Marian model as Hugging Face has it, such as those of OPUS-MT.

    DIR holds a MarianMTModel: config.json, model.safetensors (or pytorch_model.bin), source.spm, target.spm and
    vocab.json. HUB_ID, such as Helsinki-NLP/opus-mt-en-de, is fetched from the Hugging Face Hub. The run can be
    translated with, evaluated, fine-tuned and exported like any other.

    It is compared with the model and tokenizer of transformers (pip install 'seq2seq[huggingface]'): RUN appears only
    if logits and tokens are the same.
    """
    from seq2seq.export.importer import import_marian

    verified = import_marian(source, output, revision, not no_verify)
    complain(f"verified: {verified}" if verified else "warning: not compared with the original (--no-verify)")
    click.echo(output)
