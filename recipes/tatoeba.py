"""Sentences that volunteers of Tatoeba translated, English and some 45 other languages: `python recipes/tatoeba.py`."""

from __future__ import annotations

from pathlib import Path

from seq2seq.config import Config
from seq2seq.errors import RecipeError
from seq2seq.fetch import fetch_hub, with_hub
from seq2seq.recipe import main_for


def fetch(config: Config, output: Path) -> None:
    """Write a pair's training and test text, which the Hub has under `en-de` in columns english and non_english."""
    source, target = config.data.languages
    if "en" not in (source, target):
        raise RecipeError(f"{source}-{target}: one of the two languages is always en here; set one to it")
    fetch_hub(
        with_hub(
            config.data,
            subset=f"en-{target if source == 'en' else source}",
            source_column="english" if source == "en" else "non_english",
            target_column="english" if target == "en" else "non_english",
        ),
        output,
    )


if __name__ == "__main__":
    main_for(__file__)
