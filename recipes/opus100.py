"""OPUS-100 (Zhang et al. 2020), English and one of 99 other languages: `python recipes/opus100.py`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from seq2seq.config import Config
from seq2seq.errors import RecipeError
from seq2seq.fetch import fetch_hub, with_hub
from seq2seq.recipe import main_for

WITHOUT_TEST = {"an", "dz", "hy", "mn", "yo"}  # so small that the corpus has only training text of them


def fetch(config: Config, output: Path) -> None:
    """Write the three splits of a pair, which the Hub's data set has under the sorted codes, such as `de-en`."""
    languages = sorted(config.data.languages)
    if "en" not in languages:
        raise RecipeError(f"{'-'.join(languages)}: one of OPUS-100's two languages is always en; set one to it")
    data = with_hub(config.data, subset="-".join(languages))
    if WITHOUT_TEST.intersection(languages):
        data = replace(data, validation=None, test=None)  # some training text is held out then
    fetch_hub(data, output)


if __name__ == "__main__":
    main_for(__file__)
