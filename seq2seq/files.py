"""Files that are either whole or not there: written under a temporary name, flushed to disk, then renamed."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from seq2seq.errors import Seq2SeqError

_LOG = logging.getLogger(__name__)

LOCK = ".lock"
_NOT_WRITABLE = (errno.EACCES, errno.EROFS, errno.ENOSPC)  # all else means that the file system has no locks
_GRACE_S = 2.0  # that workers of a killed process may live on, and with them its lock
_LEFTOVER = re.compile(r"\..+\.(\d+)(\.removed)?\.partial")  # as the functions below name what is not complete


@contextmanager
def atomic_write(path: Path | str) -> Iterator[IO[str]]:
    """A UTF-8 text file whose final name appears only when it is complete; line ends are written as they are."""
    path = Path(path)
    if path.exists() and not path.is_file():  # as root, a device would be replaced by a file
        raise OSError(errno.EEXIST, "not a regular file", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Refuse a file that could not be written at the end of long work; its folder is made.

    Raises:
        OSError: as writing it would.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EEXIST, "not a regular file", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(path.parent, os.W_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def atomic_write_bytes(path: Path, content: bytes) -> None:
    """Write a file of bytes whose final name appears only when it is complete."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: Path | str) -> Iterator[Path]:
    """A folder to fill, whose final name appears only when it is complete; what stood there before is replaced."""
    path = Path(path).resolve()  # a link stays a link
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                with file.open("rb") as written:
                    os.fsync(written.fileno())
        doomed = _aside(path) if path.exists() else None
        try:
            temporary.replace(path)
        except OSError:
            if doomed is not None:
                doomed.replace(path)
            raise
        if doomed is not None:
            shutil.rmtree(doomed, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_directory(path: Path) -> None:
    """Remove a folder so that, killed at any moment, it leaves either all of it or nothing under its name."""
    shutil.rmtree(_aside(path), ignore_errors=True)


def clear_directory(path: Path) -> None:
    """Remove a folder, if it is there; of a link to one, and where another disk is mounted, what is in it."""
    if not (path.is_symlink() or path.is_mount()):
        if path.exists():
            remove_directory(path)
        return
    if path.is_dir():
        empty_directory(path)


def empty_directory(path: Path) -> None:
    """Remove what is in a folder, but for the lock of `alone_in`."""
    for child in path.iterdir():
        if child.is_dir() and not child.is_symlink():
            remove_directory(child)
        elif child.name != LOCK:
            child.unlink()


def _aside(path: Path) -> Path:
    """Give a folder a name under which it counts as half-written."""
    doomed = path.with_name(f".{path.name}.{os.getpid()}.removed.partial")
    shutil.rmtree(doomed, ignore_errors=True)  # of a killed process that had our number
    return path.replace(doomed)


@contextmanager
def alone_in(folder: Path, error: type[Seq2SeqError]) -> Iterator[None]:
    """Keep other processes from working in a folder; one that is killed keeps nobody.

    The folder is made if it is missing. If nothing comes into it or goes, it is left as it was, without a lock. If the
    file system has no locks, that is said, and nobody is kept.

    Raises:
        error: if another one works there.
    """
    from filelock import FileLock, Timeout

    before = {path.name for path in folder.iterdir()} if folder.exists() else None
    folder.mkdir(parents=True, exist_ok=True)
    # The same for all of one path, so that a recipe's trainings may take what the recipe has taken.
    place = str(folder.resolve() / LOCK)
    lock = FileLock(place, timeout=_GRACE_S, is_singleton=True, fallback_to_soft=False)
    is_held = True
    try:
        lock.acquire()
    except Timeout:
        raise error(
            f"{folder}: another process is at work there; wait until it has ended, or choose another --output"
        ) from None
    except (NotImplementedError, OSError) as cause:
        if isinstance(cause, OSError) and cause.errno in _NOT_WRITABLE:
            raise
        _LOG.warning("%s: cannot be locked (%s); see to it that no other process works there", folder, cause)
        is_held = False
    try:
        yield
    finally:
        with suppress(OSError):  # the folder itself may be gone
            if {path.name for path in folder.iterdir()} - {LOCK} == (before or set()):
                (folder / LOCK).unlink(missing_ok=True)
                if before is None:
                    folder.rmdir()
        if is_held:
            lock.release()


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder; what running ones write stays."""
    for leftover in folder.glob(".*.partial"):
        found = _LEFTOVER.fullmatch(leftover.name)
        if not found or _is_of_another(int(found[1])):
            continue
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()


def _is_of_another(number: int) -> bool:
    """Whether another process of this number runs. One of ours was killed, as in a container where all have it."""
    if number == os.getpid() or sys.platform == "win32":  # where asking, as below, would end it
        return False
    try:
        os.kill(number, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


def write_json(path: Path | str, value: Any) -> None:
    """Write a value as indented JSON, atomically."""
    with atomic_write(path) as file:
        file.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def sha256_of(path: Path | str) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def are_as_they_were(folder: Path, files: Mapping[str, str]) -> bool:
    """Whether there are files, by their paths in a folder, and all of them have the SHA-256 that they had."""
    return bool(files) and files == hashes_of(folder, [folder / name for name in files])


def hashes_of(folder: Path, paths: Iterable[Path]) -> dict[str, str]:
    """The SHA-256 of files, by their paths in a folder."""
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in sorted(paths) if path.is_file()}
