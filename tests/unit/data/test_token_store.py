"""Tokens on disk: rows come back, whatever the shards; damage is told; `datasets` reads them."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq.data.corpus import SentencePair
from seq2seq.data.token_store import TokenStore
from seq2seq.data.token_writer import write_tokens
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.errors import DataError

SHARD = 7


@pytest.fixture(scope="session")
def pairs(source_lines: list[str], target_lines: list[str]) -> list[SentencePair]:
    long = [line.split() for line in source_lines[:40]]
    lines = [" ".join(words[: i % 9]) for i, words in enumerate(long)]
    return [SentencePair(line or "一", f"{line}\u2028x\r") for line in [*lines, *target_lines[:10]]]


@pytest.fixture(scope="session")
def store(tokenizer: Tokenizer, pairs: list[SentencePair], tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    folder = tmp_path_factory.mktemp("store") / "tokens"
    return write(folder, tokenizer, pairs)


def write(folder: Path, tokenizer: Tokenizer, pairs: list[SentencePair]) -> TokenStore:
    starts = range(0, len(pairs), SHARD)
    blocks = ((f"data-{start:06}.arrow", _Rows(pairs[start : start + SHARD])) for start in starts)
    return write_tokens(folder, blocks, tokenizer, {"tokenizer": tokenizer.hash, "text": "x"}, text="text")


class _Rows(list[SentencePair]):
    def __call__(self) -> list[SentencePair]:
        return list(self)


def test_all_rows_come_back(store: TokenStore, tokenizer: Tokenizer, pairs: list[SentencePair]) -> None:
    everything = np.arange(len(store))
    examples = store.read(everything)
    assert [row.tolist() for row in examples.source] == tokenizer.encode_source([pair.source for pair in pairs])
    assert [row.tolist() for row in examples.target] == tokenizer.encode_target([pair.target for pair in pairs])
    assert store.pairs(everything) == pairs
    assert store.lengths(0, len(store)).tolist() == examples.lengths.tolist()
    assert store.num_tokens == len(examples.source.tokens) + len(examples.target.tokens)
    for longest in (1, 5, 9, 100):
        assert store.fitting(longest) == int((examples.lengths <= longest).sum())


@settings(max_examples=50)
@given(rows=st.sets(st.integers(0, 49)))
def test_any_rows_come_back(store: TokenStore, pairs: list[SentencePair], rows: set[int]) -> None:
    chosen = np.array(sorted(rows), dtype=np.int64)
    everything = store.read(np.arange(len(store)))
    found = TokenStore.open(store.folder).read(chosen)
    assert [row.tolist() for row in found.source] == [everything.source[i].tolist() for i in chosen]
    assert [row.tolist() for row in found.target] == [everything.target[i].tolist() for i in chosen]
    assert store.pairs(chosen) == [pairs[i] for i in chosen]


def test_tokens_are_views_of_the_mapped_file(store: TokenStore) -> None:
    shard = store._shard(1)
    assert shard.source.tokens.dtype == np.uint16
    assert not shard.source.tokens.flags.owndata
    assert not shard.source.tokens.flags.writeable


def test_datasets_reads_it(store: TokenStore) -> None:
    rows = datasets.load_from_disk(str(store.folder))
    assert len(rows) == len(store)
    assert rows[20]["target"] == store.read(np.array([20])).target[0].tolist()


def test_no_folder_is_no_store(tmp_path: Path) -> None:
    assert TokenStore.open(tmp_path) is None
    assert TokenStore.open(tmp_path / "none") is None
    (tmp_path / "file").touch()
    assert TokenStore.open(tmp_path / "file") is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"made_from": {}, "counts": 5}'])
def test_a_damaged_description_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokens.json").write_text(content)
    with pytest.raises(DataError, match=r"tokens\.json: damaged .*; delete the folder"):
        TokenStore.open(tmp_path)


def test_a_damaged_shard_is_told(tmp_path: Path, tokenizer: Tokenizer, pairs: list[SentencePair]) -> None:
    write(tmp_path / "tokens", tokenizer, pairs)
    shard = tmp_path / "tokens/data-000007.arrow"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-10])
    with pytest.raises(DataError, match=r"data-000007\.arrow: damaged \(of another size\); delete the folder"):
        TokenStore.open(tmp_path / "tokens")
    shard.unlink()
    with pytest.raises(DataError, match=r"data-000007\.arrow: damaged \(missing\)"):
        TokenStore.open(tmp_path / "tokens")
    for start in range(0, len(whole), 40):  # wherever it is, reading ends, in ids of the vocabulary or an error
        shard.write_bytes(whole[:start] + b"\xff" * len(whole[start : start + 40]) + whole[start + 40 :])
        try:
            found = TokenStore.open(tmp_path / "tokens").read(np.arange(len(pairs)))
        except DataError as error:
            assert "damaged" in str(error)
        else:
            assert len(found) == len(pairs)
            assert max(found.source.tokens.max(), found.target.tokens.max()) < tokenizer.source_vocab_size


@pytest.mark.parametrize(("place", "remedy"), [("text", "delete the folder"), ("..", "`seq2seq prepare` makes")])
def test_the_remedy_for_damaged_text_is_that_of_its_maker(
    place: str, remedy: str, tmp_path: Path, tokenizer: Tokenizer, pairs: list[SentencePair]
) -> None:
    write(tmp_path / "tokens", tokenizer, pairs)
    path = tmp_path / "tokens/tokens.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"text": place}))
    opened = TokenStore.open(tmp_path / "tokens")
    assert opened is not None
    for content in (None, b"", b"no table"):
        shard = opened._text / opened._names[0]
        shard.unlink(missing_ok=True)
        if content is not None:
            shard.parent.mkdir(exist_ok=True)
            shard.write_bytes(content)
        with pytest.raises(DataError, match=remedy):
            opened.pairs(np.arange(3))


def test_shards_in_a_wrong_order_are_told(tmp_path: Path, tokenizer: Tokenizer, pairs: list[SentencePair]) -> None:
    store = write(tmp_path / "tokens", tokenizer, pairs)
    path = tmp_path / "tokens/tokens.json"
    told = json.loads(path.read_text(encoding="utf-8"))
    told["shards"][0]["rows"] += 1
    path.write_text(json.dumps(told))
    opened = TokenStore.open(tmp_path / "tokens")
    assert opened is not None
    with pytest.raises(DataError, match="has not the rows"):
        opened.read(np.arange(len(store)))
