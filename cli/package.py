"""`seq2seq package`: a run as a folder to give away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import PATH
from .streams import complain

_FORMATS = ("ctranslate2", "huggingface", "onnx")


@click.command()
@click.argument("run", type=PATH, metavar="RUN")
@click.option("--output", required=True, type=PATH, metavar="DIR", help="The folder to make.")
@click.option(
    "--format", "formats", type=click.Choice(_FORMATS), multiple=True,
    help="Put the model for this engine in too; may be repeated.",
)  # fmt: skip
@click.option("--name", metavar="NAME", help="Title of the model card.  [default: the name of DIR]")
@click.option("--license", "licence", default="unknown", metavar="ID", help="Licence of the model, such as cc-by-4.0.")
@click.option("--overwrite", is_flag=True, help="Replace DIR.")
def package(
    *, run: Path, output: Path, formats: tuple[Any, ...], name: str | None, licence: str, overwrite: bool
) -> None:
    """Write RUN as a folder that can be zipped, moved and shared.

    It holds what translating needs (the best checkpoint, or the one that is named, the tokenizer and the settings), a
    model card with languages, data, scores and ways to use it, and data.lock.json with hashes of the corpora; neither
    paths nor text of the corpora. Every command that translates takes it as a run.
    """
    from seq2seq.export.output import check_output

    check_output(output, run, overwrite)
    if licence == "unknown":
        complain("warning: no licence named; --license ID says what others may do with the model")
    from seq2seq.export.package import Publication
    from seq2seq.export.package import package as package_run

    publication = Publication(name=name or output.resolve().name, licence=licence, formats=formats)
    package_run(run, output.resolve(), publication, complain)
    click.echo(output)
