"""Whether a folder may be made where a user says: nothing but what an export or a package made is replaced."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

from seq2seq.decoding.loading import MARK  # in each export and package
from seq2seq.errors import ExportError
from seq2seq.files import sha256_of, write_json

_TEXTS = (".md", ".py", ".toml")  # such as a model card, which is to be completed
_OF_DESKTOPS = (".DS_Store", "Thumbs.db")  # which looking at a folder leaves there


def mark(folder: Path, **what: Any) -> None:
    """Say of a folder that is finished what made it, which files it holds by that, and what one may edit in them."""
    holds = _files_in(folder)
    texts = {name: sha256_of(folder / name) for name in holds if Path(name).suffix in _TEXTS}
    write_json(folder / MARK, {**what, "seq2seq": version("seq2seq"), "holds": holds, "texts": texts})


def check_output(output: Path, run: Path, overwrite: bool) -> None:
    """Refuse an output folder in which something would be lost.

    Args:
        output: the folder to make.
        run: the run, or its checkpoint, that it is to be made of.
        overwrite: whether what an earlier export or package made may be replaced.

    Raises:
        ExportError: if something else is there, or it is there and `overwrite` is not set.
    """
    if not output.exists():
        return
    if not (overwrite and output.is_dir()):
        raise ExportError(f"{output}: is there already; --overwrite replaces a folder, or choose another --output")
    if run.resolve().is_relative_to(output.resolve()):
        raise ExportError(f"{output}: holds the run itself, which would be lost; choose another --output")
    if not any(output.iterdir()):
        return
    others = _not_ours(output)
    if others is None:
        raise ExportError(f"{output}: has no mark of an export or package; choose another --output, or delete it")
    if others:
        raise ExportError(f"{output}: holds {others[0]}, new or edited, which would be lost; move it, or the output")


def _not_ours(folder: Path) -> list[str] | None:
    """What was put into a folder, or edited, since an export or a package was made there; None if none was."""
    try:
        said = json.loads((folder / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    holds = said.get("holds") if isinstance(said, dict) else None
    if not isinstance(holds, list) or not all(isinstance(name, str) and name != "." for name in holds):
        return None
    ours = {MARK, *holds}  # of a folder that is named, all that is in it
    texts = said.get("texts")  # of an older mark, none are known
    texts = texts if isinstance(texts, dict) else {}
    return [
        name
        for name in _files_in(folder)
        if ours.isdisjoint([name, *map(str, PurePosixPath(name).parents)])
        or (name in texts and texts[name] != sha256_of(folder / name))
    ]


def _files_in(folder: Path) -> list[str]:
    """The files in a folder and those in it, by their paths from there, but for what looking at them leaves."""
    files = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(path.relative_to(folder).as_posix() for path in files if path.name not in _OF_DESKTOPS)
