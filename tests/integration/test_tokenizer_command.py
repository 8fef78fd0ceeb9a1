"""`seq2seq tokenizer`: raw text in, pieces or ids out, and back, line for line."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

TEXT = (
    "a  house\n\n\u0085lift\r\nthe 漢 hou\u2028se".encode()
)  # five lines for Python's splitlines and more, four for us


def run(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "seq2seq_cli", "tokenizer", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, check=False)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A source and a target file."""
    folder, generator = tmp_path_factory.mktemp("text"), random.Random(1)
    for name, syllables in (("source", "der die läuft über haus hund"), ("target", "the a house lift dog over")):
        words = ["".join(generator.choices(syllables.split(), k=3)) for _ in range(200)]
        lines = [" ".join(generator.choices(words, k=8)) for _ in range(200)]
        (folder / name).write_text("\n".join(lines), encoding="utf-8")
    return folder / "source", folder / "target"


@pytest.fixture(scope="module")
def folder(files: tuple[Path, Path]) -> Path:
    """A tokenizer with identity normalisation and a vocabulary for each side."""
    output = files[0].with_name("tokenizer")
    done = run("train", *files, "--separate", "--vocab-size", "310", "--normalization", "identity", "--output", output)
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    return output


@pytest.mark.parametrize("flags", [(), ("--ids",), ("--side", "target")])
def test_there_and_back(folder: Path, flags: tuple[str, ...]) -> None:
    pieces = run("encode", folder, *flags, stdin=TEXT).stdout
    assert pieces.count(b"\n") == 4
    assert run("decode", folder, *flags, stdin=pieces).stdout == TEXT + b"\n"


def test_files(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(TEXT)
    run("encode", folder, "--input", tmp_path / "text", "--output", tmp_path / "pieces")
    run("decode", folder, "--input", tmp_path / "pieces", "--output", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == TEXT + b"\n"


def test_source_in_any_case(files: tuple[Path, Path], tmp_path: Path) -> None:
    output = tmp_path / "tokenizer"
    done = run("train", *files, "--fold-source-case", "--vocab-size", "310", "--output", output)
    assert done.stderr.decode("utf-8") == f"seq2seq: wrote {output}: unigram, 310 pieces\n"
    lower, upper = (run("encode", output, stdin=text.encode()).stdout for text in ("das haus\n", "Das HAUS\n"))
    assert lower == upper
    assert run("decode", output, stdin=upper).stdout == b"das haus\n"
    pieces = run("encode", output, "--side", "target", stdin=b"Das HAUS\n").stdout
    assert run("decode", output, "--side", "target", stdin=pieces).stdout == b"Das HAUS\n"


@pytest.mark.parametrize(
    ("arguments", "stdin", "status", "message"),
    [
        (("encode", "FOLDER"), b"a\nb\n\xe4\n", 1, "standard input:3: not UTF-8 (byte 0xe4 at column 1)"),
        (("decode", "FOLDER", "--ids"), b"5\n5 six\n", 1, "input line 2: 'six' is not a token id"),
        (("decode", "FOLDER", "--ids"), b"310\n", 1, "input line 1: token id 310: not in this vocabulary"),
        (("encode", "nowhere"), b"", 1, "nowhere: no such tokenizer folder"),
        (("train", "TEXT", "--output", "FOLDER"), b"", 1, "exists already"),
        (("train", "TEXT", "--output", "new", "--vocab-size", "99999"), b"", 1, "`tokenizer.vocab_size` = 99999: too"),
        (("train", "TEXT", "--output", "new", "--separate"), b"", 2, "--separate needs exactly two files"),
        (("train", "TEXT", "--output", "new", "--fold-source-case"), b"", 2, "--fold-source-case needs exactly two"),
    ],
)
def test_mistakes_are_one_line(
    files: tuple[Path, Path], folder: Path, arguments: tuple[str, ...], stdin: bytes, status: int, message: str
) -> None:
    places = {"FOLDER": str(folder), "TEXT": str(files[0]), "new": str(folder.with_name("new"))}
    done = run(*(places.get(argument, argument) for argument in arguments), stdin=stdin)
    error = done.stderr.decode()
    assert (done.returncode, error.count("\n")) == (status, 1), error
    assert message in error
    assert not folder.with_name("new").exists()
