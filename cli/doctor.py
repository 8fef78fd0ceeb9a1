"""`seq2seq doctor`: would a training go wrong, how long would it take, and would it fit?"""

from __future__ import annotations

import json
from pathlib import Path

import click

from .options import PATH, data_option, device_option, set_option
from .recipes import config_of, default_run

_MEANINGS = {
    "empty": "pairs with an empty side",
    "duplicates": "pairs that came before",
    "carriage_returns": "pairs that end in a carriage return",
    "overlap": "pairs near training text",
}


@click.command()
@click.argument("name", metavar="CONFIG_OR_RECIPE")
@click.option("--output", type=PATH, metavar="RUN", help="Where the run would be written.  [default: in runs]")
@data_option
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON on stdout.")
@set_option
@device_option
@click.pass_context
def doctor(
    context: click.Context,
    *,
    name: str,
    output: Path | None,
    data: Path | None,
    as_json: bool,
    overrides: tuple[str, ...],
    device: str,
) -> None:
    """Look at a training before it begins.

    CONFIG_OR_RECIPE is the path of a TOML file, or one of `seq2seq recipe list`, whose corpus is fetched and prepared
    first, in its run directory, so that `seq2seq recipe run` goes on there.

    Corpora, languages, duplicates, overlap with test text, tokenizer, lengths, memory, disk, and by some steps on this
    machine how long it will take. Exit status 1 if training would go wrong.
    """
    loaded = config_of(name, overrides, data, run=output)
    from seq2seq.doctor.examination import examine

    found = examine(loaded, output or default_run(Path(name)), device)
    if as_json:
        findings = [finding._asdict() for finding in found.findings]
        click.echo(json.dumps({"sound": found.is_sound, "findings": findings, "figures": found.figures}, indent=2))
    else:
        for line in _told(found.figures):
            click.echo(line)
        for finding in found.findings:
            click.echo(f"{finding.severity}: {finding.check}: {finding.message}")
        click.echo("sound: training can begin" if found.is_sound else "not sound: mend the errors first")
    context.exit(0 if found.is_sound else 1)


def _told(figures: dict[str, object]) -> list[str]:
    """The figures in lines for people."""
    lines = []
    if "pairs" in figures:
        assert isinstance(figures["pairs"], dict) and isinstance(figures["more_pairs"], list)
        marks = {name: "+" if name in figures["more_pairs"] else "" for name in figures["pairs"]}
        told = [f"{name} {number:,}{marks[name]}" for name, number in figures["pairs"].items()]
        lines.append("pairs: " + ", ".join(told))
    if "overlap" in figures:
        for name, meaning in _MEANINGS.items():
            found = figures[name]
            assert isinstance(found, dict)
            if any(found.values()):
                counts = ", ".join(f"{corpus} {number:,}" for corpus, number in found.items())
                lines.append(f"{meaning}: {counts}")
    if "too_long" in figures:
        lines.append(
            f"tokenizer: {figures['unknown_source']:.2%} of source and {figures['unknown_target']:.2%} of target "
            f"characters unknown or spelt in bytes; {figures['too_long']:.2%} of the pairs too long"
        )
    if "parameters" in figures:
        lines.append(f"parameters: {figures['parameters']:,}")
    if "tokens_per_second" in figures:
        lines += [
            f"speed: {figures['tokens_per_second']:,.0f} target tokens/s, {figures['hours']:.1f} hours"
            + (f", {figures['epochs']:.1f} epochs" if "epochs" in figures else ""),
            f"memory: {figures['memory_mb']:,.0f} MB",
        ]
    if "free_disk_mb" in figures:
        lines.append(f"disk: checkpoints {figures['checkpoints_mb']:,.0f} MB, free {figures['free_disk_mb']:,.0f} MB")
    return lines
