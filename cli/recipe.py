"""`seq2seq recipe`: list, show, copy and run recipes, shipped ones by name and others by the path of their TOML."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import click

from seq2seq.errors import RecipeError

from .options import PATH, data_option, device_option, set_option
from .recipes import default_run, find_recipe, shipped_recipes


@click.group()
def recipe() -> None:
    """From a public corpus to a translator and its scores.

    NAME is one of `seq2seq recipe list`, or the path of a recipe of your own, my/NAME.toml with my/NAME.py beside it.
    """


@recipe.command("list")
def list_recipes() -> None:
    """List the recipes that come with seq2seq."""
    shipped = shipped_recipes()
    width = max(map(len, shipped))
    for name, path in shipped.items():
        description = tomllib.loads(path.read_text(encoding="utf-8")).get("recipe", {}).get("description", "")
        click.echo(f"{name:{width}}  {description}")


@recipe.command()
@click.argument("name")
def show(*, name: str) -> None:
    """Print the settings of a recipe, and where its files are."""
    path = find_recipe(name)
    click.echo(f"# {path}\n# {path.with_suffix('.py')}", err=True)
    click.echo(path.read_text(encoding="utf-8"), nl=False)


@recipe.command()
@click.argument("name")
@click.argument("folder", metavar="DIR", type=PATH)
def copy(*, name: str, folder: Path) -> None:
    """Copy a recipe's two files into DIR, to change and run them there."""
    path = find_recipe(name)
    sources = [file for file in (path, path.with_suffix(".py")) if file.exists()]
    for source in sources:
        if (folder / source.name).exists():
            raise RecipeError(f"{folder / source.name}: exists already; move it away or choose another DIR")
    folder.mkdir(parents=True, exist_ok=True)
    for source in sources:
        shutil.copyfile(source, folder / source.name)
    click.echo(f"run it with: seq2seq recipe run {folder / path.name}", err=True)


@recipe.command()
@click.argument("name")
@click.option("--output", type=PATH, metavar="DIR", help="The run directory.  [default: runs/NAME]")
@data_option
@set_option
@device_option
@click.option("--overwrite", is_flag=True, help="Train anew where a run exists.")
def run(
    *, name: str, output: Path | None, data: Path | None, overrides: tuple[str, ...], device: str, overwrite: bool
) -> None:
    """Fetch, prepare, train, average, translate and evaluate.

    A stage is skipped when it is done and unchanged, so a run that was stopped goes on where it was. What is left in
    DIR is a run directory for the other commands.
    """
    path = find_recipe(name)
    from seq2seq.recipe import describe, load_recipe, run_recipe

    loaded = load_recipe(path, overrides)
    target = output or default_run(path)
    click.echo(describe(run_recipe(loaded, target, data=data, device=device, overwrite=overwrite)))
