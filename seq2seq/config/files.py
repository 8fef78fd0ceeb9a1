"""Config files: TOML in and out, presets and the run to fine-tune filled in, paths seen from the file."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from seq2seq.config.data import CorpusConfig, TokenizerConfig
from seq2seq.config.model import PRESETS, ModelConfig
from seq2seq.config.run import Config
from seq2seq.errors import ConfigError
from seq2seq.settings import declared, from_dict, parse, to_dict, with_overrides

_PATHS = {
    *(f"data.{name}.{side}" for name in ("validation", "test") for side in ("source", "target", "path")),
    "tokenizer.path", "training.initialise_from", "distillation.teacher", "back_translation.monolingual",
    "back_translation.reverse_model",
}  # fmt: skip


def load_config(path: Path | str, overrides: Sequence[str] = ()) -> Config:
    """Read a TOML file, lay `KEY=VALUE` overrides over it, and resolve relative paths.

    Those in the file, and in tables of overrides, are meant from its folder; those that are an override's value, and so
    are typed, from the current one.

    Raises:
        ConfigError: if the file is missing, is not TOML or UTF-8, or holds an unknown or ill-typed setting.
    """
    path = Path(path)
    values, folder = _read_toml(path), path.resolve().parent
    overrides = [_from_here(override) for override in overrides]
    try:
        return resolve_paths(config_from_dict(values, overrides, folder), folder)
    except ConfigError as error:
        raise ConfigError(f"{_to_blame(path, values, overrides, folder)}: {error}") from None


def _to_blame(path: Path, values: Mapping[str, Any], overrides: Sequence[str], folder: Path) -> str:
    """What a mistake is in: the file, or if it is sound by itself, the overrides."""
    if overrides:
        with suppress(ConfigError):
            config_from_dict(values, (), folder)
            return f"--set, over {path}"
    return str(path)


def _from_here(override: str) -> str:
    """An override whose relative path, if it gives one, is absolute."""
    name, _, text = override.partition("=")
    value = parse(str, text.strip()) if name.strip() in _PATHS else ""
    return f"{name}={json.dumps(_absolute(value, Path.cwd()), ensure_ascii=False)}" if value else override


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such config file; `seq2seq recipe copy NAME DIR` gives one") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the config file: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: the config file is not UTF-8; save it as UTF-8") from None
    except (ValueError, RecursionError) as error:  # also of numbers of thousands of digits, and of tables that deep
        raise ConfigError(f"{path}: not valid TOML: {error}") from None


def config_from_dict(values: Mapping[str, Any], overrides: Sequence[str] = (), folder: Path | None = None) -> Config:
    """A config from nested plain values; a model preset, or a run to fine-tune, fills in what the values leave open.

    Args:
        values: by section and name.
        overrides: `KEY=VALUE` to lay over them.
        folder: from which the path of the run to fine-tune is meant.
    """
    merged = with_overrides(Config, values, overrides)
    merged = _with_own_prepare(_with_base(merged, folder or Path()))
    model = merged.get("model", {})
    preset = model.get("preset", "custom") if isinstance(model, dict) else "custom"
    if isinstance(model, dict) and isinstance(preset, str) and preset in PRESETS:
        # The sizes are spelled out from here on, so a saved config does not change when a preset does.
        merged["model"] = {**PRESETS[preset], **model, **_preset_over_sizes(values, overrides), "preset": "custom"}
    return from_dict(Config, merged)


def _preset_over_sizes(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The model of a preset that overrides ask for, if the values are sizes by themselves, as in a run's config."""
    asked: dict[str, Any] = with_overrides(Config, {}, overrides).get("model", {})
    given = values.get("model", {})
    if asked.get("preset", "custom") == "custom":
        return {}
    if isinstance(given, dict) and given.get("preset", "custom") != "custom":
        return {}
    whole = ModelConfig(**PRESETS[asked["preset"]])  # what a preset leaves out has its default
    return {name: getattr(whole, name) for preset in PRESETS.values() for name in preset} | asked


