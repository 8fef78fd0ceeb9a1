"""Which words of a text are not in another one, in their order, marked in HTML."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from html import escape
from itertools import groupby

_PUNCTUATION = re.escape("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~…„“”‚‘’«»‹›–—¿¡·।،؟、。，！？：；（）「」『』《》")
_UNSPACED = "\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff"  # kana and ideographs: a word each
_TOKEN = re.compile(rf"\s+|[{_PUNCTUATION}]|[{_UNSPACED}]|[^\s{_PUNCTUATION}{_UNSPACED}]+")
_MOST_PAIRS = 1_000_000  # of words that are compared; comparing is quadratic


def words(text: str) -> list[str]:
    """The words and punctuation marks of a text."""
    return [token for token in _tokens(text) if not token.isspace()]


def unmatched(some: Sequence[str], other: Sequence[str]) -> list[bool]:
    """For each word, whether the other text lacks it where the two are laid beside each other.

    Nothing is lacking where both are so long that comparing would take minutes.
    """
    if len(some) * len(other) > _MOST_PAIRS:
        return [False] * len(some)
    flags = [True] * len(some)
    for start, _, size in SequenceMatcher(None, some, other, autojunk=False).get_matching_blocks():
        flags[start : start + size] = [False] * size
    return flags


def marked(text: str, unlike: Sequence[bool], missing: Sequence[bool]) -> str:
    """The text as HTML, its words in `<mark>` where the first flag of a word is set and in `<u>` where the second is.

    Args:
        text: any text.
        unlike: a flag for each of its `words`.
        missing: a flag for each of its `words`.
    """
    flags = _with_spaces(_tokens(text), list(zip(unlike, missing, strict=True)))
    parts = []
    for is_unlike, group in groupby(flags, key=lambda pair: pair[1][0]):
        inner = ""
        for is_missing, same in groupby(group, key=lambda pair: pair[1][1]):
            part = escape("".join(token for token, _ in same))
            inner += f"<u>{part}</u>" if is_missing else part
        parts.append(f"<mark>{inner}</mark>" if is_unlike else inner)
    return "".join(parts)


def _tokens(text: str) -> list[str]:
    """Words, marks and the spaces between them, which joined are the text."""
    return _TOKEN.findall(text)


def _with_spaces(
    tokens: Sequence[str], flags: Sequence[tuple[bool, bool]]
) -> list[tuple[str, tuple[bool, bool]]]:
    """Each token with its flags; a space has those that both its neighbours have."""
    none = (False, False)
    left = iter(flags)
    found = [(token, none if token.isspace() else next(left)) for token in tokens]
    for i, (token, _) in enumerate(found):
        if token.isspace() and 0 < i < len(found) - 1:
            before, after = found[i - 1][1], found[i + 1][1]
            found[i] = (token, (before[0] and after[0], before[1] and after[1]))
    return found
