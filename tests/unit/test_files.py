import errno
import hashlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq import files as files_module
from seq2seq.errors import DataError, TrainingError
from seq2seq.files import (
    alone_in,
    atomic_directory,
    atomic_write,
    clear_directory,
    empty_directory,
    remove_leftovers,
    sha256_of,
    write_json,
)
from tests.other_process import working_in


class Crash(BaseException):
    """Not an Exception: as Ctrl-C."""


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_is_written_as_it_is(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "text"
    with atomic_write(path) as file:
        file.write(text)
    assert path.read_bytes() == text.encode()


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file.txt"
    with atomic_write(path) as file:
        file.write("half")
        file.flush()
        assert not path.exists()
    assert path.read_text() == "half"
    assert names_in(path.parent) == ["file.txt"]


@pytest.mark.parametrize("old", [None, "old text"])
def test_a_failed_write_leaves_nothing_behind_and_the_old_file_alone(tmp_path: Path, old: str | None) -> None:
    path = tmp_path / "file.txt"
    if old is not None:
        path.write_text(old)
    before = names_in(tmp_path)
    with pytest.raises(Crash), atomic_write(path) as file:
        file.write("half")
        raise Crash
    assert names_in(tmp_path) == before
    assert old is None or path.read_text() == old


def test_a_complete_write_replaces_the_old_file(tmp_path: Path) -> None:
    for text in ("long old text", "new"):
        with atomic_write(str(tmp_path / "file.txt")) as file:
            file.write(text)
    assert (tmp_path / "file.txt").read_text() == "new"
    assert names_in(tmp_path) == ["file.txt"]


def test_a_folder_appears_when_it_is_complete_and_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder"
    for name in ("first", "second"):
        with atomic_directory(path) as partial:
            (partial / name).write_text(name)
            assert not (path / name).exists()
        assert names_in(path) == [name]
    assert names_in(path.parent) == ["folder"]


@pytest.mark.parametrize("exists", [False, True])
def test_a_failed_folder_leaves_nothing_behind_and_the_old_one_alone(tmp_path: Path, exists: bool) -> None:
    path = tmp_path / "folder"
    if exists:
        path.mkdir()
        (path / "old").write_text("old")
    before = names_in(tmp_path)
    with pytest.raises(Crash), atomic_directory(path) as partial:
        (partial / "sub").mkdir()
        (partial / "sub" / "half").write_text("half")
        raise Crash
    assert names_in(tmp_path) == before
    assert not exists or names_in(path) == ["old"]


def test_a_link_to_a_folder_stays_one(tmp_path: Path) -> None:
    disk, link = tmp_path / "disk", tmp_path / "link"
    disk.mkdir()
    (disk / "old").touch()
    link.symlink_to(disk)
    with atomic_directory(link) as partial:
        (partial / "new").touch()
    assert link.is_symlink() and [path.name for path in disk.iterdir()] == ["new"]
    (disk / "folder").mkdir()
    (disk / "folder" / "file").touch()
    clear_directory(link)
    assert link.is_symlink() and not any(disk.iterdir())
    clear_directory(disk)
    clear_directory(disk)
    assert not disk.exists() and sorted(path.name for path in tmp_path.iterdir()) == ["link"]


def test_a_link_that_is_left_over_is_removed_and_not_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / ".tok.99999999.removed.partial").symlink_to(tmp_path / "disk")
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["disk"]


def test_of_what_is_half_written_that_of_running_processes_and_of_others_stays(tmp_path: Path) -> None:
    stay = [f".out.{os.getppid()}.partial", ".download.partial", ".12.partial", "out.12.partial", ".out.12.partial.txt"]
    go = [".out.99999999.partial", f".out.{os.getpid()}.partial", ".out.99999999999999999999.removed.partial"]
    for name in (*stay, *go):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert names_in(tmp_path) == sorted(stay)


@pytest.mark.usefixtures("impatient")
def test_one_process_at_a_time_works_in_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    refused = pytest.raises(TrainingError, match="run: another process is at work there; wait until it has ended, or")
    with working_in(folder), refused, alone_in(folder, TrainingError):
        pass
    with alone_in(folder, TrainingError), alone_in(folder, DataError):  # the other one was killed
        (folder / "made").touch()
        empty_directory(folder)
        assert names_in(folder) == [".lock"]
        with pytest.raises(AssertionError, match="another process is at work"), working_in(folder):
            pass
    assert folder.exists()


@pytest.mark.parametrize("cause", [NotImplementedError("no flock"), OSError(errno.ENOLCK, "no locks available")])
def test_where_there_are_no_locks_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cause: Exception
) -> None:
    def acquire(self: object) -> None:
        raise cause

    told: list[str] = []
    monkeypatch.setattr("filelock.FileLock.acquire", acquire)
    monkeypatch.setattr(files_module._LOG, "warning", lambda text, *values: told.append(text % values))
    with alone_in(tmp_path / "run", DataError):
        (tmp_path / "run" / "made").touch()
    assert len(told) == 1 and "run: cannot be locked (" in told[0]
    monkeypatch.setattr("filelock.FileLock.acquire", lambda self: (_ for _ in ()).throw(OSError(errno.EROFS, "no")))
    with pytest.raises(OSError, match="no"), alone_in(tmp_path / "run", DataError):
        pass


def test_a_folder_that_was_made_to_work_in_goes_if_it_stays_empty(tmp_path: Path) -> None:
    with alone_in(tmp_path / "new" / "empty", DataError):
        pass
    with alone_in(tmp_path / "new" / "filled", DataError):
        (tmp_path / "new" / "filled" / "file").touch()
    assert names_in(tmp_path / "new") == ["filled"]
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "file").touch()
    for _ in range(2):
        with alone_in(tmp_path / "theirs", DataError), alone_in(tmp_path / "theirs", DataError):
            assert names_in(tmp_path / "theirs") == [".lock", "file"]
        assert names_in(tmp_path / "theirs") == ["file"]


def test_json_is_readable_text_and_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    value = {"text": "Grüße, 世界", "list": [1, 2.5, None]}
    write_json(path, value)
    assert json.loads(path.read_text(encoding="utf-8")) == value
    assert "Grüße, 世界" in path.read_text(encoding="utf-8")
    with pytest.raises(TypeError):
        write_json(path, {"bad": object()})
    assert json.loads(path.read_text(encoding="utf-8")) == value
    assert names_in(tmp_path) == ["value.json"]


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    content = bytes(range(256)) * 1000
    (tmp_path / "file").write_bytes(content)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(content).hexdigest()
