"""What the filters of `[prepare]` catch of noise that was planted, and what they cost of clean text.

    python -m tests.benchmarks.planted_noise FOLDER SOURCE TARGET [--planted 500] [--seed 1]

FOLDER holds `train.SOURCE`, `train.TARGET`, and the same of `validation` (or `valid`) and `test`; `.gz` works too.
Noise of each kind is made from training pairs, which it takes the place of, and put among the training text; so are the
validation pairs that are not near test text, as the clean ones to look for afterwards. All filters are on. Prints a
table.

Sides of which neither has a word of its language, as in a list of options or constants, are in no order that could be
told: what finds them swapped drops as many of them that are not. Swapped pairs of all kinds have a row, and those with
words of a language one of their own: they are what the filter exists for.
"""

from __future__ import annotations

import argparse
import random
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from seq2seq.config import Config, CorpusConfig, DataConfig, PrepareConfig
from seq2seq.data.cleaning import Judge, near_duplicate_key
from seq2seq.data.corpus import SentencePair, read_corpus, write_lines
from seq2seq.data.preparation import prepare
from seq2seq.data.sides import Sides
from seq2seq.fetch import find_local
from tests.benchmarks.contestants import table

_NUMBER = re.compile(r"(?<![\d.,:/-])[1-9]\d+(?![\d.,:/-])")
_SENTENCE = 3  # words on both sides; of fewer, names for the most part, nobody can tell whether they are swapped

Spoil = Callable[[SentencePair], SentencePair | None]  # None: the pair does not lend itself to it


@dataclass
class Planted:
    """Noise of one kind, and what became of it."""

    kind: str
    filter: str  # that is there for it
    pairs: list[SentencePair] = field(default_factory=list)
    caught: int = 0
    caught_by_own: int = 0


class Found(NamedTuple):
    """What was caught, and what it cost."""

    kinds: list[Planted]
    clean: int  # pairs
    lost: Counter[str]  # of these, by the filter
    told: dict[str, Any]  # the report of `prepare`


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("--planted", type=int, default=500, help="pairs of each kind")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    languages = (arguments.source, arguments.target)
    files = find_local(arguments.folder, languages)
    corpora = [_read(files[name]) for name in ("train", "validation", "test")]
    settings = all_filters(source_scripts=("LATIN",), target_scripts=("LATIN",), identify_language=True)
    print("\n".join(page(measure(*corpora, languages, settings, arguments.planted, arguments.seed))))


def all_filters(**others: Any) -> PrepareConfig:
    """Every filter that depends on no language, and some others."""
    return PrepareConfig(
        max_words=200, max_repetition=5, drop_copies=True, min_letters=0.3, match_numbers=True, drop_swapped=True,
        **others,
    )  # fmt: skip


def measure(
    train: Sequence[SentencePair],
    clean: Sequence[SentencePair],
    test: Sequence[SentencePair],
    languages: tuple[str, str],
    settings: PrepareConfig,
    number: int,
    seed: int,
) -> Found:
    """Plant noise and clean pairs, prepare, and look what is left of them."""
    kinds, rest = plant(train, test, number, seed)
    keys = [{near_duplicate_key(pair[side]) for pair in test} for side in (0, 1)]
    clean = [pair for pair in clean if not any(near_duplicate_key(pair[side]) in keys[side] for side in (0, 1))]
    text = [*rest, *clean, *(pair for kind in kinds for pair in kind.pairs)]
    random.Random(seed).shuffle(text)
    with tempfile.TemporaryDirectory() as folder:
        corpora = {name: _write(Path(folder) / name, pairs) for name, pairs in (("train", text), ("test", test))}
        data = DataConfig(
            source_language=languages[0], target_language=languages[1], train=(corpora["train"],), test=corpora["test"]
        )
        told = prepare(Config(data=data, prepare=settings), Path(folder) / "out").report
        kept = Counter(read_corpus(CorpusConfig(path=str(Path(folder) / "out/train"))))
        judge = Judge(settings, languages, test, Sides.learn(read_corpus(data.train[0])))
    _check(told, len(text), kept.total())
    for kind in kinds:
        pairs = [judge.tidied(pair) for pair in kind.pairs]
        lost = [pair for pair in pairs if kept[pair] < (2 if kind.filter == "duplicate" else 1)]
        kind.caught, kind.caught_by_own = len(lost), sum(_reason(judge, pair) == kind.filter for pair in lost)
    lost = [pair for pair in map(judge.tidied, clean) if pair not in kept]
    return Found(kinds, len(clean), Counter(_reason(judge, pair) for pair in lost), told)


def _reason(judge: Judge, pair: SentencePair) -> str:
    return judge.reason(pair) or "duplicate"