def _with_base(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The values, with the model and the tokenizer settings of the run that is to be fine-tuned beneath them.

    A run that is not there any more, as may be when a fine-tuned one is loaded, has left its settings in the values.
    """
    training = values.get("training")
    path = training.get("initialise_from") if isinstance(training, dict) else None
    if not isinstance(path, str) or not path or _says_all(values):
        return values
    file = run_of(Path(_absolute(path, folder))) / "config.toml"
    if not file.exists():
        return values
    base = _read_toml(file)  # as it stands: a run's config spells all out, whatever it was fine-tuned from itself
    for name in ("model", "tokenizer"):
        if not isinstance(base.get(name, {}), dict):
            raise ConfigError(f"{file}: `{name}` = {base[name]!r}: expected a table [{name}]; it is no run's config")
    sections = {name: values.get(name, {}) for name in ("model", "tokenizer")}
    preset = PRESETS.get(str(sections["model"].get("preset")), {}) if isinstance(sections["model"], dict) else {}
    below = {"model": {**base.get("model", {}), **preset}, "tokenizer": {**base.get("tokenizer", {}), "path": ""}}
    beneath = {name: {**below[name], **section} for name, section in sections.items() if isinstance(section, dict)}
    return {**values, **beneath}


def run_of(path: Path) -> Path:
    """The run that a path names, which may have gone: itself, or the one that a checkpoint is in."""
    is_checkpoint = path.parent.name == "checkpoints" and not (path / "config.toml").exists()
    return path.parent.parent if is_checkpoint else path


def _with_own_prepare(values: dict[str, Any]) -> dict[str, Any]:
    """The values, with [prepare] beneath what a training corpus has of it."""
    data, common = values.get("data"), values.get("prepare", {})
    corpora = data.get("train") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(corpora, list) or not isinstance(common, dict):
        return values  # what is wrong with it is told later

    def whole(corpus: Any) -> Any:
        own = corpus.get("prepare") if isinstance(corpus, dict) else None
        return {**corpus, "prepare": {**common, **own}} if isinstance(own, dict) else corpus

    return {**values, "data": {**data, "train": [whole(corpus) for corpus in corpora]}}


def _says_all(values: Mapping[str, Any]) -> bool:
    """Whether nothing of the model and the tokenizer is open, as in the config.toml of a run: it needs no other run."""
    sections = ((values.get("model"), ModelConfig), (values.get("tokenizer"), TokenizerConfig))
    return all(isinstance(given, dict) and declared(cls).keys() <= given.keys() for given, cls in sections)


def config_to_dict(config: Config) -> dict[str, Any]:
    """Nested plain values from which `config_from_dict` makes the same config."""
    return to_dict(config)


def save_config(config: Config, path: Path) -> None:
    """Write a config as TOML; paths inside the file's folder are written relative to it, others absolute."""
    import tomli_w

    from seq2seq.files import atomic_write

    with atomic_write(path) as file:
        file.write(tomli_w.dumps(config_to_dict(relative_paths(config, path.resolve().parent))))


def relative_paths(config: Config, folder: Path) -> Config:
    """The config with paths inside `folder` relative to it, and others absolute."""
    folder = folder.resolve()
    return _map_paths(config, lambda text: _relative(text, folder))


def resolve_paths(config: Config, folder: Path) -> Config:
    """The config with every relative path made absolute, from `folder`."""
    return _map_paths(config, lambda text: _absolute(text, folder))


def _map_paths(config: Config, change: Callable[[str], str]) -> Config:
    def corpus(value: CorpusConfig) -> CorpusConfig:
        source, target, path = (text and change(text) for text in (value.source, value.target, value.path))
        return replace(value, source=source, target=target, path=path)

    data = replace(
        config.data,
        train=tuple(corpus(item) for item in config.data.train),
        validation=config.data.validation and corpus(config.data.validation),
        test=config.data.test and corpus(config.data.test),
    )
    tokenizer = config.tokenizer
    if tokenizer.path:
        tokenizer = replace(tokenizer, path=change(tokenizer.path))
    training = config.training
    if training.initialise_from:
        training = replace(training, initialise_from=change(training.initialise_from))
    distillation, back = config.distillation, config.back_translation
    if distillation.teacher:
        distillation = replace(distillation, teacher=change(distillation.teacher))
    if back.monolingual:
        back = replace(back, monolingual=change(back.monolingual), reverse_model=change(back.reverse_model))
    return replace(
        config, data=data, tokenizer=tokenizer, training=training, distillation=distillation, back_translation=back
    )


def _absolute(text: str, folder: Path) -> str:
    try:
        return os.path.normpath(folder / Path(text).expanduser())
    except RuntimeError:
        raise ConfigError(f"path {text!r}: there is no such user; write the home directory out") from None


def _relative(text: str, folder: Path) -> str:
    """A path within a folder as seen from there; another one as it was given: what it links to may have any name."""
    path = Path(_absolute(text, Path.cwd()))
    within = path.parent.resolve() / path.name
    return within.relative_to(folder).as_posix() if within.is_relative_to(folder) else str(path)
