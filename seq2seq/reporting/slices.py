"""Parts of a test set that are alike in something, such as their length, and how well each is translated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import NamedTuple

from seq2seq.evaluation import validation_score
from seq2seq.reporting.differences import words
from seq2seq.reporting.page import table, who
from seq2seq.reporting.systems import System

_FEW = 100  # sentences, of which BLEU says little
_RARE_IN_TRAINING = (0, 1, 10, 100)  # where the parts begin, by the frequency of a sentence's rarest word
_RARE_IN_TEST = (1, 2, 5, 20)


class Frequencies(NamedTuple):
    """How often each word, in lower case, is in some text."""

    counts: Mapping[str, int]
    where: str  # the text, for people
    is_training: bool


class Slice(NamedTuple):
    """Some sentences of a test set, by their places."""

    kind: str
    label: str
    places: Sequence[int]


def slices(texts: Sequence[str], frequencies: Frequencies) -> list[Slice]:
    """The parts of a test set by length, rarest word, numbers and capitals; each kind takes in every sentence once."""
    unit, lengths = _lengths(texts)
    rarest = [
        min((frequencies.counts.get(word, 0) for word in words_in(text)), default=None)  # of a text without words
        for text in texts
    ]
    bounds = _RARE_IN_TRAINING if frequencies.is_training else _RARE_IN_TEST
    return [
        *_by_number(f"Length in {unit}", lengths, _quarters(lengths), unit),
        *_by_number(f"Rarest word: how often it is in {frequencies.where}", rarest, bounds, "times"),
        *_by_question("Numbers", texts, lambda text: any(map(str.isdecimal, text)), ("with a digit", "without digits")),
        *_by_question("Capitals", texts, _has_capital, ("after the first letter", "none but the first letter")),
    ]


def words_in(text: str) -> set[str]:
    """The words of a text in lower case, without punctuation and numbers."""
    return {word.casefold() for word in words(text) if any(map(str.isalpha, word))}


def count_words(wanted: Iterable[str], lines: Iterable[str]) -> Counter[str]:
    """How often each wanted word is in the lines; memory for the wanted ones only."""
    counts = Counter(dict.fromkeys(wanted, 0))
    for line in lines:
        counts.update(word for word in map(str.casefold, words(line)) if word in counts)
    return counts


def slices_table(found: Sequence[Slice], systems: Sequence[System], reference: Sequence[str], language: str) -> str:
    """A row for each part, with the number of its sentences, and BLEU and chrF of each system."""
    rows: list[list[str]] = []
    few: list[bool] = []
    for i, part in enumerate(found):
        if i == 0 or part.kind != found[i - 1].kind:
            rows.append([escape(part.kind)])
            few.append(False)
        cells = [escape(part.label), f"{len(part.places):,}"]
        for system in systems:
            lines, expected = ([text[i] for i in part.places] for text in (system.lines, reference))
            for metric in ("bleu", "chrf"):
                cells.append(_bar(validation_score(lines, expected, metric, language), system.slot))
        rows.append(cells)
        few.append(len(part.places) < _FEW)
    names = [f"{who(system.name, system.slot)}<br>{measure}" for system in systems for measure in ("BLEU", "chrF")]
    return table(["", "sentences", *names], rows, faint=few)


def _bar(score: float, slot: int) -> str:
    return f'{score:.1f}<div class="bar s{slot % 6 + 1}"><i style="width:{min(max(score, 0), 100):.1f}%"></i></div>'


def _lengths(texts: Sequence[str]) -> tuple[str, list[int]]:
    """Lengths in words; in characters where hardly any text has spaces."""
    if sum(" " in text.strip() for text in texts) * 10 < len(texts):
        return "characters", [len(text.strip()) for text in texts]
    return "words", [len(text.split()) for text in texts]


def _quarters(values: Sequence[int]) -> list[int]:
    """Where four parts of about equal size begin; fewer where many values are equal."""
    ordered = sorted(values)
    return sorted({ordered[0], *(ordered[len(ordered) * i // 4] for i in (1, 2, 3))})


def _by_number(kind: str, values: Sequence[int | None], starts: Sequence[int], unit: str) -> list[Slice]:
    """A part from each start to below the next; what has no value is a part of its own."""
    found = []
    for start, end in zip(starts, [*starts[1:], None], strict=True):
        places = [i for i, v in enumerate(values) if v is not None and v >= start and (end is None or v < end)]
        found.append(Slice(kind, _range(start, end, unit), places))
    found.append(Slice(kind, "no words", [i for i, value in enumerate(values) if value is None]))
    return [part for part in found if part.places]


def _range(start: int, end: int | None, unit: str) -> str:
    if end is None:
        return f"{start} {unit} and more"
    if end - start > 1:
        return f"{start} to {end - 1} {unit}"
    return {(0, "times"): "never", (1, "times"): "once"}.get((start, unit), f"{start} {unit}")


def _by_question(kind: str, texts: Sequence[str], is_so: Callable[[str], bool], labels: tuple[str, str]) -> list[Slice]:
    answers = [is_so(text) for text in texts]
    sides = [[i for i, answer in enumerate(answers) if answer is wanted] for wanted in (True, False)]
    return [Slice(kind, label, places) for label, places in zip(labels, sides, strict=True) if places]


def _has_capital(text: str) -> bool:
    letters = [character for character in text if character.isalpha()]
    return any(map(str.isupper, letters[1:]))