def plant(
    train: Sequence[SentencePair], test: Sequence[SentencePair], number: int, seed: int
) -> tuple[list[Planted], list[SentencePair]]:
    """Noise of all kinds, and the training pairs that it was not made from."""
    generator = random.Random(seed)
    there = set(train)
    order = sorted(there)
    generator.shuffle(order)
    keys = [{near_duplicate_key(pair[side]) for pair in test} for side in (0, 1)]
    left = [p for p in order if not any(near_duplicate_key(p[side]) in keys[side] for side in (0, 1))]

    def made(kind: str, filter_name: str, spoil: Spoil) -> Planted:
        found = Planted(kind, filter_name)
        unused: list[SentencePair] = []
        while left and len(found.pairs) < number:
            pair = left.pop()
            spoilt = spoil(pair)
            if spoilt is None or spoilt in there:
                unused.append(pair)
            else:
                found.pairs.append(spoilt)
        left[:0] = unused
        return found

    kinds = [
        made("swapped pairs", "swapped", _swapped),
        made("swapped pairs with words of a language", "swapped", lambda p: _swapped(p) if _speaks(p) else None),
        made("swapped pairs of three words or more", "swapped", lambda pair: _swapped(pair, _SENTENCE)),
        made("copied sources", "copy", _copied),
        made("mojibake, of Windows-1252", "mojibake", lambda pair: _misread(pair, "cp1252")),
        made("mojibake, of Latin-1", "mojibake", lambda pair: _misread(pair, "latin-1")),
        made("ratio outliers", "ratio", lambda pair: _stretched(pair, order, generator)),
        made("other numbers", "numbers", _renumbered),
    ]
    # Test pairs as they are, in other dress, and one side with another translation.
    parts = [test[i % len(test)] for i in generator.sample(range(max(len(test), number)), number)]
    dressed = [_dressed(pair, i, left) for i, pair in enumerate(parts)]
    kinds.append(Planted("test overlaps", "overlap", dressed))
    kinds.append(Planted("duplicates", "duplicate", generator.sample(left, min(number, len(left)))))
    return kinds, left


def _swapped(pair: SentencePair, least: int = 1) -> SentencePair | None:
    """The sides in the other order, where they differ in more than case."""
    same = pair.source.casefold() == pair.target.casefold()
    return None if same or min(len(side.split()) for side in pair) < least else SentencePair(pair.target, pair.source)


def _speaks(pair: SentencePair) -> bool:
    """Whether the sides differ in words between spaces: `SD_BUS_CREDS_UNIT` has no language, and so no right side."""
    stripped = [[word.strip(".,:;!?…()\"'") for word in side.casefold().split()] for side in pair]
    source, target = ({word for word in words if word.isalpha() and len(word) > 1} for words in stripped)
    return source != target


def _copied(pair: SentencePair) -> SentencePair | None:
    """The source on both sides; names, of less than four words, are often the same in both languages."""
    return SentencePair(pair.source, pair.source) if len(pair.source.split()) >= 4 else None


def _misread(pair: SentencePair, encoding: str) -> SentencePair | None:
    """The target's bytes read in another encoding, which has no character for some bytes."""
    read = pair.target.encode().decode(encoding, "replace")
    return SentencePair(pair.source, read) if read != pair.target else None


def _stretched(
    pair: SentencePair, others: Sequence[SentencePair], generator: random.Random
) -> SentencePair | None:
    """Lines of other pairs on one side, as where an alignment slipped, until it is over four times as long."""
    side = generator.randrange(2)
    texts = [pair[side]]
    while len(" ".join(texts)) <= max(20, 4 * len(pair[1 - side])):
        texts.append(generator.choice(others)[side])
    stretched = " ".join(texts)
    return SentencePair(pair.source, stretched) if side else SentencePair(stretched, pair.target)


def _renumbered(pair: SentencePair) -> SentencePair | None:
    """Another number in the target."""
    if not (found := _NUMBER.search(pair.target)):
        return None
    other = str(int(found[0]) + 7)
    changed = pair.target[: found.start()] + other + pair.target[found.end() :]
    return None if other in pair.source or other in pair.target else SentencePair(pair.source, changed)


def _dressed(pair: SentencePair, number: int, others: Sequence[SentencePair]) -> SentencePair:
    """A test pair, as it is or hidden a little."""
    match number % 4:
        case 0:
            return pair
        case 1:
            return SentencePair(pair.source.upper(), f"„{pair.target}“!")
        case 2:
            return SentencePair(pair.source, others[number % len(others)].target)
        case _:
            return SentencePair(others[number % len(others)].source, pair.target.replace(" ", "  ") + " ...")


def _check(told: dict[str, Any], read: int, kept: int) -> None:
    """The report's counts must add up."""
    assert told["read"] == read, "not all pairs were read"
    for each in told["filters"]:
        assert each["in"] == read, f"{each['name']}: gets what the one before it did not leave"
        assert each["in"] == each["out"] + each["dropped"], f"{each['name']}: loses pairs"
        read = each["out"]
    assert read == told["kept"] == kept, "the rest is not what was kept"


def page(found: Found) -> Iterator[str]:
    """The outcome as Markdown."""
    rows = [
        [kind.kind, str(len(kind.pairs)), str(kind.caught), f"{kind.caught / max(len(kind.pairs), 1):.1%}",
         f"{kind.caught_by_own} {kind.filter}"]
        for kind in found.kinds
    ]  # fmt: skip
    yield table(["planted", "pairs", "caught", "share", "by their own filter"], rows)
    number = found.lost.total()
    listed = ", ".join(f"{pairs} {name}" for name, pairs in found.lost.most_common())
    yield f"\nClean pairs dropped: {number} of {found.clean} ({number / found.clean:.2%}): {listed or 'none'}."
    dropped = [f"{each['dropped']:,} {each['name']}" for each in found.told["filters"]]
    counts = [f"{found.told['read']:,} read", *dropped, f"{found.told['kept']:,} kept"]
    yield f"\nThe report's counts add up: {', '.join(counts)}."


def _read(files: tuple[Path, Path]) -> list[SentencePair]:
    return list(read_corpus(CorpusConfig(source=str(files[0]), target=str(files[1]))))


def _write(path: Path, pairs: Sequence[SentencePair]) -> CorpusConfig:
    sides = [str(path) + ending for ending in (".source", ".target")]
    for side, name in enumerate(sides):
        write_lines(name, (pair[side] for pair in pairs))
    return CorpusConfig(source=sides[0], target=sides[1])


if __name__ == "__main__":
    main()
