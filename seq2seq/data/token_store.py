"""The token ids of a corpus on disk, of any size: mapped into memory, so that opening it reads next to nothing.

    DIR/data-000000.arrow ...           shards with columns `source` and `target`: lists of ids, with the end token
    DIR/tokens.json                     what they were made from, their numbers, and how many are how long
    DIR/state.json, dataset_info.json   for `datasets.load_from_disk`

`seq2seq.data.token_writer` writes them. Pairs of any length are there: which are too long, the reader decides.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from seq2seq.data.arrow_files import SIDES, table_of
from seq2seq.data.batching import Examples, Ints, TokenSequences
from seq2seq.data.corpus import SentencePair
from seq2seq.errors import DataError

FILE = "tokens.json"


class TokenStore:
    """The tokenised pairs of one corpus, by rows, which count from 0.

    Attributes:
        folder: where it is.
        made_from: the hash of the tokenizer, and what the text is known by.
        counts: pairs that were read, and why some of them were left out.
        coverage: for each side, by name: tokens, unknown ones and bytes among them, and words of the text.
        has_text: whether the text is there too.
    """

    def __init__(self, folder: Path, told: dict[str, Any]) -> None:
        """Take a folder as its `tokens.json` says it is."""
        self.folder = folder
        self.made_from: dict[str, Any] = told["made_from"]
        self.counts: Counter[str] = Counter(told["counts"])
        self.coverage: dict[str, dict[str, int]] = {side: told["coverage"][side] for side in SIDES}
        self.has_text = bool(told["text"])
        self._text = folder / told["text"]
        self._sizes: list[int] = told["vocab_sizes"]
        self._lengths = {int(length): int(pairs) for length, pairs in told["lengths"].items()}
        self._names: list[str] = [shard["name"] for shard in told["shards"]]
        self._bytes: list[int] = [shard["bytes"] for shard in told["shards"]]
        self._starts = np.cumsum([0, *(shard["rows"] for shard in told["shards"])])
        self._at: tuple[int, Examples] | None = None  # the shard that was read last

    @staticmethod
    def open(folder: Path) -> TokenStore | None:
        """The store in a folder; None if there is none.

        Raises:
            DataError: if it is damaged.
        """
        try:
            store = TokenStore(folder, json.loads((folder / FILE).read_text(encoding="utf-8")))
            wrong = [name for name, size in zip(store._names, store._bytes, strict=True)
                     if (folder / name).stat().st_size != size]  # fmt: skip
        except (FileNotFoundError, NotADirectoryError) as error:
            if error.filename == str(folder / FILE):
                return None
            raise _damaged(Path(str(error.filename)), "missing") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise _damaged(folder / FILE, str(error)) from None
        if wrong:
            raise _damaged(folder / wrong[0], "of another size")
        return store

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def num_tokens(self) -> int:
        """Of both sides together."""
        return sum(side["tokens"] for side in self.coverage.values())

    def fitting(self, max_length: int) -> int:
        """How many pairs have no side of more tokens."""
        return sum(pairs for length, pairs in self._lengths.items() if length <= max_length)

    def lengths(self, start: int, stop: int) -> Ints:
        """The longer side of each pair of some rows in tokens."""
        parts = [shard.lengths[rows] for shard, rows in self._parts(np.arange(start, stop))]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def read(self, rows: Ints) -> Examples:
        """A copy of the pairs of some rows, which ascend.

        Raises:
            DataError: if the store is damaged.
        """
        found = Examples.joined([shard.take(places) for shard, places in self._parts(rows)])
        for side, size in zip((found.source, found.target), self._sizes, strict=True):
            if len(side.tokens) and not 0 <= side.tokens.min() <= side.tokens.max() < size:
                raise _damaged(self.folder, "a token is not in the vocabulary")
        return found

    def pairs(self, rows: Ints) -> list[SentencePair]:
        """The text of some rows, which ascend; only where there is text."""
        found: list[SentencePair] = []
        for number in np.unique(self._shards(rows)):
            start, stop = self._starts[number], self._starts[number + 1]
            path = self._text / self._names[number]
            inside = path.resolve().is_relative_to(self.folder.resolve())
            remedy = _remedy(self.folder) if inside else "`seq2seq prepare` makes it anew"
            table = table_of(path, remedy)
            if len(table) != stop - start:
                raise DataError(f"{path}: damaged (has not the rows of its tokens); {remedy}")
            here = table.take(rows[(rows >= start) & (rows < stop)] - start)
            found += map(SentencePair, *(here[side].to_pylist() for side in SIDES))
        return found

    def _shards(self, rows: Ints) -> Ints:
        """In which shard each row is."""
        return np.searchsorted(self._starts, rows, side="right") - 1

    def _parts(self, rows: Ints) -> list[tuple[Examples, Ints]]:
        """Ascending rows as shards, and places in them; of shards, one at a time stays mapped."""
        shards = self._shards(rows)
        return [
            (self._shard(int(number)), rows[shards == number] - self._starts[number]) for number in np.unique(shards)
        ]

    def _shard(self, number: int) -> Examples:
        if self._at is None or self._at[0] != number:
            path = self.folder / self._names[number]
            table = table_of(path, _remedy(self.folder))
            sides = [_sequences(table[side], path) for side in SIDES]
            if {len(side) for side in sides} != {int(self._starts[number + 1] - self._starts[number])}:
                raise _damaged(path, "has not the rows that it should have")
            self._at = number, Examples(*sides)
        return self._at[1]


def _sequences(column: Any, path: Path) -> TokenSequences:
    """A column of lists, without a copy."""
    (chunk,) = column.chunks
    tokens = chunk.values.to_numpy(zero_copy_only=True)
    ends = chunk.offsets.to_numpy(zero_copy_only=True)
    if ends[0] != 0 or ends[-1] != len(tokens) or (ends[1:] < ends[:-1]).any():
        raise _damaged(path, "its rows overlap")
    return TokenSequences(tokens, ends[1:])


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(f"{path}: damaged ({reason}); {_remedy(path if path.is_dir() else path.parent)}")


def _remedy(folder: Path) -> str:
    return f"delete the folder {folder}, and its tokens are made anew"
