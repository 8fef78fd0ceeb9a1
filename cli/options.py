"""Options that several commands share; those of decoding are derived from `DecodingConfig`, where they are declared."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import click

from seq2seq.config import DecodingConfig
from seq2seq.errors import ConfigError
from seq2seq.settings import Setting, declared

F = TypeVar("F", bound=Callable[..., Any])


class _PathType(click.Path):
    """A path, which an empty text is none: it would be the working folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("is empty; name a file or a folder", param, ctx)
        return super().convert(value, param, ctx)


PATH = _PathType(path_type=Path)
FILE = _PathType(path_type=Path, dir_okay=False)

data_option = click.option(
    "--data", type=PATH, metavar="DIR",
    help="Files to take instead of fetching a recipe's corpus: train.LANG of both languages, and validation.LANG and "
    "test.LANG if there are such.",
)  # fmt: skip
device_option = click.option(
    "--device", default="auto", show_default=True, metavar="DEV", help="auto, cpu, cuda or cuda:N."
)
engine_option = click.option(
    "--engine", type=click.Choice(["torch", "ctranslate2", "onnx"]), default="torch", show_default=True,
    help="What computes: but for ties, the translations are the same.",
)  # fmt: skip
ensemble_option = click.option(
    "--ensemble", multiple=True, type=PATH, metavar="RUN",
    help="Another run or checkpoint, of the same tokenizer, to average probabilities with; may be repeated.",
)  # fmt: skip
rerank_option = click.option(
    "--rerank-by", type=PATH, metavar="RUN",
    help="A run that translates back, to choose among `decoding.candidates` by `decoding.reverse_weight`.",
)  # fmt: skip
set_option = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE",
    help="Change a setting, such as training.steps=1000; may be repeated. `seq2seq settings` lists all.",
)  # fmt: skip


def decoding_options(*but: str) -> Callable[[F], F]:
    """Add an option for each field of `DecodingConfig` but these; what is not given stays as the run has it."""

    def add(command: F) -> F:
        for setting in reversed(declared(DecodingConfig).values()):
            if setting.name not in but:
                command = _decoding_option(setting)(command)
        return command

    return add


def language_option(default: str) -> Callable[[F], F]:
    """Add the option of the language that translations are in; `default` says which it is if none is given."""
    meaning = f"Of the translations: sacreBLEU cuts zh, ja and ko in ways of their own.{default}"
    return click.option("--target-language", default="", metavar="CODE", callback=_language, help=meaning)


def _language(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """A language code; what is none would be scored as if it were European."""
    code = re.split("[-_]", value.lower())[0]
    if value and not re.fullmatch("[a-z]{2,3}", code):
        raise click.BadParameter(f"{value!r}: is no language code; give one, such as ja or zh-Hant", context, parameter)
    return value


def with_decoding(config: DecodingConfig, options: Mapping[str, Any], reranks: bool = False) -> DecodingConfig:
    """A run's decoding settings, with the options that were given laid over them; `reranks`: by a reverse model.

    Raises:
        ConfigError: if a value is out of bounds, or the values do not fit one another.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if reranks:
        given.setdefault("mbr", "off")  # that of the run itself; asked for, it is refused
    n_best = given.get("n_best", config.n_best if reranks else 1)
    # Asking for ten translations is asking for a beam that holds them; one for candidates holds those in any case.
    if n_best > given.get("beam_size", config.beam_size) and (reranks or "beam_size" not in given):
        given["beam_size"] = n_best
    return dataclasses.replace(config, **given)


def refuse_idle(configs: Sequence[DecodingConfig], options: Mapping[str, Any], reranks: bool, engine: str) -> None:
    """Refuse options that would do nothing in any of the runs with these settings; `reranks`: by a reverse model.

    Raises:
        ConfigError: which names the option, and the one that is missing.
    """
    given = {name: value for name, value in options.items() if value is not None}
    samples = any(given.get("sample", config.sample) for config in configs)
    chooses = reranks or any(
        given.get("mbr", config.mbr) != "off" or given.get("length_reward", config.length_reward) for config in configs
    )
    for names, has_effect, needed in (
        (("temperature", "top_k", "top_p", "epsilon", "seed"), samples, "--sample"),
        (("candidates",), chooses, "--mbr, --rerank-by or --length-reward"),
        (("reverse_weight",), reranks, "--rerank-by"),
    ):
        for name in (name for name in names if name in given and not has_effect):
            raise ConfigError(f"--{name.replace('_', '-')} {given[name]}: does nothing without {needed}; add it")
    searches = any(not given.get("sample", config.sample) for config in configs)
    widths = ("beam_size", "n_best")  # the second widens the beam, and so do candidates to choose among
    is_wide = chooses or any(given.get(name, getattr(config, name)) > 1 for config in configs for name in widths)
    penalises = any(given.get("length_penalty", config.length_penalty) for config in configs)
    for name, has_effect, cause in (
        ("beam_size", searches, "--sample"),
        ("patience", searches, "--sample"),
        ("patience", is_wide, "a beam of 1"),
        ("length_penalty_form", penalises, "a length penalty of 0"),
        ("seed", engine != "ctranslate2", "--engine ctranslate2, which draws by a generator of its own"),
    ):
        if name in given and not has_effect:
            raise ConfigError(f"--{name.replace('_', '-')} {given[name]}: does nothing with {cause}; leave it out")


def _decoding_option(setting: Setting) -> Callable[[F], F]:
    name = setting.name.replace("_", "-")
    meaning = f"{setting.meaning[:1].upper()}{setting.meaning[1:]}."
    if setting.type is bool:
        return click.option(f"--{name}/--no-{name}", default=None, help=meaning)
    if get_origin(setting.type) is Literal:
        return click.option(f"--{name}", type=click.Choice(get_args(setting.type)), help=meaning)
    metavar = {int: "N", float: "X", str: "TEXT"}[setting.type]
    return click.option(f"--{name}", type=setting.type, metavar=metavar, help=meaning)
