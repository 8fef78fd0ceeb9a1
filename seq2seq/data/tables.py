"""Tables of sentence pairs read through `datasets`: Parquet files, data sets on disk, the Hugging Face Hub.

Local files are streamed and whatever comes from the Hub is mapped into memory from the cache of `datasets`, so the
size of a table does not matter.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seq2seq.config import CorpusConfig
from seq2seq.errors import DataError

_BATCH_ROWS = 1000
_PROBE_TIMEOUT_S = 10.0
_COMMIT = re.compile(r"[0-9a-f]{40}")


class Table:
    """A data set that can be read row by row, any number of times."""

    def __init__(self, name: str, dataset: Any) -> None:
        self.name = name
        self._dataset = dataset

    def first_row(self) -> dict[str, Any] | None:
        """The first row with all its columns; None if there is none."""
        with _explained(self.name):
            return next(iter(self._dataset), None)

    def rows(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """All rows, with some of the columns only; reading some columns of many is much quicker than reading all."""
        with _explained(self.name):
            batches = self._dataset.select_columns(list(columns)).iter(batch_size=_BATCH_ROWS)
        while True:
            with _explained(self.name):
                batch = next(batches, None)
            if batch is None:
                return
            for values in zip(*(batch[column] for column in columns), strict=True):
                yield dict(zip(columns, values, strict=True))


def open_table(corpus: CorpusConfig) -> Table:
    """The table that a corpus names by `dataset` or `path`; a data set of the Hub is downloaded if need be.

    Raises:
        DataError: if there is no such table, it cannot be read, or the Hub does not answer.
    """
    if corpus.dataset:
        return _open_hub(corpus)
    path = Path(corpus.path)
    with _explained(corpus.path):
        if path.is_dir():
            return _open_folder(path, corpus)
        import datasets

        # A path is meant as it is, though `datasets` would take one with brackets in it for a pattern.
        files = glob.escape(str(path.resolve()))
        return Table(str(path), datasets.load_dataset("parquet", data_files=files, split="train", streaming=True))


def _open_folder(path: Path, corpus: CorpusConfig) -> Table:
    """A folder that `save_to_disk` wrote, or one of data files as they are kept on the Hub."""
    import datasets

    if (path / "state.json").exists():
        return Table(str(path), datasets.load_from_disk(str(path)))
    if (path / "dataset_dict.json").exists():
        splits = datasets.load_from_disk(str(path))
        if corpus.split not in splits:
            raise DataError(f"{path}: no split {corpus.split!r} (it has {', '.join(splits)}); set `split`")
        return Table(str(path), splits[corpus.split])
    folder = str(path.resolve())
    return Table(str(path), datasets.load_dataset(folder, corpus.subset or None, split=corpus.split, streaming=True))


def _open_hub(corpus: CorpusConfig) -> Table:
    import datasets

    name = f"Hub data set {corpus.dataset}"
    unreachable = _why_unreachable()
    with _offline(bool(unreachable)):
        try:
            dataset = datasets.load_dataset(
                corpus.dataset, split=corpus.split, revision=corpus.revision or None, **_part(corpus)
            )
        except Exception as error:
            if unreachable or isinstance(error, ConnectionError):
                reason = unreachable or _one_line(error)
                raise DataError(
                    f"{name}: not in the local cache, and the Hugging Face Hub cannot be reached ({reason}); connect "
                    "to the internet, or use local files (in a recipe: `--data DIR`)"
                ) from None
            raise DataError(f"{name}: {_one_line(error)}{_remedy(error)}") from None
    _check_revision(dataset, corpus, name)
    return Table(name, dataset)


def _part(corpus: CorpusConfig) -> dict[str, Any]:
    """The arguments that choose a configuration of a Hub data set.

    The branch of a data set's Parquet export has a folder for each configuration, and nothing that declares them; read
    by name they would not be found, and without a name all configurations would be mixed.
    """
    if corpus.revision.startswith("refs/convert/"):
        return {"data_dir": corpus.subset or "default"}
    return {"name": corpus.subset or None}


def _why_unreachable() -> str:
    """Why the Hub cannot be reached; empty if it can.

    Asked once beforehand, because the Hub's own client tries for half a minute, with a warning every few seconds.
    """
    import datasets
    from huggingface_hub import get_session

    if datasets.config.HF_HUB_OFFLINE:
        return "offline mode is set in the environment"
    try:
        get_session().head(datasets.config.HF_ENDPOINT, timeout=_PROBE_TIMEOUT_S)
    except Exception as error:  # of whichever HTTP library the installed version uses
        return _one_line(error)
    return ""


@contextmanager
def _offline(needed: bool) -> Iterator[None]:
    """Let `datasets` go straight to its cache, as `HF_HUB_OFFLINE` does when it is set before the start."""
    import datasets

    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = before or needed
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before


def _check_revision(dataset: Any, corpus: CorpusConfig, name: str) -> None:
    """What it cannot fetch, `datasets` takes from its cache, be it of another commit than the one asked for."""
    files: Sequence[Mapping[str, str]] = getattr(dataset, "cache_files", None) or ()
    for commit in {Path(file["filename"]).parent.name for file in files}:
        if _COMMIT.fullmatch(commit) and _COMMIT.fullmatch(corpus.revision) and commit != corpus.revision:
            raise DataError(
                f"{name}: `revision` = {corpus.revision!r} cannot be fetched, and the local cache has commit {commit}; "
                "check `revision` and the connection"
            )


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn any error of `datasets` and pyarrow, which have no common root, into one line that names the table."""
    try:
        yield
    except (DataError, MemoryError):
        raise
    except Exception as error:
        raise DataError(f"{name}: cannot be read: {_one_line(error)}{_remedy(error)}") from None


def _remedy(error: Exception) -> str:
    text = str(error)
    if "scripts are no longer supported" in text:
        return '; read its Parquet export with `revision` = "refs/convert/parquet"'
    if re.search(r"\bsplit\b", text):
        return "; set `split`"
    if re.search(r"[Cc]onfig", text):
        return "; set `subset`"
    if "Hub" in text or "Repository" in text:
        return "; check `dataset` and `revision` (`hf auth login` for one that is not public)"
    return "; check that it is whole and of a format that `datasets` reads"


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()).rstrip(".;:")
    return text[:300] or type(error).__name__
