"""What is wrong with a configuration, in words that name the place and the mend."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from pydantic import ValidationError

from rewarddiff.config.elsewhere import CALLED_ONLINE, called_here
from rewarddiff.config.schema import Place, dataclasses_in, fields_of, inside, is_made, meant
from rewarddiff.errors import suggest
from rewarddiff.writing import cut

HINT = " – did you mean "
SHOULD_BE = ", should be "
SHOWN = 60
"""How many characters of a value a message shows."""

Problem = tuple[Place, Any]
"""A place in the data, and what pydantic says of it."""


def not_finite(value: object, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Yield place and message of every number that is infinite or NaN: no key means one."""
    if isinstance(value, float) and not math.isfinite(value):
        yield place, f"'{dotted(place)}' is {value}, should be a finite number"
    elif is_made(value):
        for field in dataclasses.fields(value):
            yield from not_finite(getattr(value, field.name), (*place, field.name))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from not_finite(key, (*place, str(key)))
            yield from not_finite(item, (*place, str(key)))
    elif isinstance(value, (list, tuple)):
        for position, item in enumerate(value):
            yield from not_finite(item, (*place, position))


def problems(error: ValidationError, data: list[Any], schema: Any) -> Iterator[tuple[Place, str]]:
    """Yield place and message of every problem, one a place, in the order of the recipe's fields.

    Where a value may have several types, pydantic lists what each of them finds amiss: the type
    with the fewest problems is taken to be the one that was meant.

    Args:
        data: a list of the one recipe, as pydantic read it; places leave its 0 out.
    """
    for start, branches in _by_branch(error, data).items():
        messages: dict[Place, list[str]] = {}
        for place, detail in _likeliest(start, branches):
            messages.setdefault(place, []).append(_message(place[1:], detail, schema, data[0]))
        for place, texts in messages.items():
            yield place[1:], _joined(texts)


def dotted(place: Place) -> str:
    """Return a place as it is written in an override."""
    return ".".join(cut(str(part), SHOWN) for part in place)


def shown(value: object) -> str:
    """Return a value as a message shows it."""
    if value is None:
        text = "empty"
    elif isinstance(value, str):
        text = f"'{cut(value)}'"
    else:
        text = json.dumps(value, default=str)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}…"


def _by_branch(error: ValidationError, data: Any) -> dict[Place, dict[Place, list[Problem]]]:
    """Return the problems by the place of the value, and by the type of its union that has them."""
    problems: dict[Place, dict[Place, list[Problem]]] = {}
    for detail in error.errors(include_url=False):
        place, union, branch = _locate(detail["loc"], data, last_is_key=detail["type"] == "missing")
        branches = problems.setdefault(union if branch else place, {})
        branches.setdefault(branch, []).append((place, detail))
    return problems


def _likeliest(start: Place, branches: Mapping[Place, list[Problem]]) -> list[Problem]:
    """Return the problems of the type that was meant; those of several where each has only one."""
    ranks = [_unlikeliness(start, problems) for problems in branches.values()]
    least = min(ranks)
    likely = [
        problems for problems, rank in zip(branches.values(), ranks, strict=True) if rank == least
    ]
    _, count = least
    return likely[0] if count > 1 else list(chain.from_iterable(likely))


def _unlikeliness(start: Place, problems: Sequence[Problem]) -> tuple[bool, int]:
    """Return how unlikely it is that this type was meant, to be compared.

    A type whose inner `Literal` says otherwise is the least likely; then the count decides.
    """
    other_kind = any(
        detail["type"] == "literal_error" and place != start for place, detail in problems
    )
    return other_kind, len(problems)


def _locate(loc: Place, data: Any, *, last_is_key: bool) -> tuple[Place, Place, Place]:
    """Split pydantic's location into the place in the data, that of the first union, and the branch.

    Pydantic puts the names of types among keys and positions: what is not in the data is such a
    name, but for the key that is missing.
    """
    place: Place = ()
    union: Place = ()
    branch: Place = ()
    for i, part in enumerate(loc):
        is_key = isinstance(data, dict) and part in data
        is_position = isinstance(data, list) and isinstance(part, int)
        is_there = is_key or is_position
        missing_key = last_is_key and i == len(loc) - 1
        if is_there or missing_key:
            place = (*place, part)
            data = data[part] if is_there else None
        else:
            union = union if branch else place
            branch = (*branch, part)
    return place, union, branch


