"""Texts that are longer than the model takes: cut where it hurts least, and joined again."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence

# Where a text may be cut, from the best places to the worst; what a match ends in is the end of the left part.
_PLACES = (
    re.compile(  # sentences; a row of marks is looked at once, however long
        r"[\n\r\x0b\x0c\x85\u2028\u2029]+|(?<![.!?…؟۔।])[.!?…؟۔।]++[\"'”’»)\]]*+\s+|[。！？｡]+[」』”’）]*"
    ),
    re.compile(r"[,;:،؛]\s+|\s[–—-]\s+|[、，；：—]"),  # clauses
    re.compile(r"\s+"),  # words
)
_ACCENTS = 32  # that a letter may have


def split_text(text: str, fits: Callable[[str], bool]) -> list[str]:
    """Cut a text into parts that fit, which joined give the text but for white space at the cuts.

    A part that does not fit is cut in two at the end of a sentence, else of a clause, else of a word, else between two
    characters; of several such places at the one nearest its middle. A single character is returned even if it does not
    fit.
    """
    waiting, parts = [text.strip()], []
    while waiting:
        part = waiting.pop()
        if len(part) <= 1 or fits(part):
            parts.append(part)
        else:
            place = _best_cut(part)
            waiting += [half for half in (part[place:].strip(), part[:place].strip()) if half]  # the left one is next
    return parts


def join_texts(parts: Sequence[str]) -> str:
    """Join translated parts with spaces, or without where both neighbours are of a script that has none."""
    joined = ""
    for part in filter(None, parts):
        spaced = joined and not (_unspaced(joined[-1]) and _unspaced(part[0]))
        joined += f" {part}" if spaced else part
    return joined


def _best_cut(text: str) -> int:
    """Where to cut a text of two or more characters: an index that leaves something on both sides."""
    middle = len(text) / 2
    for pattern in _PLACES:
        places = [match.end() for match in pattern.finditer(text) if match.end() < len(text)]
        if places:
            return min(places, key=lambda place: abs(place - middle))
    first = len(text) // 2
    for place in range(first, min(first + _ACCENTS, len(text) - 1) + 1):
        if not unicodedata.combining(text[place]):
            return place  # an accent stays with its letter
    return first  # accents of no letter, which may be cut anywhere


def _unspaced(character: str) -> bool:
    """Whether a character is Chinese or Japanese; Korean and emoji are as wide, but written with spaces."""
    wide = unicodedata.east_asian_width(character) in "WF" and unicodedata.category(character) != "So"
    return wide and not unicodedata.name(character, "").startswith("HANGUL")
