"""The tag of a direction where it is a part of the text: the first word of a source, such as <2de>, or >>deu<<."""

from __future__ import annotations

import re
from collections.abc import Sequence

_TAG = re.compile(r"(<\S+>(?=\s)|>>\S*?<<)\s*")  # Marian's need no space after them
_LANGUAGE = re.compile(r"(?:<2|>>)([A-Za-z]{2,3}(?:[-_]\S+)?)(?:>|<<)")
_MOST = 0.8  # of the texts begin with a tag where the tags of directions are in them; else <b> is just a word


def tag_of(text: str) -> str:
    """The tag that a text begins with; empty if there is none."""
    found = _TAG.match(text) if text[:1] in ("<", ">") else None
    return found[1] if found else ""


def without_tag(text: str) -> str:
    """What follows the tag of a text, or the text if there is none."""
    return _TAG.sub("", text, count=1) if tag_of(text) else text


def tags_of_directions(sources: Sequence[str]) -> set[str]:
    """The tags that source texts begin with, if most of them do; empty if they do not."""
    found = [tag for text in sources if (tag := tag_of(text))]
    return set(found) if len(found) > _MOST * len(sources) else set()


def without_tags(sources: Sequence[str]) -> list[str]:
    """Source texts without the tags of directions, if there are such."""
    return [without_tag(text) for text in sources] if tags_of_directions(sources) else list(sources)


def tagged_language(sources: Sequence[str], tag: str = "") -> str:
    """The language that the one tag of the sources asks for, as `zh-Hans` of <2zh-Hans>; empty if there is none.

    The tag is in the sources, or one that is put before them.
    """
    tags = tags_of_directions(sources) or {tag}
    found = _LANGUAGE.fullmatch(next(iter(tags))) if len(tags) == 1 else None
    return found[1] if found else ""
