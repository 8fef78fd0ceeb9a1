"""Data sets as `datasets` keeps them: folders of Arrow files (*shards*), with columns `source` and `target`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq.data.corpus import SentencePair
from seq2seq.errors import DataError
from seq2seq.files import sha256_of, write_json

if TYPE_CHECKING:
    import pyarrow as pa

SIDES = ("source", "target")
TEXT = {"dtype": "string", "_type": "Value"}  # what is in a column, as `datasets` says it
STATE = "state.json"
_TEXT_ROWS = 1000  # in a record batch


def tokens_of(dtype: str) -> dict[str, Any]:
    """Columns of lists of token ids, as `datasets` says it."""
    return {"feature": {"dtype": dtype, "_type": "Value"}, "_type": "List"}


def arrow_of(pairs: Sequence[SentencePair]) -> bytes:
    """Text as a shard."""
    import pyarrow as pa

    return stream_of([pa.array([pair[side] for pair in pairs], pa.string()) for side in (0, 1)], TEXT, _TEXT_ROWS)


def stream_of(columns: Sequence[pa.Array], feature: Mapping[str, Any], batch_rows: int | None = None) -> bytes:
    """Two columns as a shard, which is a stream of Arrow."""
    import pyarrow as pa

    features = json.dumps({"info": {"features": dict.fromkeys(SIDES, feature)}})
    fields = [pa.field(side, column.type) for side, column in zip(SIDES, columns, strict=True)]
    schema = pa.schema(fields, metadata={"huggingface": features})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_table(pa.Table.from_arrays(list(columns), schema=schema), max_chunksize=batch_rows)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def table_of(path: Path, remedy: str = "`seq2seq prepare` makes it anew") -> pa.Table:
    """A shard, mapped into memory, not read.

    Args:
        path: the file.
        remedy: what to do if it is damaged.

    Raises:
        DataError: if it is missing or damaged.
    """
    import pyarrow as pa

    try:
        with pa.memory_map(str(path)) as file:
            return pa.ipc.open_stream(file).read_all()
    except FileNotFoundError:
        raise DataError(f"{path}: missing; {remedy}") from None
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: damaged ({reason}); {remedy}") from None


def pairs_of(path: Path) -> list[SentencePair]:
    """The text of a shard."""
    table = table_of(path)
    return [SentencePair(*pair) for pair in zip(*(table[side].to_pylist() for side in SIDES), strict=True)]


def describe(folder: Path, shards: Sequence[str], feature: Mapping[str, Any] = TEXT) -> None:
    """Write what `datasets.load_from_disk` wants to know; shards are named from the folder."""
    write_json(folder / "dataset_info.json", {"features": dict.fromkeys(SIDES, feature)})
    fingerprint = hashlib.sha256("".join(sha256_of(folder / name) for name in shards).encode()).hexdigest()[:16]
    write_json(
        folder / STATE,
        {
            "_data_files": [{"filename": name} for name in shards], "_fingerprint": fingerprint,
            "_format_columns": None, "_format_kwargs": {}, "_format_type": None, "_output_all_columns": False,
            "_split": "train",
        },
    )  # fmt: skip


def shards_of(folder: Path) -> list[Path]:
    """The shards of a data set, in order; none if it is not one of ours."""
    return [folder / file["filename"] for file in read_json(folder / STATE).get("_data_files", [])]


def fingerprint_of(folder: Path) -> str:
    """What a data set says to be the hash of its rows; empty if it is not one of ours."""
    return str(read_json(folder / STATE).get("_fingerprint", ""))


def read_json(path: Path) -> dict[str, Any]:
    """What a JSON file holds; nothing if there is no such file, or it is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
