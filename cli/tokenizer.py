"""`seq2seq tokenizer`: train a SentencePiece tokenizer, and look at its pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

import click

from seq2seq.config import TokenizerConfig
from seq2seq.errors import TokenizerError
from seq2seq.settings import declared

from .options import PATH
from .streams import checked_stdin_lines, complain, line_writer

if TYPE_CHECKING:
    from seq2seq.data.vocabulary import Vocabulary

_SIDES = ("source", "target")
_SIDE = "of which language the text is; a joint tokenizer has one vocabulary for both"
_CHUNK = 1000  # lines that are encoded or decoded at a time


@click.group()
def tokenizer() -> None:
    """Train a tokenizer; turn text into pieces and pieces into text."""


def _setting(name: str, flag: str = "", **attributes: Any) -> Callable[[Any], Any]:
    """An option for one tokenizer setting, whose meaning, type and default are those of the declaration."""
    setting = declared(TokenizerConfig)[name]
    kind = click.Choice(get_args(setting.type)) if len(get_args(setting.type)) > 1 else setting.type
    if get_origin(setting.type) is tuple:
        kind = str
    options: dict[str, Any] = {"help": setting.meaning, "type": kind, "default": setting.default, "show_default": True}
    return click.option(flag or f"--{name.replace('_', '-')}", name, **{**options, **attributes})


@tokenizer.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=PATH)
@click.option("--output", required=True, metavar="DIR", type=PATH, help="folder to write the tokenizer to")
@_setting("vocab_size", metavar="N")
@_setting("algorithm")
@click.option("--separate", is_flag=True, help="a vocabulary for each of exactly two FILEs, source and target")
@_setting("character_coverage", metavar="SHARE")
@_setting("normalization")
@_setting("fold_source_case", is_flag=True, help="read the first of two FILEs, source and target, in lower case")
@_setting("user_symbols", "--user-symbol", metavar="TEXT", multiple=True, show_default=False)
@_setting("byte_fallback", "--byte-fallback/--no-byte-fallback", type=bool)
@_setting("max_sentences", metavar="N")
@_setting("seed", metavar="N")
@click.option("--overwrite", is_flag=True, help="replace a tokenizer that is in DIR already")
def train(files: tuple[Path, ...], output: Path, separate: bool, overwrite: bool, **settings: Any) -> None:
    """Train a tokenizer on text FILEs, one sentence a line (.gz too), into a folder."""
    from seq2seq.data.corpus import read_lines
    from seq2seq.data.tokenizer import check_output, train_tokenizer

    has_sides = separate or settings["fold_source_case"]
    if has_sides and len(files) != 2:
        option = "--separate" if separate else "--fold-source-case"
        raise click.UsageError(f"{option} needs exactly two files, source and target; got {len(files)}")
    check_output(output)
    if not overwrite and output.is_dir() and any(output.iterdir()):
        raise TokenizerError(f"{output}: exists already; name another --output, or replace it with --overwrite")
    config = TokenizerConfig(joint=not separate, **settings)
    lines = map(read_lines, files)
    source, target = lines if has_sides else (chain.from_iterable(lines), ())
    trained = train_tokenizer(config, source, target, output)
    sizes = f"{trained.source_vocab_size} source and {trained.target_vocab_size} target"
    pieces = f"{trained.source_vocab_size if trained.joint else sizes} pieces"
    complain(f"wrote {output}: {config.algorithm}, {pieces}")


def _filter(command: Callable[..., None]) -> Callable[..., None]:
    """The argument and options that `encode` and `decode` share."""
    for decorate in (
        click.option("--ids", is_flag=True, help="numbers of the vocabulary instead of pieces"),
        click.option("--output", metavar="FILE", type=PATH, help="file to write; standard output if not given"),
        click.option("--input", metavar="FILE", type=PATH, help="file to read (.gz too); standard input if not given"),
        click.option("--side", type=click.Choice(_SIDES), default="source", show_default=True, help=_SIDE),
        click.argument("folder", metavar="DIR", type=PATH),
    ):
        command = decorate(command)
    return command


@tokenizer.command()
@_filter
def encode(folder: Path, side: str, input: Path | None, output: Path | None, ids: bool) -> None:
    """Split each line of raw text into pieces, separated by spaces."""
    vocabulary = _load(folder, side)
    with line_writer(output) as write:
        for _, lines in _chunks(input):
            if ids:
                for tokens in vocabulary.encode(lines):
                    write(" ".join(map(str, tokens[:-1])))  # without end of sentence, as the pieces
            else:
                for pieces in vocabulary.pieces(lines):
                    write(" ".join(pieces))


@tokenizer.command()
@_filter
def decode(folder: Path, side: str, input: Path | None, output: Path | None, ids: bool) -> None:
    """Make raw text of each line of pieces that `encode` wrote."""
    vocabulary = _load(folder, side)
    with line_writer(output) as write:
        for first, lines in _chunks(input):
            for number, line in enumerate(lines, first):
                fields = [field for field in line.split(" ") if field]
                write(_from_ids(vocabulary, fields, number) if ids else vocabulary.join(fields))


def _load(folder: Path, side: str) -> Vocabulary:
    from seq2seq.data.tokenizer import Tokenizer

    loaded = Tokenizer.load(folder)
    return loaded.source if side == "source" else loaded.target


def _from_ids(vocabulary: Vocabulary, fields: list[str], number: int) -> str:
    try:
        return vocabulary.decode([int(field) for field in fields])
    except TokenizerError as error:
        raise TokenizerError(f"input line {number}: {error}") from None
    except ValueError:
        wrong = next((field for field in fields if not field.isdecimal()), fields[0])
        raise TokenizerError(f"input line {number}: {wrong!r} is not a token id; leave --ids out for pieces") from None


def _chunks(path: Path | None) -> Iterator[tuple[int, list[str]]]:
    """Some lines at a time, each time with the number of the first."""
    from seq2seq.data.corpus import read_lines

    lines = iter(checked_stdin_lines() if path is None or str(path) == "-" else read_lines(path))
    number = 1
    while chunk := list(islice(lines, _CHUNK)):
        yield number, chunk
        number += len(chunk)
