"""Dataclasses of results from and to JSON values; pydantic is imported when it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Kind = TypeVar("Kind")

_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}


def adapter(kind: Any) -> TypeAdapter[Any]:
    """Return what reads and writes a dataclass of this module, and gives its JSON Schema."""
    from pydantic import TypeAdapter

    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def plain(result: Any) -> Any:
    """Return a dataclass of this module as JSON values: unknown figures are None."""
    return adapter(type(result)).dump_python(result, mode="json")


def read(kind: type[Kind], values: Any) -> Kind:
    """Return JSON values as a dataclass of this module. Raises pydantic's ValidationError."""
    result: Kind = adapter(kind).validate_python(values)
    return result
