"""Overrides of a recipe: `a.b.c=value`, the value written as in YAML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rewarddiff.config.plain import DEEPEST, plain
from rewarddiff.config.problems import dotted, shown
from rewarddiff.config.schema import Place, dataclasses_in, default_of, inside, named, to_dict
from rewarddiff.config.written import parse
from rewarddiff.errors import UserError, suggest
from rewarddiff.writing import cut

EVERY = "*"
"""In a key, every entry that the recipe has at this place, as in `scorers.*.train.max_tokens`."""

DIGITS = 9
"""Digits of the largest position in a list."""


def expanded(data: Mapping[str, Any], text: str) -> list[str]:
    """Return an override once for every entry that its `*` stands for; one without `*` as it is.

    >>> expanded({"scorers": {"a": {}, "b": {}}}, "scorers.*.heads=3")
    ['scorers.a.heads=3', 'scorers.b.heads=3']
    """
    key, equals, written = text.partition("=")
    names = _names(key, text)
    if EVERY not in names or not equals:
        return [text]
    return [f"{'.'.join(place)}={written}" for place in _places(data, names, text)]


def _names(key: str, text: str) -> list[str]:
    names = key.strip().split(".")
    if len(names) > DEEPEST:
        raise UserError(f"override '{cut(text)}': more than {DEEPEST} names in its key")
    return names


def _places(node: Any, names: Sequence[str], text: str, place: Place = ()) -> list[list[str]]:
    """Return the names of every place below `node` that these stand for; it stands at `place`."""
    if EVERY not in names:
        return [[*map(str, place), *names]]
    first, *rest = names
    if first != EVERY:
        inner = node.get(first) if isinstance(node, Mapping) else None
        return _places(inner, rest, text, (*place, first))
    if not isinstance(node, Mapping) or not node:
        raise UserError(
            f"override '{cut(text)}': the recipe has no entries in '{dotted(place)}' that "
            f"{EVERY} could stand for; name them in the recipe"
        )
    places = []
    for entry, inner in node.items():
        places += _places(inner, rest, text, (*place, str(entry)))
    return places


def apply_override(data: dict[str, Any], text: str, schema: Any) -> Place:
    """Set `a.b.c=value` in `data`, and return its place.

    Null takes an entry out of a mapping of named ones.
    """
    key, equals, written = text.partition("=")
    names = _names(key, text)
    if not equals or not all(names):
        raise UserError(f"override '{cut(text)}': expected key=value, as in train.lr=1e-5")
    source = f"override '{cut(text)}'"
    value = plain(parse(written, source), source)
    node: Any = data
    hint: Any = schema
    place: Place = ()
    for name in names[:-1]:
        part = _part(node, name, place, text)
        if isinstance(node, dict) and node.get(part) is None:
            node[part] = _opened(hint, node, name, place, text)
        elif isinstance(node, dict):
            node[part] = named(inside(hint, part), node[part])
        place = (*place, part)
        node = node[part]
        hint = inside(hint, part)
    last = _part(node, names[-1], place, text)
    if value is not None or not _holds_named(hint):
        node[last] = value
    elif last in node:
        del node[last]
    else:
        raise _unknown(text, names[-1], place, node)
    return (*place, last)


def _unknown(text: str, name: str, place: Place, entries: Iterable[str]) -> UserError:
    hint = suggest(name, entries)
    return UserError(
        f"override '{cut(text)}': nothing is called '{cut(name)}' in '{dotted(place)}'{hint}"
    )


def _holds_named(hint: Any) -> bool:
    """Return whether a value is a mapping from names to dataclasses, such as scorers."""
    return not dataclasses_in(hint) and bool(dataclasses_in(inside(hint, "")))


def _part(node: Any, name: str, place: Place, text: str) -> str | int:
    """Return `name` as a key or a position of `node`, which stands at `place`."""
    if isinstance(node, dict):
        return name
    if not isinstance(node, list):
        raise UserError(
            f"override '{cut(text)}': '{dotted(place)}' is {shown(node)}, there is no '{cut(name)}' in it"
        )
    if not name.isdecimal() or len(name) > DIGITS or int(name) >= len(node):
        raise UserError(
            f"override '{cut(text)}': '{dotted(place)}' is a list of {len(node)}; name one as 0, 1, …"
        )
    return int(name)


def _opened(hint: Any, node: dict[str, Any], name: str, place: Place, text: str) -> Any:
    """Return what an override inside key `name` starts from where the recipe does not give it."""
    if not dataclasses_in(hint) and hint is not Any:
        raise _unknown(text, name, place, node)
    default = default_of(hint, name)
    return to_dict(default) if isinstance(default, (Mapping, list, tuple)) else {}
