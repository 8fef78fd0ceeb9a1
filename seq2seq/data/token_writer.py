"""Corpora tokenised once, by several processes, shard by shard: see `seq2seq.data.token_store` for what is written.

A shard appears when it is complete, and what was killed goes on with the shards that are missing. The bytes are a
function of the text and the tokenizer, whatever the number of processes.
"""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import numpy as np

from seq2seq.config import Config, CorpusConfig
from seq2seq.data.arrow_files import SIDES, arrow_of, describe, fingerprint_of, read_json, stream_of, tokens_of
from seq2seq.data.corpus import SentencePair, read_corpus
from seq2seq.data.processes import cores, in_processes
from seq2seq.data.token_store import FILE, TokenStore
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.data.vocabulary import Vocabulary
from seq2seq.errors import DataError
from seq2seq.files import atomic_write_bytes, remove_directory, remove_leftovers, write_json
from seq2seq.settings import to_dict
from seq2seq.telling import now_and_then

BLOCK = 50_000  # pairs of a shard
BESIDE = "tokens"  # the folder of a prepared corpus that holds its tokens
_TEXT = "text"  # the folder of a store that holds its text, where that is needed again
_BEGUN = "begun.json"  # what a store that is not complete is made from
_SECONDS = 10.0  # between two lines about how far it has come

Say = Callable[[str], None]
Block = tuple[str, Callable[[], Sequence[SentencePair]]]  # the name of a shard, and what reads its pairs


def open_stores(
    config: Config, tokenizer: Tokenizer, folder: Path, say: Say = lambda line: None, write: bool = True
) -> list[TokenStore]:
    """The tokens of each training corpus: of prepared ones those beside the text, of others those in a folder.

    What is missing is tokenised, from text that is read as a stream.

    Args:
        config: names the corpora, and says whether text is needed again while training.
        tokenizer: the one to have been used.
        folder: for corpora that were not prepared with this tokenizer.
        say: is told how far tokenising has come.
        write: whether this process is the one to write what is missing.

    Raises:
        DataError: if a corpus cannot be read, or tokens are damaged, or missing and not to be written.
    """
    stores = []
    for number, corpus in enumerate(config.data.train):
        store = prepared_tokens(corpus)
        if store is None or store.made_from["tokenizer"] != tokenizer.hash:
            if store is not None and write:
                say(f"{corpus.path}: was prepared with another tokenizer; tokenising it anew")
            place = folder / f"corpus{number:03}"
            store = _find_or_write(config, corpus, tokenizer, place, say) if write else TokenStore.open(place)
            if store is None:
                raise DataError(f"{place}: not there; all processes must see the same run directory")
        stores.append(store)
    return stores


def prepared_tokens(corpus: CorpusConfig) -> TokenStore | None:
    """The tokens beside a corpus that was prepared, if they are of the text that is there now, tags included."""
    if not corpus.path or corpus.tag or (corpus.source_column or "source", corpus.target_column or "target") != SIDES:
        return None
    store = TokenStore.open(Path(corpus.path) / BESIDE)
    return store if store and store.made_from["text"] == fingerprint_of(Path(corpus.path)) else None


def _find_or_write(config: Config, corpus: CorpusConfig, tokenizer: Tokenizer, folder: Path, say: Say) -> TokenStore:
    languages = config.data.languages
    with_text = config.segments_anew
    made_from = {"tokenizer": tokenizer.hash, "text": _identity(corpus, languages)}
    store = TokenStore.open(folder)
    if store and store.made_from == made_from and (store.has_text or not with_text):
        return store
    if store and store.made_from["tokenizer"] == tokenizer.hash and store.made_from["text"] != made_from["text"]:
        say(f"changed since it was tokenised: {corpus.source or corpus.path or corpus.dataset}; tokenising it anew")
    counts: Counter[str] = Counter()
    blocks = _blocks(read_corpus(corpus, languages, counts))
    text = _TEXT if with_text else ""
    progress = now_and_then(say, lambda pairs: f"tokenising: {pairs:,} pairs", _SECONDS)
    return write_tokens(folder, blocks, tokenizer, made_from, text=text, counts=counts, progress=progress)


def _identity(corpus: CorpusConfig, languages: tuple[str, str]) -> dict[str, Any]:
    """What a corpus is known by, quickly: names, sizes and times of its files."""
    named = {name: value for name, value in to_dict(corpus).items() if name != "weight" and value not in ("", None)}
    paths = [Path(value) for name in ("source", "target", "path") if (value := named.pop(name, ""))]
    files = chain.from_iterable(sorted(path.rglob("*")) if path.is_dir() else [path] for path in paths)
    stats = [(file.name, file.stat()) for file in files if file.is_file()]
    return {
        **named, "languages": list(languages), "files": [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]
    }  # fmt: skip


def _blocks(pairs: Iterator[SentencePair]) -> Iterator[Block]:
    for number in count():
        if not (block := list(islice(pairs, BLOCK))):
            return
        yield f"data-{number:06}.arrow", partial(list, block)


