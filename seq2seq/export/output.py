"""Whether a folder may be made where a user says: nothing but what an export or a package made is replaced."""

from __future__ import annotations

from pathlib import Path

from seq2seq.errors import ExportError

MARK = "seq2seq.json"  # in each export


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


def _is_ours(folder: Path) -> bool:
    """Whether an export made a folder (before it had the mark, with a script beside a model), or a package."""
    names = {path.name for path in folder.iterdir()}
    is_older = "translate.py" in names and not names.isdisjoint({"model.bin", "decoder.onnx"})
    return is_older or not names.isdisjoint({MARK, "data.lock.json"})
