"""Recipes by name or path; and the config of a recipe with its corpus fetched, for commands that look at corpora."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from seq2seq.errors import RecipeError

if TYPE_CHECKING:
    from seq2seq.config import Config


def config_of(
    name: str, overrides: Sequence[str], data: Path | None, run: Path | None = None, cleaned: bool = True
) -> Config:
    """The config of a TOML file, or of a recipe, whose corpus is fetched as `seq2seq recipe run` does it.

    A recipe is meant by a name that is no file, by `--data`, and by a TOML file with a script beside it that has no
    training corpora, or only those of the Hub that the script fetches.

    Args:
        name: of a recipe, or the path of a TOML file.
        overrides: `KEY=VALUE` to lay over it.
        data: local files to take instead of a recipe's corpus.
        run: the run directory where a recipe's corpus is kept; by default as in `recipe run`.
        cleaned: whether a recipe's training text is wanted as it trains on it, or as raw as there is.

    Raises:
        ConfigError, RecipeError, DataError: as from loading, and from fetching.
    """
    from seq2seq.config import load_config

    path = _expanded(name)
    is_config = path.suffix == ".toml" or path.is_file()
    if is_config and data is None:
        config = load_config(path, overrides)
        corpora, script = config.data.train, path.with_suffix(".py")
        # A copied recipe of the Hub names its corpora, of which the script beside it, if it is one, knows more.
        may_be_copied = all(corpus.dataset for corpus in corpora) and script.is_file() and _fetches(script)
        if not may_be_copied and (corpora or not script.is_file()):
            return config
    from seq2seq.recipe import load_recipe, with_corpus

    found = path if is_config else find_recipe(name)
    recipe = load_recipe(found, overrides)
    return with_corpus(recipe, run or default_run(found), data, cleaned=cleaned)


def _fetches(script: Path) -> bool:
    """Whether a script is a recipe's, and no other that has its name by chance."""
    return "def fetch(" in script.read_text(encoding="utf-8", errors="replace")


def _expanded(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError:
        raise RecipeError(f"{name}: there is no such user; write the home directory out") from None


def default_run(path: Path) -> Path:
    """The run directory of a recipe where none is named."""
    return Path("runs") / path.stem


def shipped_recipes() -> dict[str, Path]:
    """The TOML files of the shipped recipes by name."""
    folder = Path(str(resources.files("seq2seq_recipes")))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def find_recipe(name: str) -> Path:
    """The TOML file of a recipe.

    Raises:
        RecipeError: if there is none.
    """
    path = _expanded(name)
    if path.suffix == ".toml" or len(path.parts) > 1:
        path = path if path.suffix == ".toml" else path.with_name(f"{path.name}.toml")
        if not path.is_file():
            raise RecipeError(f"{path}: no such recipe; `seq2seq recipe copy NAME DIR` gives one to start from")
        return path
    shipped = shipped_recipes()
    if name not in shipped:
        close = difflib.get_close_matches(name, shipped, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "`seq2seq recipe list` lists them"
        mine = [Path(f"{name}.toml"), *sorted(Path(name).glob("*.toml"))]
        own = next((f"; your own is ./{path}" for path in mine if path.is_file()), "")
        raise RecipeError(f"{name!r}: no such recipe; {hint}{own}")
    return shipped[name]