def write_tokens(
    folder: Path,
    blocks: Iterable[Block],
    tokenizer: Tokenizer,
    made_from: dict[str, Any],
    *,
    text: str = "",
    counts: Counter[str] | None = None,
    progress: Callable[[int], object] = lambda pairs: None,
) -> TokenStore:
    """Tokenise a corpus into a folder; a store that stands there is replaced when the new one is complete.

    Args:
        folder: of the store.
        blocks: for each shard, its name and what gives its pairs.
        tokenizer: the tokenizer.
        made_from: the hash of the tokenizer as `tokenizer`, and what the text is known by as `text`.
        text: the folder, from that of the store, whose shards of the same names hold the text; empty for nowhere. A
            folder in that of the store is written.
        counts: what happened in reading; looked at when all blocks are read.
        progress: is called with the number of pairs done since the last call.
    """
    work = folder.with_name(f".{folder.name}.parts")
    told = {"made_from": made_from, "text": text}
    if work.exists() and read_json(work / _BEGUN) != told:
        shutil.rmtree(work)
    work.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder.parent)
    write_json(work / _BEGUN, told)
    copy = work / text if text == _TEXT else None
    if copy:
        copy.mkdir(exist_ok=True)
    for place in (work, *([copy] if copy else [])):
        remove_leftovers(place)
    names: list[str] = []

    def jobs() -> Iterator[tuple[Any, ...]]:
        for name, block in blocks:
            names.append(name)
            yield block, work / name, copy / name if copy else None

    workers = cores() if sys.platform == "linux" else 1  # elsewhere a script that trains would begin anew in each
    for pairs in in_processes(_write_shard, jobs(), partial(_begin, tokenizer), workers):
        progress(pairs)
    sizes = [tokenizer.source_vocab_size, tokenizer.target_vocab_size]
    _finish(work, names, {**told, "vocab_sizes": sizes, "counts": dict(counts or {})}, _dtype(tokenizer))
    if folder.exists():
        remove_directory(folder)
    work.replace(folder)
    return TokenStore(folder, read_json(folder / FILE))


_tokenizer: Tokenizer | None = None  # of a worker process


def _begin(tokenizer: Tokenizer) -> None:
    """Make a process ready."""
    global _tokenizer  # noqa: PLW0603
    _tokenizer = tokenizer


def _write_shard(read: Callable[[], Sequence[SentencePair]], path: Path, text: Path | None) -> int:
    """Write a shard, maybe its text, and last what there is to say of it; return the number of its pairs."""
    import pyarrow as pa

    assert _tokenizer is not None
    about = path.with_suffix(".json")
    if about.exists():
        return int(read_json(about)["rows"])
    pairs = read()
    sides = [[pair[side] for pair in pairs] for side in (0, 1)]
    encoded = _tokenizer.encode_source(sides[0]), _tokenizer.encode_target(sides[1])
    dtype = _dtype(_tokenizer)
    columns = [pa.array(ids, pa.list_(getattr(pa, dtype)())) for ids in encoded]
    atomic_write_bytes(path, stream_of(columns, tokens_of(dtype)))
    if text:
        atomic_write_bytes(text, arrow_of(pairs))
    vocabularies = (_tokenizer.source, _tokenizer.target)
    coverage = {
        side: _coverage(column, lines, vocabulary)
        for side, column, lines, vocabulary in zip(SIDES, columns, sides, vocabularies, strict=True)
    }
    lengths = Counter(map(max, *(map(len, ids) for ids in encoded)))
    told = {"rows": len(pairs), "bytes": path.stat().st_size, "coverage": coverage, "lengths": dict(lengths)}
    write_json(about, told)
    return len(pairs)


def _dtype(tokenizer: Tokenizer) -> str:
    return "uint16" if max(tokenizer.source_vocab_size, tokenizer.target_vocab_size) <= 2**16 else "int32"


def _coverage(column: Any, lines: Sequence[str], vocabulary: Vocabulary) -> dict[str, int]:
    """How many tokens a text became, how many of these are unknown or a byte, and how many words it has."""
    tokens = column.values.to_numpy()
    frequency = np.bincount(tokens, minlength=vocabulary.size)
    return {
        "tokens": len(tokens), "unknown": int(frequency[vocabulary.special_ids[1]]),
        "bytes": int(frequency[vocabulary.byte_ids].sum()), "words": sum(len(line.split()) for line in lines),
    }  # fmt: skip


def _finish(work: Path, names: Sequence[str], told: dict[str, Any], dtype: str) -> None:
    """Add up what is said of the shards."""
    papers = [(work / name).with_suffix(".json") for name in names]
    abouts = [read_json(path) for path in papers]
    coverage: dict[str, Counter[str]] = {side: Counter(tokens=0, unknown=0, bytes=0, words=0) for side in SIDES}
    lengths: Counter[int] = Counter()
    for about in abouts:
        for side in SIDES:
            coverage[side].update(about["coverage"][side])
        lengths.update({int(length): pairs for length, pairs in about["lengths"].items()})
    shards = [
        {"name": name, "rows": about["rows"], "bytes": about["bytes"]}
        for name, about in zip(names, abouts, strict=True)
    ]
    by_length = {str(length): lengths[length] for length in sorted(lengths)}
    describe(work, names, tokens_of(dtype))
    write_json(work / FILE, {**told, "shards": shards, "coverage": coverage, "lengths": by_length})
    for path in (*papers, work / _BEGUN):
        path.unlink()
