"""Whether a folder may be made where a user says: nothing but what an export or a package made is replaced."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from seq2seq.errors import ExportError
from seq2seq.files import write_json

_OF_DESKTOPS = (".DS_Store", "Thumbs.db")  # which looking at a folder leaves there
MARK = "seq2seq.json"  # in each export and package


def mark(folder: Path, **what: Any) -> None:
    """Say of a folder that is finished what made it, and which names it holds by that."""
    write_json(
        folder / MARK, {**what, "seq2seq": version("seq2seq"), "holds": sorted(path.name for path in folder.iterdir())}
    )


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
    if any(output.iterdir()) and not _is_ours(output):
        raise ExportError(f"{output}: has no mark of an export or package; choose another --output, or delete it")
    if others := _not_ours(output):
        raise ExportError(f"{output}: holds {others[0]} too, which would be lost; move it, or choose another --output")


def _is_ours(folder: Path) -> bool:
    """Whether an export made a folder (before it had the mark, with a script beside a model), or a package."""
    names = {path.name for path in folder.iterdir()}
    is_older = "translate.py" in names and not names.isdisjoint({"model.bin", "decoder.onnx"})
    return is_older or not names.isdisjoint({MARK, "data.lock.json"})


def _not_ours(folder: Path) -> list[str]:
    """What has come into a folder since it was made; one of a version before does not say what it held."""
    try:
        said = json.loads((folder / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    holds = said.get("holds") if isinstance(said, dict) else None
    if not isinstance(holds, list):
        return []
    return sorted(path.name for path in folder.iterdir() if path.name not in (MARK, *_OF_DESKTOPS, *holds))
