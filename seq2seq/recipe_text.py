"""A recipe's text: of what was fetched, cleaned training text, and validation and test text."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path

from seq2seq.config import Config, PrepareConfig
from seq2seq.data.cleaning import clean_each, split_held_out, without_overlap
from seq2seq.data.corpus import SentencePair, count_lines, read_corpus, write_lines
from seq2seq.data.sides import Sides
from seq2seq.errors import DataError, RecipeError
from seq2seq.evaluation import read_parallel
from seq2seq.fetch import COUNTS, write_text
from seq2seq.files import atomic_directory
from seq2seq.run_folder import RunFolder


def prepare_text(
    config: Config,
    run: RunFolder,
    cleaning: tuple[PrepareConfig, ...],
    report: Callable[[str], None],
    check: Callable[[Path], None],
) -> None:
    """Write `data/` from `raw/`: cleaned training text, and text to validate and test, held out where there is none.

    Args:
        config: of the recipe.
        run: with `raw/` in it.
        cleaning: as `ways_of_cleaning` says.
        report: takes a line of progress.
        check: looks at the folder of what was made before it takes the place of another; what it raises prevents that.

    Raises:
        RecipeError: if corpora are to be cleaned differently, and nothing says which pairs are whose.
        DataError: if no training pair is left.
    """
    languages, counts = run.languages, Counter[str]()
    held_out: dict[str, list[SentencePair]] = {}
    for name in run.held_out("raw"):
        sides = read_parallel(run.text("raw", name, 0), run.text("raw", name, 1))
        held_out[name] = [SentencePair(*pair) for pair in zip(*sides, strict=True)]
    raw = run.corpus("raw", "train")
    by_words = any(settings.drop_swapped for settings in cleaning)
    learnt = Sides.learn(read_corpus(raw, languages)) if by_words else None
    # By the lines that corpora have; the filters drop what is empty of them.
    pairs_of_all = read_corpus(raw, languages, counts, keep_empty=len(cleaning) > 1)
    corpora = _by_corpus(pairs_of_all, run, cleaning)
    if not {"validation", "test"} <= held_out.keys():
        given = list(chain(*held_out.values()))  # of which what is held out must not be a part either
        clean = list(some_of(clean_each(corpora, given, counts, languages, learnt), counts, "train"))
        pairs = _hold_out(clean, held_out, config, report)
        settings = cleaning[0] if len(cleaning) == 1 else config.prepare
        kept = without_overlap(pairs, chain(*held_out.values()), settings, counts)
    else:
        kept = clean_each(corpora, list(chain(*held_out.values())), counts, languages, learnt)
    with atomic_directory(run.path / "data") as folder:
        num_pairs = write_text(some_of(kept, counts, "train"), config.data, folder, "train")
        for name, held in held_out.items():
            for side, language in enumerate(languages):
                write_lines(folder / f"{name}.{language}", (pair[side] for pair in held))
        check(folder)
    report(f"{num_pairs:,} training pairs ({listed(counts)})")
    report(", ".join(f"{len(pairs):,} {name} pairs" for name, pairs in held_out.items()))


def ways_of_cleaning(config: Config, local: bool) -> tuple[PrepareConfig, ...]:
    """How each corpus that the fetched text is of is cleaned, or one way for all; local files are one corpus."""
    each = () if local else config.prepare_each
    return each if len(set(each)) > 1 else (each or (config.prepare,))[:1]


def some_of(pairs: Iterable[SentencePair], counts: Mapping[str, int], name: str) -> Iterator[SentencePair]:
    """Pairs that were cleaned, as they are.

    Raises:
        DataError: at their end, if there were none; it says what was dropped.
    """
    pair = None
    for pair in pairs:
        yield pair
    if pair is None:
        raise DataError(f"{name}: no pair is left ({listed(counts)}); use other text, or see `[prepare]`")


def listed(counts: Mapping[str, int]) -> str:
    """What was dropped, as words."""
    told = (f"{number:,} {what.replace('_', ' ')}" for what, number in counts.items() if number)
    return ", ".join(told) or "nothing dropped"


def _by_corpus(
    pairs: Iterator[SentencePair], run: RunFolder, cleaning: tuple[PrepareConfig, ...]
) -> Iterator[tuple[Iterable[SentencePair], PrepareConfig]]:
    """The fetched pairs of each corpus, and how it is to be cleaned."""
    told = run.path / "raw" / COUNTS
    if len(cleaning) == 1:
        yield pairs, cleaning[0]
    elif told.exists():
        for number, own in zip(_numbers(told, len(cleaning), run), cleaning, strict=True):
            yield islice(pairs, number), own
    else:
        raise RecipeError(
            f"`data.train`: its corpora have a `prepare` each, and no {told} says how many lines of raw/train are "
            "whose; write one in `fetch`, such as [1000, 200], or leave `prepare` out"
        )


def _numbers(told: Path, corpora: int, run: RunFolder) -> list[int]:
    """How many lines of the training text each corpus has, as a file says that a user may have written."""
    try:
        numbers = json.loads(told.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RecipeError(f"{told}: not JSON ({error}); write numbers such as [1000, 200]") from None
    lines = count_lines(run.text("raw", "train", 0))
    if not (
        isinstance(numbers, list) and len(numbers) == corpora and all(type(n) is int and n >= 0 for n in numbers)
        and sum(numbers) == lines
    ):  # fmt: skip
        raise RecipeError(
            f"{told}: {numbers!r}: expected {corpora} numbers of lines that add up to the {lines:,} of raw/train"
        )
    return numbers


def _hold_out(
    pairs: list[SentencePair],
    held_out: dict[str, list[SentencePair]],
    config: Config,
    report: Callable[[str], None],
) -> list[SentencePair]:
    """Hold out what the corpus has no split for; fill it into `held_out` and return what is left for training."""
    sizes = {"validation": config.recipe.validation_size, "test": config.recipe.test_size}
    wanted = {name: 0 if name in held_out else size for name, size in sizes.items()}
    left, validation, test = split_held_out(pairs, wanted["validation"], wanted["test"], seed=1)
    for name, found in (("validation", validation), ("test", test)):
        if wanted[name]:
            held_out[name] = list(found)
    num_near = len(pairs) - len(left) - len(validation) - len(test)
    report(
        f"held out {len(validation) + len(test):,} of {len(pairs):,} pairs, and dropped {num_near:,} "
        "near-duplicates of them from training"
    )
    return list(left)
