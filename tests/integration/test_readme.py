"""The README's code blocks do what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from seq2seq.config import load_config
from seq2seq.config.files import config_from_dict

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files that the README speaks of."""
    for language, line in (("de", "Ein Mann mit einem Hut."), ("en", "A man with a hat.")):
        lines = "".join(f"{line} {number} {'word ' * (number % 5)}\n" for number in range(80))
        for name in ("train", "validation"):
            (tmp_path / f"{name}.{language}").write_text(lines, encoding="utf-8")
    (tmp_path / "my.toml").write_text(blocks("toml")[0], encoding="utf-8")
    return tmp_path


def test_first_screen_begins_with_the_two_commands() -> None:
    first_screen = README[: README.index("\n## ")]
    commands = re.findall(r"^```sh\n(.*?)^```", first_screen, flags=re.MULTILINE | re.DOTALL)
    assert commands[:2] == [
        "pip install -e . && seq2seq recipe run quickstart\n",
        "pip install -e '.[test]' && pytest\n",
    ]


def test_config_is_a_config(folder: Path) -> None:
    config = load_config(folder / "my.toml")
    assert config.training.steps == 6000
    assert config.model.encoder_layers == 4
    for more in blocks("toml")[1:]:
        config_from_dict(tomllib.loads(more))


def test_python_runs(folder: Path) -> None:
    small = (folder / "my.toml").read_text(encoding="utf-8").replace("vocab_size = 8000", "vocab_size = 290")
    (folder / "my.toml").write_text(small, encoding="utf-8")  # eighty lines do not hold 8,000 pieces
    (script,) = blocks("python")
    assert len(script.splitlines()) <= 10
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}  # more would be in the way of other tests
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, encoding="utf-8", check=False,
        env=one_thread,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "signature" in done.stdout
    assert len(done.stdout.splitlines()) == 3


def test_every_command_named_exists() -> None:
    from importlib.metadata import entry_points

    import click

    (script,) = [point for point in entry_points(group="console_scripts") if point.name == "seq2seq"]
    main = script.load()
    context = click.Context(main)
    named = set(re.findall(r"`seq2seq ([a-z]+)", README))
    assert {"recipe", "train", "translate", "score", "evaluate", "average", "settings", "tokenizer"} <= named
    for name in named:
        assert main.get_command(context, name) is not None, name
