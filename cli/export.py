"""`seq2seq export`: a run for another engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import PATH
from .streams import complain

_QUANTIZATIONS = ("float32", "int8", "int8_float32", "int8_float16", "int16", "float16", "bfloat16")


@click.command()
@click.argument("run", type=PATH, metavar="RUN")
@click.option(
    "--format", "form", type=click.Choice(["ctranslate2", "huggingface", "onnx"]), required=True,
    help="The engine that it is for.",
)  # fmt: skip
@click.option("--output", required=True, type=PATH, metavar="DIR", help="The folder to make.")
@click.option(
    "--quantization", type=click.Choice(_QUANTIZATIONS), default="float32", show_default=True,
    help="How ctranslate2 stores the weights.",
)  # fmt: skip
@click.option(
    "--verify", "sample", type=PATH, metavar="FILE",
    help="Sentences to compare on.  [default: of the run's validation text]",
)  # fmt: skip
@click.option("--reference", type=PATH, metavar="FILE", help="Their translations, for the BLEU of a quantised model.")
@click.option("--no-verify", is_flag=True, help="Do not compare what was written with RUN.")
@click.option("--overwrite", is_flag=True, help="Replace DIR.")
def export(
    *,
    run: Path,
    form: Any,
    output: Path,
    quantization: Any,
    sample: Path | None,
    reference: Path | None,
    no_verify: bool,
    overwrite: bool,
) -> None:
    """Write RUN in the format of another engine.

    ctranslate2 and onnx folders hold the model, its tokenizer and translate.py, which translates with that engine
    alone; `seq2seq translate DIR --engine ...` takes them too. huggingface is a MarianMTModel with its tokenizer, which
    has no way to say pre-norm or gated layers.

    What was written is compared with RUN: log-probabilities of tokens, greedy and beam search. DIR appears only if they
    are the same, but for ties; of a quantised model, what it costs is said instead.
    """
    from seq2seq.export.output import check_output

    if no_verify and (sample or reference):
        raise click.UsageError("--no-verify excludes --verify and --reference")
    if reference and not sample:
        raise click.UsageError("--reference goes with --verify FILE, whose translations it holds")
    if reference and quantization == "float32":
        raise click.UsageError("--reference is for the BLEU of a quantised model, of ctranslate2; leave it out")
    check_output(output, run, overwrite)
    from seq2seq.checkpoint import load_model
    from seq2seq.evaluation import read_parallel
    from seq2seq.export.exporter import export as export_run
    from seq2seq.export.verification import read_sentences

    sentences = references = None
    if sample and reference:
        sentences, references = read_parallel(sample, reference)
    elif sample:
        sentences = read_sentences(sample)
    report = export_run(load_model(run), form, output.resolve(), quantization, not no_verify, sentences, references)
    if report is None:
        complain("warning: not compared with the run (--no-verify)")
    else:
        click.echo(report, err=True)
    click.echo(output)
