"""Compressed files as plain ones, and bytes as text."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

from seq2seq.errors import DataError

_AT_ONCE = 2**11  # bytes that are unpacked at once: of zeros, zstandard makes 2^15 times as much of them
LONGEST_LINE = 2**26  # bytes; what goes on without a line end must not fill memory


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


def byte_lines(file: IO[bytes], name: Path | str) -> Iterator[bytes]:
    r"""The lines of a file, without the `\n` that ends each.

    Raises:
        DataError: if a line has `LONGEST_LINE` bytes or more.
    """
    for number, line in enumerate(iter(partial(file.readline, LONGEST_LINE), b""), 1):
        if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            raise DataError(
                f"{name}:{number}: no line end in {LONGEST_LINE >> 20} MB; is this text, one sentence a line? "
                r"Only \n ends a line"
            )
        yield line.removesuffix(b"\n")


def text_lines(file: IO[bytes], name: Path | str) -> Iterator[str]:
    r"""The lines of a UTF-8 text file, without the `\n` that ends each, and without a byte order mark.

    Raises:
        DataError: if it is not UTF-8 text, or as `byte_lines` has it.
    """
    for number, line in enumerate(byte_lines(file, name), 1):
        yield _decoded(line, name, number)


def _decoded(line: bytes, name: Path | str, number: int) -> str:
    if number == 1:
        if line.startswith((b"\xff\xfe", b"\xfe\xff")) or _has_zeros_alternately(line):
            raise DataError(f"{name}:1: is UTF-16 text; convert it with iconv -f utf-16 -t utf-8")
        if line.startswith(b"\x1f\x8b"):
            raise DataError(f"{name}:1: is compressed with gzip; give it a name that ends in .gz")
        line = line.removeprefix(b"\xef\xbb\xbf")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name}:{number}: not UTF-8 (byte 0x{line[error.start]:02x} at column {error.start + 1}); convert it with "
            "iconv -f ... -t utf-8"
        ) from None


def _has_zeros_alternately(line: bytes) -> bool:
    """Whether many bytes are zero, and all of them are first, or all are second ones: European text in UTF-16."""
    return line.count(0) * 4 > len(line) > 3 and 0 in (line[::2].count(0), line[1::2].count(0))


def _open_zstandard(path: Path) -> IO[bytes]:
    try:
        import zstandard
    except ImportError:
        raise DataError(f"{path}: unpacking it needs zstandard; pip install 'seq2seq[localisation]'") from None

    file = path.open("rb")

    class Unpacked(io.RawIOBase):
        """Unpacks frame by frame, with errors like those of other files; a file that ends in a frame is cut short."""

        def __init__(self) -> None:
            self._frame = zstandard.ZstdDecompressor().decompressobj()
            self._packed, self._begun, self._unpacked = b"", False, memoryview(b"")

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            while not self._unpacked and self._more():
                pass
            size = min(len(buffer), len(self._unpacked))
            buffer[:size], self._unpacked = self._unpacked[:size], self._unpacked[size:]
            return size

        def _more(self) -> bool:
            """Unpack some more, if there is more."""
            self._packed = self._packed or file.read(2**17)
            if not self._packed:
                if self._begun:
                    raise EOFError
                return False
            some, rest = self._packed[:_AT_ONCE], self._packed[_AT_ONCE:]
            try:
                self._unpacked = memoryview(self._frame.decompress(some))
            except zstandard.ZstdError as error:
                raise OSError(None, f"damaged, or not zstandard ({error})") from None
            self._begun = not self._frame.eof
            self._packed = self._frame.unused_data + rest if self._frame.eof else rest
            if self._frame.eof:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            return True

        def close(self) -> None:
            file.close()
            super().close()

    return io.BufferedReader(Unpacked(), 2**17)
