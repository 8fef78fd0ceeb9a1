"""Another process at work in a folder."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_WORK = """\
import sys
from pathlib import Path
from seq2seq.errors import DataError
from seq2seq.files import alone_in
with alone_in(Path(sys.argv[1]), DataError):
    print("at work", flush=True)
    sys.stdin.read()
"""


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Have another process at work in a folder, which is killed at the end.

    Raises:
        AssertionError: if it is kept from it; with what it said.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", _WORK, str(folder)], stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdout and process.stderr
        try:
            if process.stdout.readline() != b"at work\n":
                raise AssertionError(process.stderr.read().decode("utf-8"))
            yield
        finally:
            process.kill()
