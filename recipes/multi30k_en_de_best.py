"""Multi30k task 1 (Elliott et al. 2016), image descriptions: `python recipes/multi30k_en_de_best.py`."""

from __future__ import annotations

from pathlib import Path

from seq2seq.config import Config
from seq2seq.fetch import fetch_hub
from seq2seq.recipe import main_for


def fetch(config: Config, output: Path) -> None:
    """Write the three splits of the Hub's data set."""
    fetch_hub(config.data, output)


if __name__ == "__main__":
    main_for(__file__)
