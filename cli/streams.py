"""Standard input, output and error as the commands use them: sentences in, sentences out, all else on stderr.

Only a line feed ends a line. U+2028, U+0085, form feeds and carriage returns are text.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from seq2seq.telling import drop, say

_STDIN = "standard input"


def complain(message: str) -> None:
    """Write one line on stderr, after the name of the program."""
    say(f"seq2seq: {' '.join(message.splitlines())}")


def stdin_lines() -> Iterator[str]:
    """The lines of standard input as they arrive.

    A filter gives one line for each line, whatever comes: bytes that are not UTF-8 are read as U+FFFD, with a warning
    that names the first such line. (A file, which can be mended and read again, is refused instead.)

    Raises:
        DataError: if a line has no end.
    """
    from seq2seq.data.unpacking import byte_lines

    bad = 0
    for number, raw in enumerate(byte_lines(_stdin(), _STDIN), 1):
        line = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as error:
            if not bad:
                complain(
                    f"warning: {_STDIN}:{number}: not UTF-8 (byte 0x{line[error.start]:02x} at column "
                    f"{error.start + 1}); read as U+FFFD; convert with iconv -f ... -t utf-8"
                )
            bad += 1
            yield line.decode("utf-8", errors="replace")
    if bad > 1:
        complain(f"warning: {bad} lines of {_STDIN} were not UTF-8")


def stdin_is_file() -> bool:
    """Whether standard input is a file, all of which is there, and no pipe or terminal."""
    with suppress(OSError, ValueError):
        return stat.S_ISREG(os.fstat(sys.stdin.fileno()).st_mode)
    return False


def checked_stdin_lines() -> Iterator[str]:
    """The lines of standard input where damaged ones are of no use to anybody.

    Raises:
        DataError: if one is not UTF-8, or has no end.
    """
    from seq2seq.data.unpacking import text_lines

    yield from text_lines(_stdin(), _STDIN)


@contextmanager
def line_writer(path: Path | None) -> Iterator[Callable[[str], None]]:
    """A function that writes a line: to a file, which appears when it is complete, or to standard output, at once."""
    if path is None or str(path) == "-" or _is_stdout(path):
        yield _write_to_stdout
        return
    from seq2seq.data.corpus import check_uncompressed
    from seq2seq.files import atomic_write

    check_uncompressed(path)
    if path.exists() and not path.is_file():  # a device or a pipe cannot be renamed into place
        with path.open("w", encoding="utf-8", newline="") as file:
            yield lambda line: print(line, file=file, flush=True)
        return
    with atomic_write(path.resolve()) as file:  # a link stays a link
        yield lambda line: print(line, file=file)


def progress_bar(total: int | None, unit: str) -> Any:
    """A bar on stderr, if that is a terminal and the total is known; its `update(n)` advances it."""
    from tqdm import tqdm

    return tqdm(total=total, unit=f" {unit}", disable=total is None or not sys.stderr.isatty(), dynamic_ncols=True)


def drop_stdout() -> None:
    """Write no more to standard output if it cannot be written to, lest the interpreter fail once more at exit."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        drop(sys.stdout)


def _stdin() -> IO[bytes]:
    """Standard input by lines of bytes.

    It is opened anew: a thread may wait for input when the program ends, and the interpreter must then not find the
    lock of `sys.stdin` taken, which is fatal to it.
    """
    try:
        number = sys.stdin.fileno()
    except OSError:  # not a real file in tests
        return sys.stdin.buffer
    return open(number, "rb", closefd=False)


def _is_stdout(path: Path) -> bool:
    """Whether a path, such as /dev/stdout, is where standard output goes: a file that must not be replaced, then.

    Others write to it as well.
    """
    with suppress(OSError, ValueError):
        return os.path.samestat(path.stat(), os.fstat(sys.stdout.fileno()))
    return False


def _write_to_stdout(line: str) -> None:
    sys.stdout.buffer.write(line.encode("utf-8") + b"\n")
    sys.stdout.buffer.flush()
