"""Settings as typed dataclasses: to and from plain dictionaries (TOML), strict, with overrides and a reference.

A setting is declared once, `name: Annotated[type, "meaning and unit"] = default`, and everything else is derived from
the declaration. This file knows nothing of translation; `config` declares the settings.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import tomllib
import types
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from seq2seq.errors import ConfigError

T = TypeVar("T")


class Setting(NamedTuple):
    """One declared field: its type without annotation, what it means, and its default."""

    name: str
    type: Any
    meaning: str
    default: Any


def declared(cls: type) -> dict[str, Setting]:
    """The settings of a dataclass, by name, in the order of declaration."""
    hints = get_type_hints(cls, include_extras=True)
    found = {}
    for field in dataclasses.fields(cls):
        hint, meaning = hints[field.name], ""
        if get_origin(hint) is Annotated:
            hint, meaning = get_args(hint)[:2]
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        found[field.name] = Setting(field.name, hint, meaning, default)
    return found


def from_dict(cls: type[T], values: Mapping[str, Any], path: str = "") -> T:
    """Build a settings object from nested plain values, refusing whatever is not declared.

    Raises:
        ConfigError: on an unknown name (with the closest known one) or a value of the wrong type.
    """
    settings = declared(cls)
    arguments = {}
    for name, value in values.items():
        if name not in settings:
            raise ConfigError(_unknown(f"{path}{name}", [f"{path}{known}" for known in settings]))
        arguments[name] = _convert(settings[name].type, value, f"{path}{name}")
    try:
        return cls(**arguments)
    except ConfigError as error:  # of values, which know their section, but not which of several tables they are in
        table = path.removesuffix(".")
        raise ConfigError(f"`{table}`: {error}" if "." in table else str(error)) from None
    except TypeError as error:  # a required field without a value
        raise ConfigError(f"{path or cls.__name__}: {error}".replace("__init__() ", "")) from None


def to_dict(settings: Any) -> dict[str, Any]:
    """The nested plain values of a settings object; None is left out, since TOML has no null."""
    plain: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            plain[field.name] = to_dict(value)
        elif isinstance(value, tuple):
            plain[field.name] = [to_dict(item) if dataclasses.is_dataclass(item) else item for item in value]
        elif value is not None:
            plain[field.name] = value
    return plain


def with_overrides(cls: type, values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Nested values with `a.b=VALUE` overrides laid over them; VALUE is read as TOML, or as bare text for a string."""
    result = _copy(values)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"--set {override!r}: expected KEY=VALUE, such as --set training.steps=1000")
        *sections, name = key.strip().split(".")
        owner: type = cls
        place, path = result, ""
        for section in sections:
            owner = _section(owner, section, path)
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise ConfigError(f"`{path}{section}` = {place!r}: expected a table [{path}{section}]")
            path += f"{section}."
        if name not in declared(owner):
            raise ConfigError(_unknown(f"{path}{name}", [f"{path}{known}" for known in declared(owner)]))
        place[name] = parse(declared(owner)[name].type, text.strip())
    return result


def reference(cls: type, path: str = "", sections: Set[type] = frozenset()) -> Iterator[tuple[str, Setting]]:
    """Every setting with its dotted name, depth first: what `seq2seq settings` prints.

    Where a section comes again within another one, it is a setting there, and its own settings are not told twice.
    """
    inner_of = {name: _dataclass_in(setting.type) for name, setting in declared(cls).items()}
    sections = sections or {inner for inner in inner_of.values() if inner}
    for name, setting in declared(cls).items():
        inner = inner_of[name]
        if inner is None or (path and inner in sections):
            yield f"{path}{name}", setting
        else:
            yield from reference(inner, f"{path}{name}.", sections)


def flat(values: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Nested plain values by their dotted names."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            result |= flat(value, f"{path}{key}.")
        else:
            result[f"{path}{key}"] = value
    return result


def type_name(hint: Any) -> str:
    """How a setting's type is written for people: `integer`, `relu | gelu`, `list of text`."""
    hint = _without_none(hint)
    if get_origin(hint) is Literal:
        return " | ".join(str(choice) for choice in get_args(hint))
    if get_origin(hint) is tuple:
        return f"list of {type_name(get_args(hint)[0])}"
    if dataclasses.is_dataclass(hint):
        return "table"
    names = {int: "integer", float: "number", str: "text", bool: "true | false"}
    return names.get(hint, getattr(hint, "__name__", str(hint)))


def _section(owner: type, name: str, path: str) -> type:
    settings = declared(owner)
    inner = _dataclass_in(settings[name].type) if name in settings else None
    if inner is None or get_origin(settings[name].type) is tuple:
        if name in settings:
            what = "is a list of tables" if inner else "is no table"
            raise ConfigError(f"`{path}{name}`: {what}; set it as a whole, or change it in the file")
        raise ConfigError(_unknown(f"{path}{name}", [f"{path}{known}" for known in settings]))
    return inner


def _unknown(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean `{close[0]}`?" if close else "`seq2seq settings` lists all"
    return f"`{name}`: unknown setting; {hint}"


def _copy(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, Mapping) else value for key, value in values.items()}


def _without_none(hint: Any) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        return next(part for part in get_args(hint) if part is not type(None))
    return hint


def _dataclass_in(hint: Any) -> type | None:
    hint = _without_none(hint)
    if get_origin(hint) is tuple:
        hint = get_args(hint)[0]
    return hint if isinstance(hint, type) and dataclasses.is_dataclass(hint) else None


def _convert(hint: Any, value: Any, path: str) -> Any:
    """The value as the declared type, or a ConfigError that says what was expected."""
    hint = _without_none(hint)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ConfigError(f"`{path}` = {value!r}: expected a table [{path}]")
        return from_dict(hint, value, f"{path}.")
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            such = f", such as {json.dumps([value])}" if isinstance(value, str | int | float) else ""
            if _dataclass_in(hint):
                such = f" of tables: begin each with [[{path}]], or write {path.rpartition('.')[2]} = [{{ ... }}]"
            raise ConfigError(f"`{path}` = {value!r}: expected a list{such}")
        return tuple(_convert(get_args(hint)[0], item, f"{path}[{i}]") for i, item in enumerate(value))
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise ConfigError(f"`{path}` = {value!r}: expected one of {', '.join(map(str, get_args(hint)))}")
        return value
    if hint is float and type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise ConfigError(f"`{path}`: is too large a number") from None
    if type(value) is not hint:
        raise ConfigError(f"`{path}` = {value!r}: expected {type_name(hint)}, not {type_name(type(value))}")
    return value


def parse(hint: Any, text: str) -> Any:
    """A value from the command line: TOML, but text needs no quotes."""
    hint = _without_none(hint)
    try:
        value: Any = tomllib.loads(f"value = {text}")["value"]
    except ValueError:  # no TOML, or a number of thousands of digits
        return text
    return text if hint is str and not isinstance(value, str) else value
