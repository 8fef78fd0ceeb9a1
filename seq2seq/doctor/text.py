"""The text of a training: what is wrong with it, by itself, beside held-out text, and for its languages."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from seq2seq.config import CorpusConfig, DataConfig, TrainingConfig
from seq2seq.data.cleaning import digest_of, near_duplicate_key
from seq2seq.data.corpus import SentencePair, count_lines, read_corpus
from seq2seq.data.filters import is_mojibake
from seq2seq.data.sides import Sides
from seq2seq.data.tags import tags_of_directions, without_tag
from seq2seq.doctor.findings import Finding, error, share, warning
from seq2seq.errors import Seq2SeqError

PAIRS = 1_000_000  # of each corpus that are read
SAMPLE = 20_000  # of these that are looked at closely, and that a tokenizer and some steps are trained on
# Near-duplicates of held-out text are looked for among so many pairs and every tenth of the rest; the same text in all.
_NEAR = 500_000


class Text(NamedTuple):
    """What was read of a corpus, or of those of one purpose."""

    read: int
    kept: tuple[int, ...]  # of each corpus, without pairs with an empty side
    is_whole: bool  # otherwise there is more than was read
    sample: list[SentencePair]
    empty: int
    carriage_returns: int
    duplicates: int
    keys: dict[int, int]  # of each different pair a hash, and what its near-duplicates have in common, or 0


def read(data: DataConfig) -> dict[str, Text]:
    """The corpora of a config by `train`, `validation` and `test`, as far as there are any.

    Raises:
        DataError: if one cannot be read.
        Seq2SeqError: if one holds nothing, or there is none to train on.
    """
    corpora: dict[str, Sequence[CorpusConfig]] = {"train": data.train}
    corpora |= {name: [each] for name, each in (("validation", data.validation), ("test", data.test)) if each}
    if not data.train:
        raise Seq2SeqError("`data.train`: no training corpus; name one under [[data.train]] in the config")
    return {name: _read_all(each, data.languages) for name, each in corpora.items()}


def _read_all(corpora: Sequence[CorpusConfig], languages: tuple[str, str]) -> Text:
    generator = random.Random(1)
    sample: list[SentencePair] = []
    counts: Counter[str] = Counter()
    keys: dict[int, int] = {}
    is_whole, kept = True, []
    for corpus in corpora:
        before = counts["kept"]
        for pair in islice(read_corpus(replace(corpus, tag=""), languages, counts), PAIRS):
            number = counts["kept"]
            counts["kept"] += 1
            counts["carriage_returns"] += pair.source.endswith("\r") or pair.target.endswith("\r")
            digest = digest_of("\n".join(pair))
            if digest in keys:
                counts["duplicates"] += 1
            else:
                look = number < _NEAR or number % 10 == 0
                # Of what was prepared, a tag is a part of the text; of a corpus with a `tag`, it is not.
                bare = (without_tag(pair.source), pair.target)
                keys[digest] = digest_of("\n".join(map(near_duplicate_key, bare))) if look else 0
            if number < SAMPLE:
                sample.append(pair)
            elif (place := generator.randrange(number + 1)) < SAMPLE:
                sample[place] = pair
        kept.append(counts["kept"] - before)
        if kept[-1] == PAIRS:
            is_whole = False
            _check_rest(corpus)
    if not sample:
        raise Seq2SeqError(f"{_name(corpora[0])}: holds no pair with text on both sides; give another")
    empty = counts["empty_source"] + counts["empty_target"]
    returns, duplicates = counts["carriage_returns"], counts["duplicates"]
    return Text(counts["read"], tuple(kept), is_whole, sample, empty, returns, duplicates, keys)


def _check_rest(corpus: CorpusConfig) -> None:
    """Of text files that are not read to their ends, at least count the lines."""
    files = [Path(name) for name in (corpus.source, corpus.target) if name]
    if not files or any(file.suffix.lower() in (".gz", ".zst") for file in files):
        return
    source, target = map(count_lines, files)
    if source != target:
        raise Seq2SeqError(
            f"{files[0]} has {source:,} lines and {files[1]} has {target:,}; make the files belong line by line"
        )


def _name(corpus: CorpusConfig) -> str:
    return corpus.source or corpus.path or corpus.dataset


def of_text(text: dict[str, Text]) -> Iterator[Finding]:
    """Of each corpus by itself."""
    for name, corpus in text.items():
        kept = corpus.read - corpus.empty
        if corpus.empty > 0.05 * corpus.read:
            yield warning(
                "empty sides",
                f"`data.{name}`: {corpus.empty:,} of {corpus.read:,} pairs have an empty side; check that "
                "the files belong together",
            )
        if corpus.carriage_returns > 0.01 * kept:
            yield warning(
                "line ends",
                f"`data.{name}`: {corpus.carriage_returns:,} of {kept:,} pairs end in a carriage return, which "
                + ("would be learnt" if name == "train" else "is of no use there")
                + "; remove it with sed -i 's/\\r$//'"
                + (", or `seq2seq prepare`" if name == "train" else ""),
            )
        wrong = sum(map(is_mojibake, corpus.sample))
        if wrong > 0.01 * len(corpus.sample):
            yield error(
                "encoding",
                f"`data.{name}`: {share(wrong, len(corpus.sample))} of the pairs have wrongly decoded text, "
                "such as Ã¤ for ä; convert the source anew"
                + (", or drop them by `seq2seq prepare`" if name == "train" else ""),
            )
    train = text["train"]
    if train.duplicates > 0.1 * train.read:
        yield warning(
            "duplicates",
            f"`data.train`: {train.duplicates:,} of {train.read:,} pairs came before; drop them by `seq2seq prepare`",
        )


def of_held_out(text: dict[str, Text], training: TrainingConfig) -> Iterator[Finding]:
    """Of what training text and held-out text have in common: next to nothing, if scores are to mean anything."""
    if "validation" not in text and training.patience:
        yield error(
            "validation",
            f"`data.validation`: none, and `training.patience` = {training.patience} stops by it; name one, or set it "
            "to 0",
        )
    elif "validation" not in text:
        yield warning("validation", "`data.validation`: none, so the newest checkpoint counts as the best; name one")
    for name in ("validation", "test"):
        if name not in text:
            continue
        pairs = text[name].keys
        both = overlap(text, name)
        if both > max(1, 0.01 * len(pairs)):
            yield error(
                "overlap",
                f"`data.{name}`: {share(both, len(pairs))} of its pairs are in the training text too, so scores "
                "would say too much; remove them from it by `seq2seq prepare`",
            )


def overlap(text: dict[str, Text], name: str) -> int:
    """How many pairs of a corpus are near pairs of the training text."""
    train = text["train"].keys
    near = set(train.values()) - {0}
    return sum(exact in train or key in near for exact, key in text[name].keys.items())


def of_languages(text: dict[str, Text], data: DataConfig) -> Iterator[Finding]:
    """Of sides that are swapped: validation against training text, and each against the languages' names.

    Where training text is of several directions, nothing can be told; where it is of one language, not by its words.
    """
    train = text["train"].sample
    sides = Sides.learn(train[::2])

    def swapped(pairs: Sequence[SentencePair]) -> float:
        """The share of pairs whose sides surely have the words of the other side of training text."""
        return sum(map(sides.are_swapped, pairs)) / len(pairs)

    in_text = tags_of_directions([pair.source for pair in train])  # of what was prepared, tags are a part
    if max(len({corpus.tag for corpus in data.train}), len(in_text)) > 1:
        return
    tells = swapped([SentencePair(*pair[::-1]) for pair in train[1::2][:1000] or train]) > 0.8
    for name in ("validation", "test") if tells else ():
        if name in text and swapped(text[name].sample[:1000]) > 0.6:
            yield error(
                "swapped languages",
                f"`data.{name}`: its source side is in the language of the training text's target side; swap them",
            )
    try:
        from seq2seq.data.filters import other_language

        is_other = other_language(data.languages)
    except Seq2SeqError:  # not installed, or languages that it does not know
        return
    for name, corpus in text.items():
        pairs = random.Random(1).sample(corpus.sample, min(300, len(corpus.sample)))
        others = sum(map(is_other, pairs))
        if others > 0.2 * len(pairs):  # of several corpora, one may be swapped
            languages = "-".join(data.languages)
            yield error(
                "swapped languages",
                f"`data.{name}`: {share(others, len(pairs))} of the pairs are not {languages}; swap the sides of "
                "the corpus that they are of, or mend `data.source_language` and `data.target_language`",
            )
