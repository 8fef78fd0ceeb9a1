"""`seq2seq translate`: sentences in, translations out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import (
    FILE,
    PATH,
    decoding_options,
    device_option,
    engine_option,
    ensemble_option,
    refuse_idle,
    rerank_option,
    with_decoding,
)
from .streams import line_writer, progress_bar, stdin_is_file, stdin_lines

if TYPE_CHECKING:
    from seq2seq.data.tokenizer import Tokenizer
    from seq2seq.decoding.engine import EngineName
    from seq2seq.decoding.search import Hypothesis
    from seq2seq.decoding.translator import Translation


@click.command()
@click.argument("run", type=PATH, metavar="RUN")
@click.option("--input", "source", type=PATH, metavar="FILE", help="File to translate (.gz too).  [default: stdin]")
@click.option(
    "--output", type=FILE, metavar="FILE",
    help="File to write; it appears when it is complete.  [default: stdout]",
)  # fmt: skip
@click.option(
    "--format", "form", type=click.Choice(["text", "jsonl"]), default="text", show_default=True,
    help="jsonl gives source, translation, score, log_prob, tokens and n_best.",
)  # fmt: skip
@engine_option
@ensemble_option
@rerank_option
@device_option
@decoding_options()
def translate(
    *,
    run: Path,
    source: Path | None,
    output: Path | None,
    form: str,
    engine: EngineName,
    ensemble: tuple[Path, ...],
    rerank_by: Path | None,
    device: str,
    **decoding: Any,
) -> None:
    """Translate sentences with RUN.

    RUN is a run directory, whose best checkpoint (or the mean that its recipe asks for) is taken, one checkpoint in it,
    or what `seq2seq export` made for the engine. One sentence a line, and one translation for each line, in order; an
    empty line gives an empty one. What is typed is translated as it arrives. Models leave things out where a line has
    several sentences and those of their training had one: cut such lines first.
    With --n-best over 1, text has a line `INDEX ||| TRANSLATION ||| SCORE` for each hypothesis, INDEX counting the
    sentences from 0. With --mbr, a score is the expected utility, from 0 to 100. Decoding settings that are not given
    are those of the run.
    """
    count, lines, from_file = _open(source)
    from seq2seq.decoding.loading import load_ensemble, load_reverse
    from seq2seq.decoding.translator import Translator

    loaded = load_ensemble([run, *ensemble], device, engine)
    reranks = rerank_by is not None
    refuse_idle([loaded.config.decoding], decoding, reranks, engine)
    config = with_decoding(loaded.config.decoding, decoding, reranks)
    plain = _moses if config.n_best > 1 else _text
    render: Callable[[int, Translation], Iterator[str]] = _Json(loaded.tokenizer) if form == "jsonl" else plain
    reverse = load_reverse(rerank_by, loaded.config, device) if rerank_by else None
    translator = Translator.of(loaded, config, reverse)
    translator.check()  # before a sentence comes, which may take long
    with line_writer(output) as write, progress_bar(count, "sentences") as bar:
        for index, translation in enumerate(translator.stream(lines, from_file=from_file)):
            for line in render(index, translation):
                write(line)
            bar.update(1)


def _open(source: Path | None) -> tuple[int | None, Iterator[str], bool]:
    """The sentences; before them, of what is named, their number, and after them, whether they are a file's.

    A file that is named is read through first, so that it fails before the work.
    """
    if source is None or str(source) == "-":
        return None, stdin_lines(), stdin_is_file()
    from seq2seq.data.corpus import read_lines

    if source.exists() and not source.is_file():  # a pipe can be read once
        return None, read_lines(source), False
    return sum(1 for _ in read_lines(source)), read_lines(source), True


def _text(index: int, translation: Translation) -> Iterator[str]:
    yield translation.text


def _moses(index: int, translation: Translation) -> Iterator[str]:
    """N-best lists as Moses writes them, one hypothesis a line."""
    for text, hypothesis in zip(translation.n_best, translation.hypotheses, strict=True):
        yield f"{index} ||| {text} ||| {hypothesis.score:.4f}"
    if not translation.hypotheses:
        yield f"{index} ||| {translation.text} ||| 0.0000"


class _Json:
    """Writes a translation as one line of JSON."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def __call__(self, index: int, translation: Translation) -> Iterator[str]:
        hypotheses = translation.hypotheses
        best = hypotheses[0] if hypotheses else None
        record = {
            "source": translation.source,
            "translation": translation.text,
            "score": best.score if best else None,
            "log_prob": best.log_prob if best else None,
            "tokens": self._tokenizer.target_tokens(best.tokens) if best else [],
            "n_best": [
                {"text": text, **_numbers(hypothesis)}
                for text, hypothesis in zip(translation.n_best, hypotheses, strict=True)
            ],
        }
        yield json.dumps(record, ensure_ascii=False)


def _numbers(hypothesis: Hypothesis) -> dict[str, float]:
    numbers = {"score": hypothesis.score, "log_prob": hypothesis.log_prob}
    if hypothesis.reverse_score is not None:
        numbers["reverse_score"] = hypothesis.reverse_score
    return numbers
