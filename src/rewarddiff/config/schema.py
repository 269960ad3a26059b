"""What the annotations of nested dataclasses say: fields, types, defaults, names."""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Mapping
from pathlib import Path
from typing import (
    Any,
    Literal,
    TypeGuard,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

TAGS = ("kind", "method")
"""Keys that tell dataclasses of a union apart, where each has one with words of its own."""

Place = tuple[str | int, ...]
"""Where a value stands in a recipe: keys and positions from the outside in."""


def to_dict(config: object) -> Any:
    """Return a configuration as plain data (dicts, lists, strings, numbers), for `load_recipe`."""
    if is_made(config):
        fields = [field.name for field in dataclasses.fields(config) if field.init]
        return {name: to_dict(getattr(config, name)) for name in fields}
    if isinstance(config, Mapping):
        return {str(key): to_dict(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [to_dict(item) for item in config]
    return str(config) if isinstance(config, Path) else config


def is_made(value: object) -> TypeGuard[Any]:
    """Return whether a value is an instance of a dataclass, and not the class."""
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def dataclasses_in(hint: Any) -> list[Any]:
    """Return the dataclasses among the types a value may have."""
    return [member for member in _members(hint) if dataclasses.is_dataclass(member)]


def fields_of(hint: Any) -> dict[str, Any]:
    """Return names and types of all fields that the dataclasses in `hint` have."""
    fields: dict[str, Any] = {}
    for cls in dataclasses_in(hint):
        hints = _hints(cls)
        fields |= {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}
    return fields


def inside(hint: Any, part: str | int) -> Any:
    """Return the type of what stands under a key or position; Any where nothing is known."""
    fields = fields_of(hint)
    if part in fields:
        return fields[str(part)]
    for member in _members(hint):
        origin, args = get_origin(member), get_args(member)
        if not isinstance(origin, type) or not args:
            continue
        if issubclass(origin, Mapping):
            return args[1]
        if isinstance(part, int):
            return args[0]
    return Any


def default_of(hint: Any, name: str) -> Any:
    """Return the default of field `name` in the only dataclass of `hint`; None where none is."""
    classes = dataclasses_in(hint)
    if len(classes) != 1:
        return None
    for field in dataclasses.fields(classes[0]):
        if field.name == name and field.default is not dataclasses.MISSING:
            return field.default
        if field.name == name and field.default_factory is not dataclasses.MISSING:
            return field.default_factory()
    return None


def named(hint: Any, value: Any) -> Any:
    """Return a word that names one of the dataclasses in `hint` as a mapping; else the value."""
    tag = _tag(hint)
    if isinstance(value, str) and tag is not None:
        return {tag: value}
    return value


def meant(hint: Any, value: Any) -> Any:
    """Return the dataclass of `hint` that a mapping names, or else `hint`."""
    tag = _tag(hint)
    if tag is not None and isinstance(value, Mapping):
        for cls in dataclasses_in(hint):
            if value.get(tag) in _words(cls, tag):
                return cls
    return hint


def completed(hint: Any, value: Any) -> Any:
    """Return `value` with the keys it leaves out of a dataclass, from the default it replaces."""
    if isinstance(value, list):
        return [completed(inside(hint, i), item) for i, item in enumerate(value)]
    value = named(hint, value)
    if not isinstance(value, Mapping):
        return value
    tag = _tag(hint)
    if tag in TAGS:
        # A mapping without a kind is what the first dataclass is by default.
        value = {tag: default_of(dataclasses_in(hint)[0], tag), **value}
    hint = meant(hint, value)
    result = {}
    for key, item in value.items():
        item_hint = inside(hint, key)
        default = default_of(hint, key)
        if len(dataclasses_in(item_hint)) == 1:
            item = _over(default, item)
        elif isinstance(item, Mapping) and _words(type(default), "name"):
            item = {"name": default.name, **item}
        result[key] = completed(item_hint, item)
    return result


def fields_alone(cls: Any) -> Any:
    """Return a dataclass with the same fields and defaults, and no rules that hold between them."""
    fields = []
    for name, hint in fields_of(cls).items():
        default = functools.partial(default_of, cls, name)
        fields.append((name, hint, dataclasses.field(default_factory=default)))
    namespace = {"replaced": getattr(cls, "replaced", {})}
    return dataclasses.make_dataclass(cls.__name__, fields, namespace=namespace)


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    """Return the annotations of a dataclass, resolved."""
    return get_type_hints(cls)


def _members(hint: Any) -> tuple[Any, ...]:
    """Return the types a value may have: those of a union, or the one."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _tag(hint: Any) -> str | None:
    """Return the key that tells which dataclass is meant: `name`, or one of `TAGS` that all have."""
    classes = dataclasses_in(hint)
    if any(_words(cls, "name") for cls in classes):
        return "name"
    for tag in TAGS:
        if len(classes) > 1 and all(_words(cls, tag) for cls in classes):
            return tag
    return None


def _words(cls: Any, tag: str) -> tuple[str, ...]:
    """Return what this field of a dataclass may be, where its type lists the words."""
    if not dataclasses.is_dataclass(cls):
        return ()
    hint = _hints(cast(Any, cls)).get(tag)
    return get_args(hint) if get_origin(hint) is Literal else ()


def _over(default: object, value: Any) -> Any:
    """Return a mapping laid over the dataclass that is the default; any other value as it is."""
    if not is_made(default) or not isinstance(value, Mapping):
        return value
    merged = to_dict(default)
    for key, item in value.items():
        merged[key] = _over(getattr(default, str(key), None), item)
    return merged
