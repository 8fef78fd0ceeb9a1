"""From raw corpora to a prepared one, of any size: filtered, without duplicates, on disk as Arrow files.

The work is done block by block: worker processes judge the pairs of a block, and write those that stay, with their keys
for finding duplicates, as a *part* into a work folder. When all parts are there, duplicates are found among the keys,
and each part becomes a shard of the prepared corpus. So memory is that of a few blocks, and one byte a pair.

A part appears when it is complete, and what was killed goes on with the parts that are missing. Parts belong to the
sources and settings that they were made from; with others, they are made anew.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import re
import shutil
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from io import BytesIO
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seq2seq.config import Config, CorpusConfig, DataConfig, PrepareConfig
from seq2seq.data.arrow_files import arrow_of, describe, pairs_of, read_json
from seq2seq.data.cleaning import REASONS, Judge, digest_of, identities
from seq2seq.data.corpus import SentencePair, count_lines, read_corpus, tagged
from seq2seq.data.duplicates import Flags, first_occurrences
from seq2seq.data.processes import cores, in_processes
from seq2seq.data.report_page import page
from seq2seq.data.sides import Sides
from seq2seq.errors import DataError
from seq2seq.files import LOCK as LOCK_OF_FOLDERS
from seq2seq.files import (
    are_as_they_were,
    atomic_directory,
    atomic_write,
    atomic_write_bytes,
    hashes_of,
    remove_leftovers,
    sha256_of,
    write_json,
)
from seq2seq.settings import to_dict

LOCK, REPORT, PAGE, CORPUS = "prepare.lock.json", "report.json", "report.html", "train"
BLOCK = 50_000  # pairs
SAMPLES = 10  # of what each filter dropped
_WORK = ".parts"
_FIXED = re.compile("[0-9a-f]{40}|refs/convert/.+")  # a commit, or Parquet files that the Hub makes of a data set
_NOT_BY_LINES = (".gz", ".zst", ".zip", ".parquet", ".csv", ".tmx", ".po", ".xlf", ".xliff")  # a pair, not a line
_LENGTHS = (0, 5, 10, 20, 30, 40, 60, 80, 100, 150, 200)  # words; where the classes of the histogram begin

# Is called with a stage, how many pairs it has done since the last call, and how many it has in all; 0: unknown.
Progress = Callable[[str, int, int], object]


class Prepared(NamedTuple):
    """What `prepare` made or found."""

    folder: Path
    report: dict[str, Any]
    was_there: bool
    seconds: Mapping[str, float]  # that each stage took


def prepare(config: Config, output: Path | str, progress: Progress = lambda *done: None) -> Prepared:
    """Filter the training corpora of a config as its `[prepare]` says; `output/train` is a data set for `data.train`.

    In it, `corpus000` and so on are what is left of each corpus: data sets too, made of the same files. Beside it stand
    `prepare.lock.json`, what it was made from and how, with the hashes of what came out, and the report of what each
    filter dropped, with samples: `report.json`, and `report.html` to read.

    Raises:
        DataError: if a corpus cannot be read or would be overwritten, nothing is left, or the folder holds something
            else.
        ConfigError: if a filter is not installed, or does not know a language.
    """
    output = Path(output)
    if not config.data.train:
        raise DataError("`data.train`: no training corpus; name one under [[data.train]] in the config")
    _check_places(config.data, output)
    clock = Clock()
    origin = _origin(config)
    lock = read_json(output / LOCK)
    others = {path.name for path in output.iterdir()} - {LOCK_OF_FOLDERS} if output.exists() else set()
    if others and not lock and not (output / _WORK).exists():
        raise DataError(f"{output}: holds something else than a prepared corpus; choose another --output")
    report = read_json(output / REPORT)
    made = lock.get("files", {})
    if lock.get("made_from") == origin and are_as_they_were(output, made) and "kept" in report:
        shutil.rmtree(output / _WORK, ignore_errors=True)  # what a kill in the last moment left
        return Prepared(output, report, True, {})
    remove_leftovers(output)
    if not (output / _WORK).exists():  # which was left by a kill, after which the text may be newer than the lockfile
        _check_nothing_is_lost(output, made)
    clock.lap("hashing the sources")
    parts = _judge_all(config, output / _WORK, _fingerprint(origin), progress)
    clock.lap("filters")
    progress("duplicates", 0, 0)
    first = _first_of_all(config.prepare, parts)
    clock.lap("duplicates")
    report = _assemble(parts, first, output, origin, progress)
    clock.lap("writing")
    return Prepared(output, report, False, clock.seconds)


def _check_nothing_is_lost(output: Path, made: Mapping[str, str]) -> None:
    """Refuse to replace the text if something stands in its folder that was not made with it."""
    for path in _text_files(output):
        if path.is_file() and path.relative_to(output).as_posix() not in made:
            raise DataError(f"{path}: `prepare` did not make it, and is to replace its folder; move it elsewhere")


def _check_places(data: DataConfig, output: Path) -> None:
    """Refuse an output folder in which a corpus lies, or which lies in one: it would change what it is made from."""
    output = output.resolve()
    for corpus in (*data.train, data.validation, data.test):
        for name in (corpus.source, corpus.target, corpus.path) if corpus else ():
            path = Path(name).resolve()
            if name and (path.is_relative_to(output) or output.is_relative_to(path)):
                raise DataError(f"{name}: is a corpus to prepare, and {output} is where to; choose another --output")


class Clock:
    """Seconds that stages take."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        """Note how long it was since the last lap."""
        now = time.perf_counter()
        self.seconds[stage], self._last = now - self._last, now


def _origin(config: Config) -> dict[str, Any]:
    """All that a prepared corpus depends on, as plain values."""
    corpora = [*config.data.train, *(each for each in (config.data.validation, config.data.test) if each)]
    return {
        "seq2seq": version("seq2seq"),
        "languages": list(config.data.languages),
        "sources": [_source(corpus) for corpus in corpora],
        "training_corpora": len(config.data.train),
        "settings": to_dict(config.prepare),
        # What filters see of characters and languages depends on them.
        "unicode": unicodedata.unidata_version,
        "lingua": version("lingua-language-detector") if _identifies_language(config) else "",
    }


def _identifies_language(config: Config) -> bool:
    return any(each.identify_language for each in config.prepare_each) and find_spec("lingua") is not None


def _source(corpus: CorpusConfig) -> dict[str, Any]:
    """What a corpus is, whatever folder it lies in: hashes of its files, or a revision on the Hub; and its columns."""
    if corpus.dataset and not _FIXED.fullmatch(corpus.revision):
        raise DataError(
            f"{corpus.dataset}: `revision` = {corpus.revision!r}: name a commit of it, of 40 hexadecimal digits; what "
            "others mean may change, and could not be prepared again"
        )
    named = {name: value for name, value in to_dict(replace(corpus, weight=1.0)).items() if value not in ("", None)}
    paths = [Path(value) for name in ("source", "target", "path") if (value := named.pop(name, ""))]
    for path in paths:
        if not path.exists():
            raise DataError(f"{path}: no such file or folder; check the path")
    files = chain.from_iterable(sorted(path.rglob("*")) if path.is_dir() else [path] for path in paths)
    return named | {"files": [{"name": file.name, "sha256": sha256_of(file)} for file in files if file.is_file()]}


def _fingerprint(origin: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(origin, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _judge_all(config: Config, work: Path, fingerprint: str, progress: Progress) -> list[Path]:
    """Make all parts that are not there yet; the paths of all, without their endings, in the order of the corpora."""
    if work.exists() and read_json(work / "fingerprint.json") != {"fingerprint": fingerprint}:
        shutil.rmtree(work)
    work.mkdir(parents=True, exist_ok=True)
    write_json(work / "fingerprint.json", {"fingerprint": fingerprint})
    remove_leftovers(work)
    languages = config.data.languages
    corpora = [each for each in (config.data.validation, config.data.test) if each]
    held_out = [pair for corpus in corpora for pair in read_corpus(replace(corpus, tag=""), languages)]
    kinds = list(dict.fromkeys(_kinds_of(config)))
    sides = {tag: _sides(config, tag) for tag in {kind.tag for kind in kinds if kind.settings.drop_swapped}}
    for kind in kinds:  # refuses here what it would refuse in the workers
        Judge(kind.settings, languages, held_out, sides.get(kind.tag))
    parts: list[Path] = []
    total = _num_pairs(config.data.train)

    def jobs() -> Iterator[tuple[list[SentencePair], _Kind, Path]]:
        for part, kind, block in _blocks(config, work):
            parts.append(part)
            if part.with_suffix(".json").exists():
                progress("filters", len(block), total)
            else:
                yield block, kind, part

    begin = partial(_begin, kinds, languages, held_out, sides)
    for pairs in in_processes(_judge_block, jobs(), begin, cores()):
        progress("filters", pairs, total)
    return parts


class _Kind(NamedTuple):
    """What corpora have in common that are judged alike."""

    settings: PrepareConfig
    tag: str  # of one direction, where they are of several


def _kinds_of(config: Config) -> list[_Kind]:
    """The kind of each training corpus."""
    return [_Kind(own, corpus.tag) for corpus, own in zip(config.data.train, config.prepare_each, strict=True)]


def _sides(config: Config, tag: str) -> Sides:
    """What the corpora with a tag have on their sides; with another one, they may be of the other direction."""
    corpora = (replace(corpus, tag="") for corpus in config.data.train if corpus.tag == tag)
    return Sides.learn(chain.from_iterable(read_corpus(corpus, config.data.languages) for corpus in corpora))


def _num_pairs(corpora: Iterable[CorpusConfig]) -> int:
    """How many pairs there are to read, by the lines of plain text files; 0 if there are files of other kinds."""
    files = [Path(corpus.source or corpus.path) for corpus in corpora]
    plain = (file.is_file() and file.suffix.lower() not in _NOT_BY_LINES for file in files)
    return sum(map(count_lines, files)) if all(plain) else 0


def _blocks(config: Config, work: Path) -> Iterator[tuple[Path, _Kind, list[SentencePair]]]:
    """Blocks of pairs as they are read, where their parts go, and their kind."""
    for number, (corpus, kind) in enumerate(zip(config.data.train, _kinds_of(config), strict=True)):
        # Pairs with an empty side are for the first filter to drop, and count.
        pairs = read_corpus(replace(corpus, tag=""), config.data.languages, keep_empty=corpus.drop_empty)
        for block_number in count():
            if not (block := list(islice(pairs, BLOCK))):
                break
            yield work / f"corpus{number:03}-{block_number:06}", kind, block


_judges: dict[_Kind, Judge] = {}  # of a worker process


def _begin(
    kinds: Sequence[_Kind],
    languages: tuple[str, str],
    held_out: Sequence[SentencePair],
    sides: Mapping[str, Sides],
) -> None:
    """Make a worker process ready."""
    _judges.clear()
    _judges.update({kind: Judge(kind.settings, languages, held_out, sides.get(kind.tag)) for kind in kinds})


def _judge_block(block: Sequence[SentencePair], kind: _Kind, part: Path) -> int:
    """Write a part: the pairs that stay, with their tag, their keys, and last what was dropped; how many were read."""
    judge = _judges[kind]
    kept: list[SentencePair] = []
    dropped: dict[str, list[SentencePair]] = {name: [] for name in judge.reasons}
    for raw in block:
        pair = judge.tidied(raw)
        if reason := judge.reason(pair):
            dropped[reason].append(pair)
        else:
            kept.append(pair)
    identities_of = [identities(pair, kind.settings, kind.tag) for pair in kept]
    keys = np.array(identities_of, dtype=np.uint64).reshape(len(kept), _num_keys(kind.settings))
    for number, column in enumerate(keys.T):
        _save_keys(part.with_suffix(f".{number}.npy"), column)
    atomic_write_bytes(part.with_suffix(".arrow"), arrow_of([tagged(pair, kind.tag) for pair in kept]))
    told = {
        "read": len(block),
        "dropped": {name: len(pairs) for name, pairs in dropped.items()},
        "samples": {name: _samples(pairs) for name, pairs in dropped.items()},
    }
    write_json(part.with_suffix(".json"), told)
    return len(block)


def _num_keys(config: PrepareConfig) -> int:
    """How many keys a pair has."""
    return len(identities(SentencePair("", ""), config))


def _save_keys(path: Path, keys: Any) -> None:
    file = BytesIO()
    np.save(file, np.ascontiguousarray(keys))
    atomic_write_bytes(path, file.getvalue())


def _samples(pairs: Iterable[SentencePair]) -> list[list[str]]:
    """A few of the pairs, chosen by what they are and not by where they stand; texts are cut."""
    chosen = heapq.nsmallest(SAMPLES, {(digest_of("\n".join(pair)), pair) for pair in pairs})
    return [[side[:300] for side in pair] for _, pair in chosen]


def _first_of_all(config: PrepareConfig, parts: Sequence[Path]) -> Flags | None:
    """Whether each pair of the parts is no duplicate; None if duplicates may stay."""
    files = [[part.with_suffix(f".{key}.npy") for part in parts] for key in range(_num_keys(config))]
    return np.logical_and.reduce([first_occurrences(each) for each in files]) if files else None


def _assemble(
    parts: Sequence[Path], first: Flags | None, output: Path, origin: Mapping[str, Any], progress: Progress
) -> dict[str, Any]:
    """Drop the duplicates among the parts, and put the prepared corpus and its papers into their places."""
    funnel, place = _Funnel(), 0
    shards: dict[str, list[str]] = {}  # of each corpus that has some
    with atomic_directory(output / CORPUS) as folder:
        for part in parts:
            pairs = pairs_of(part.with_suffix(".arrow"))
            flags = [True] * len(pairs) if first is None else first[place : place + len(pairs)].tolist()
            place += len(pairs)
            progress("writing", len(pairs), 0 if first is None else len(first))
            kept = [pair for pair, stays in zip(pairs, flags, strict=True) if stays]
            duplicates = [pair for pair, stays in zip(pairs, flags, strict=True) if not stays]
            corpus, _, number = part.name.partition("-")
            tag = origin["sources"][int(corpus.removeprefix("corpus"))].get("tag", "")
            funnel.add(read_json(part.with_suffix(".json")), duplicates, kept, tag)
            if kept:
                (folder / corpus).mkdir(exist_ok=True)
                shards.setdefault(corpus, []).append(f"data-{number}.arrow")
                (folder / corpus / shards[corpus][-1]).write_bytes(arrow_of(kept))
        if not shards:
            raise DataError(f"`data.train`: no pair is left ({funnel.told()}); see `[prepare]`")
        for corpus, names in shards.items():
            describe(folder / corpus, names)
        describe(folder, [f"{corpus}/{name}" for corpus, names in shards.items() for name in names])
    report = funnel.report()
    write_report(output, report, origin["languages"])
    counts = {name: report[name] for name in ("read", "dropped", "kept")}
    write_json(output / LOCK, {"made_from": origin, "counts": counts, "files": hashes_of(output, _text_files(output))})
    shutil.rmtree(output / _WORK)
    return report


def write_report(output: Path, report: Mapping[str, Any], languages: Sequence[str]) -> None:
    """Write a report, to be read by programs and by people."""
    write_json(output / REPORT, report)
    with atomic_write(output / PAGE) as file:
        file.write(page(report, languages))


class _Funnel:
    """Adds up what was read, what each filter dropped, with samples, and how long what was kept is."""

    def __init__(self) -> None:
        self._read = 0
        self._dropped: dict[str, int] = {}
        self._samples: dict[str, list[list[str]]] = {}
        self._lengths = [Counter[int](), Counter[int]()]
        self._kept = 0

    def add(
        self, told: Mapping[str, Any], duplicates: Sequence[SentencePair], kept: Sequence[SentencePair], tag: str
    ) -> None:
        """Add a part; the tag before its source texts is no word of theirs."""
        self._read += told["read"]
        samples = told["samples"] | {"duplicate": _samples(duplicates)}
        for name, number in (told["dropped"] | {"duplicate": len(duplicates)}).items():
            self._dropped[name] = self._dropped.get(name, 0) + number
            both = [*self._samples.get(name, []), *samples[name]]
            self._samples[name] = sorted(both, key=lambda pair: digest_of("\n".join(pair)))[:SAMPLES]
        self._kept += len(kept)
        for side, counts in enumerate(self._lengths):
            words = [len(pair[side].split()) - (side == 0 and tag != "") for pair in kept]
            counts.update((np.searchsorted(_LENGTHS, words, side="right") - 1).tolist())

    def told(self) -> str:
        """All counts in a line."""
        return ", ".join([f"{self._read:,} read", *(f"{n:,} {name}" for name, n in self._dropped.items() if n)])

    def report(self) -> dict[str, Any]:
        """Everything, as plain values."""
        filters, rest = [], self._read
        dropped = {name: self._dropped[name] for name in REASONS if name in self._dropped}
        for name, number in dropped.items():
            samples = self._samples[name]
            filters.append({"name": name, "in": rest, "dropped": number, "out": rest - number, "samples": samples})
            rest -= number
        return {
            "read": self._read,
            "dropped": dropped,
            "kept": self._kept,
            "filters": filters,
            "words": [
                {"from": least, "source": self._lengths[0][i], "target": self._lengths[1][i]}
                for i, least in enumerate(_LENGTHS)
            ],
        }


def _text_files(output: Path) -> list[Path]:
    """All files of the text; tokens lie deeper."""
    return [*output.glob(f"{CORPUS}/*"), *output.glob(f"{CORPUS}/*/*")]