def _message(place: Place, detail: Any, schema: Any, recipe: Any) -> str:
    key = dotted(place) or "the recipe"
    prefix = f"'{key}' is {shown(detail['input'])}"
    match detail["type"]:
        case "missing":
            return f"key '{key}' is missing"
        case "unexpected_keyword_argument":
            return _unknown_key(place, detail, schema, recipe)
        case "literal_error":
            return _other_choice(prefix, detail["input"], detail["ctx"]["expected"])
        case "union_tag_invalid":
            tag = detail["ctx"]["discriminator"].strip("'")
            given = detail["input"][tag]
            expected = " or ".join(detail["ctx"]["expected_tags"].split(", "))
            return _other_choice(f"'{dotted((*place, tag))}' is {shown(given)}", given, expected)
        case "value_error" | "assertion_error":
            cause = f"{detail['ctx']['error']}"
            return f"'{key}': {cause}" if place else cause
        case "dataclass_type" | "dict_type" | "model_attributes_type":
            return f"{prefix}, should be a mapping of keys to values"
        case "list_type" | "tuple_type":
            return f"{prefix}, should be a list"
        case "bool_type":
            return f"{prefix}, should be true or false"
        case "int_type" | "int_from_float":
            return f"{prefix}, should be a whole number"
    complaint = detail["msg"].replace("Input should", "should").replace(" valid", "")
    return f"{prefix}, {complaint}"


def _unknown_key(place: Place, detail: Any, schema: Any, recipe: Any) -> str:
    hint = meant(schema, recipe)
    parts: list[tuple[Place, Mapping[str, Any]]] = [((), fields_of(hint))]
    for depth, part in enumerate(place[:-1], 1):
        recipe = recipe[part]
        hint = meant(inside(hint, part), recipe)
        parts.append((place[:depth], fields_of(hint)))
    name = str(place[-1])
    for cls in dataclasses_in(hint):
        # A dataclass answers its old spellings with the new ones.
        replaced = getattr(cls, "replaced", {})
        if name in replaced:
            return f"{dotted(place)}: {replaced[name].format(given=detail['input'])}"
    ours = _called_here(name, parts)
    if ours:
        return f"unknown key '{dotted(place)}': here it is {ours}"
    return f"unknown key '{dotted(place)}'{suggest(name, fields_of(hint).keys() - {name})}"


def _called_here(name: str, parts: Sequence[tuple[Place, Mapping[str, Any]]]) -> str:
    """Return the whole key that does what one of another toolkit does; empty where there is none.

    Args:
        parts: the places around the key, from the outside in, and the fields that each has.
    """
    for place, fields in reversed(parts):
        keys = []
        for key in called_here(name):
            first, _, rest = key.partition(".")
            if first in fields:
                keys.append(dotted((*place, key)))
            elif rest in fields:
                keys.append(dotted((*place, rest)))
        online = CALLED_ONLINE.get(name, "")
        if online.partition(".")[0] in fields:
            keys.append(dotted((*place, online)))
        if keys:
            return " and ".join(keys)
    return " and ".join(f"policies.NAME.{key}" for key in called_here(name))


def _other_choice(prefix: str, given: object, expected: str) -> str:
    choices = re.findall(r"'([^']*)'", expected)
    near = difflib.get_close_matches(str(given), choices, n=1)
    message = f"{prefix}{SHOULD_BE}{expected}"
    return f"{message}{HINT}'{near[0]}'?" if near else message


def _joined(messages: list[str]) -> str:
    """Join several messages about one value: "'lr' is 'x', should be a number or 'auto'"."""
    first, *others = dict.fromkeys(text.partition(HINT)[0] for text in messages)
    hints = [text[text.index(HINT) :] for text in messages if HINT in text]
    if SHOULD_BE in first:
        choices = [text.partition(SHOULD_BE)[2] for text in others if SHOULD_BE in text]
        first = " or ".join([first, *choices])
    return first + "".join(hints[:1])
