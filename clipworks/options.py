"""Rare knobs: `--set name=value`, checked against the dataclass that holds them.

A recipe is a function that returns a frozen dataclass; `with_settings` returns a changed copy.
"""

import types
from collections.abc import Iterable
from dataclasses import fields, is_dataclass, replace
from difflib import get_close_matches
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from clipworks.errors import ConfigError

Config = TypeVar("Config")


def with_settings(config: Config, settings: Iterable[str]) -> Config:
    """A copy of a frozen dataclass with `name=value` settings, all together; the last of a name counts.

    Values are read by the field's type: whole numbers (several with commas between where the field is a
    tuple), numbers, true/false, text, or `none` where the field may be None. The dataclass checks ranges
    itself.

    Raises:
        ConfigError: no `=`, an unknown name (the nearest known ones are named), or a value that
            is not of the field's type or range.
    """
    assert is_dataclass(config) and not isinstance(config, type)
    types_by_name = get_type_hints(type(config))
    known = [field.name for field in fields(config) if _is_settable(types_by_name[field.name])]
    changes: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {setting!r} has no '='.", "Write --set name=value.")
        if name not in known:
            short = [one for one in known if name == "".join(word[0] for word in one.split("_"))]
            near = list(dict.fromkeys([*short, *get_close_matches(name, known, n=3, cutoff=0.0)]))[:3]
            raise ConfigError(f"--set {name}: there is no such setting.", f"Nearest: {', '.join(near)}.")
        changes[name] = _parse(name, text, types_by_name[name])
    return replace(config, **changes)


def _is_settable(kind: Any) -> bool:
    """Whether a setting can be a field's value; what holds several texts or more has an option of its own."""
    return not is_dataclass(kind) and (get_origin(kind) is not tuple or kind == tuple[int, ...])


def _parse(name: str, text: str, kind: Any) -> Any:
    if get_origin(kind) in (Union, types.UnionType):
        choices = get_args(kind)
        if text.lower() == "none" and type(None) in choices:
            return None
        kind = next(choice for choice in choices if choice is not type(None))
    try:
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        if kind in (int, float):
            return kind(text)
        if kind == tuple[int, ...]:
            return tuple(int(one) for one in text.split(",") if one.strip())
    except (ValueError, KeyError) as error:
        raise ConfigError(f"--set {name}={text}: the value must be {_words(kind)}.") from error
    return text


def _words(kind: Any) -> str:
    words = {bool: "true or false", int: "a whole number", float: "a number"}
    return words.get(kind, "whole numbers with commas between")
