"""Compressed files as plain ones."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import IO, Any

from seq2seq.errors import DataError


def open_unpacked(path: Path) -> IO[bytes]:
    """A file's bytes, unpacked if its name ends in .gz or .zst.

    Raises:
        DataError: if what unpacks it is not installed.
        OSError, EOFError, zlib.error: as opening and reading do; also if the file is damaged.
    """
    match path.suffix.lower():
        case ".gz":
            return gzip.open(path, "rb")  # type: ignore[return-value]  # no subclass of IO, but has what is used of it
        case ".zst":
            return _open_zstandard(path)
        case _:
            return path.open("rb")


def _open_zstandard(path: Path) -> IO[bytes]:
    try:
        import zstandard
    except ImportError:
        raise DataError(f"{path}: unpacking it needs zstandard; pip install 'seq2seq[localisation]'") from None

    class Unpacked(io.RawIOBase):
        """Unpacks, with errors like those of other files; a file cut short is no end."""

        def __init__(self) -> None:
            self._file = path.open("rb")
            self._stream = zstandard.ZstdDecompressor().stream_reader(self._file, read_across_frames=True)

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            try:
                return int(self._stream.readinto(buffer))
            except zstandard.ZstdError as error:
                raise OSError(None, f"damaged, or not zstandard ({error})") from None

        def close(self) -> None:
            self._file.close()
            super().close()

    return io.BufferedReader(Unpacked(), 2**17)
