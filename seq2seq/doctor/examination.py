"""All that is looked at, and what comes of it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from seq2seq.config import Config
from seq2seq.doctor.findings import Finding
from seq2seq.doctor.model import of_disk, of_schedule, of_training
from seq2seq.doctor.text import of_held_out, of_languages, of_text, overlap, read
from seq2seq.doctor.tokens import of_tokens, tokenizer_of
from seq2seq.errors import Seq2SeqError


class Diagnosis(NamedTuple):
    """All findings, and what was measured, as plain values."""

    findings: list[Finding]
    figures: dict[str, Any]

    @property
    def is_sound(self) -> bool:
        """Whether training would not go wrong."""
        return all(finding.severity != "error" for finding in self.findings)


def examine(config: Config, output: Path, device: str = "auto") -> Diagnosis:
    """Look at the corpora, the tokenizer, the model and the machine of a training.

    Args:
        config: the whole run.
        output: the run directory that training would write.
        device: as in `train`.
    """
    from seq2seq.training.setup import refuse_to_replace

    findings: list[Finding] = []
    figures: dict[str, Any] = {}
    with _finding("output", findings):
        refuse_to_replace(output)
    with _finding("corpora", findings):
        text = read(config.data)
        findings += [*of_text(text), *of_held_out(text, config.training), *of_languages(text, config.data)]
        figures["pairs"] = {name: corpus.read for name, corpus in text.items()}
        figures["more_pairs"] = [name for name, corpus in text.items() if not corpus.is_whole]
        for what in ("empty", "duplicates", "carriage_returns"):
            figures[what] = {name: getattr(corpus, what) for name, corpus in text.items()}
        figures["overlap"] = {name: overlap(text, name) for name in ("validation", "test") if name in text}
        with tempfile.TemporaryDirectory() as folder:
            with _finding("tokenizer", findings):
                tokenizer = tokenizer_of(config, text["train"], output)
                for tag in config.tags:
                    tokenizer.check_tag(tag)
                findings += of_tokens(config, text, tokenizer, figures)
                tokenizer.save(Path(folder) / "tokenizer")
                with _finding("training", findings):
                    findings += of_schedule(config.training)
                    findings += of_training(config, text["train"], tokenizer, Path(folder), device, figures)
            if "parameters" in figures:
                findings += of_disk(config, output, figures)
    return Diagnosis(findings, figures)


@contextmanager
def _finding(check: str, findings: list[Finding]) -> Iterator[None]:
    """Turn an error, which training would meet too, into a finding."""
    try:
        yield
    except Seq2SeqError as error:
        findings.append(Finding(check, "error", str(error)))
