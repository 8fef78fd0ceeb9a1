"""Words of a language, as they stand between spaces, and those of none: names of files, functions and the like."""

from __future__ import annotations

import re

# What may stand around a word.
PUNCTUATION = ".,;:!?\"'()[]«»„“”‚‘’…–—-"
# `/etc/fstab`, `sd_bus_new`, `After=`, `NoPage`, `{name}`, `2nd`
_CODE = re.compile(r"[!-&(-,./-@\[-`{-~]|[a-z][A-Z]")


def is_code(word: str) -> bool:
    """A word, without what stands around it, is of no language."""
    return bool(_CODE.search(word))


def words_of_language(text: str) -> list[str]:
    """The words between spaces, without punctuation around them, that are of a language."""
    stripped = (word.strip(PUNCTUATION) for word in text.split())
    return [word for word in stripped if word and not is_code(word)]
