"""Translations beside each other, with source and reference, and differing words marked."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from seq2seq.evaluation import sentence_chrf
from seq2seq.reporting.differences import marked, unmatched, words
from seq2seq.reporting.page import note, who
from seq2seq.reporting.systems import System

MOST_SHOWN = 300  # in the list of all
_EXAMPLES = 8  # of the best, the worst and the most different ones


class Translated(NamedTuple):
    """What was translated, as far as it is known, and the translations of it."""

    source: Sequence[str] | None
    reference: Sequence[str] | None
    systems: Sequence[System]

    def __len__(self) -> int:
        return len(self.systems[0].lines)


def examples(test: Translated) -> str:
    """The worst and the best sentences, those on which systems differ most, and a list to look through."""
    scores = [sentence_chrf(system.lines, test.reference) for system in test.systems] if test.reference else None
    parts = [_legend(test)]
    if scores is not None:
        parts += _extremes(test, scores)
    shown = spread(len(test), MOST_SHOWN)
    heading = "All sentences" if len(shown) == len(test) else f"{len(shown)} of {len(test):,} sentences"
    parts.append(f"<h3>{heading}</h3>")
    if len(shown) < len(test):
        parts.append(note("At equal distances through the test set, whatever their scores."))
    box = '<input type="search" placeholder="Show those with ..." aria-label="Show sentences that hold this text">'
    cards = "".join(_card(test, scores, i) for i in shown)
    return "".join([*parts, f'<p>{box} <span id="found" class="faint"></span></p><div id="all">{cards}</div>'])


def spread(length: int, most: int) -> list[int]:
    """At most so many places in a list, at equal distances; all places of a short one."""
    size = min(length, most)
    return [i * length // size for i in range(size)]


def _extremes(test: Translated, scores: Sequence[Sequence[float]]) -> list[str]:
    """Headed lists of sentences, ordered by scores and then by place."""
    means = [sum(column) / len(column) for column in zip(*scores, strict=True)]
    ranges = [max(column) - min(column) for column in zip(*scores, strict=True)]
    several = len(scores) > 1
    count = min(_EXAMPLES, len(means) // 2)  # no sentence is among the best and the worst
    by_mean = sorted(range(len(means)), key=lambda i: (means[i], i))
    lists = {"Lowest": by_mean[:count], "Highest": by_mean[::-1][:count]}
    mean = "mean chrF of the systems" if several else "chrF"
    parts = []
    for name, places in lists.items():
        if places:
            cards = "".join(_card(test, scores, i) for i in places)
            parts.append(f"<details><summary>{name} {mean}: {len(places)} sentences</summary>{cards}</details>")
    different = sorted((i for i in range(len(ranges)) if ranges[i] > 0), key=lambda i: (-ranges[i], i))[:_EXAMPLES]
    if different:
        cards = "".join(_card(test, scores, i) for i in different)
        parts.insert(0, f"<h3>Largest differences between systems, by chrF</h3>{cards}")
    return parts


def _legend(test: Translated) -> str:
    several = len(test.systems) > 1
    told = []
    if test.reference is not None:
        told += ["<u>dotted</u> in a translation: not in the reference; in the reference: in no translation"]
    if several:
        told += [f"<mark>shaded</mark>: not what {escape(test.systems[0].name)} has there"]
    if test.reference is not None:
        told += ["numbers: chrF of the sentence"]
    return f'<p class="note">{"; ".join(told)}.</p>' if told else ""


def _card(test: Translated, scores: Sequence[Sequence[float]] | None, i: int) -> str:
    """One sentence: source, reference and each translation."""
    lines = [system.lines[i] for system in test.systems]
    cut = [words(line) for line in lines]
    rows = []
    if test.source is not None:
        rows.append(_row("source", escape(test.source[i])))
    expected = words(test.reference[i]) if test.reference is not None else None
    if expected is not None and test.reference is not None:
        lacking = [all(flags) for flags in zip(*(unmatched(expected, each) for each in cut), strict=True)]
        rows.append(_row("reference", marked(test.reference[i], [False] * len(expected), lacking)))
    for number, (system, line, found) in enumerate(zip(test.systems, lines, cut, strict=True)):
        unlike = unmatched(found, cut[0])
        wrong = unmatched(found, expected) if expected is not None else [False] * len(found)
        score = f"{scores[number][i]:.0f}" if scores is not None else ""
        rows.append(_row(who(system.name, system.slot), marked(line, unlike, wrong), score))
    return f'<div class="card"><span class="faint">Sentence {i + 1:,}</span><dl>{"".join(rows)}</dl></div>'


def _row(name: str, text: str, score: str = "") -> str:
    return f'<dt>{name}</dt><dd class="score">{score}</dd><dd class="text" dir="auto">{text}</dd>'
