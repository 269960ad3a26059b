"""A recipe, or a dataclass made in Python, checked against its annotations."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError

from rewarddiff.config.overrides import apply_override, expanded
from rewarddiff.config.plain import plain, require_small
from rewarddiff.config.problems import not_finite, problems
from rewarddiff.config.schema import Place, completed, fields_alone, to_dict
from rewarddiff.config.written import read_recipe
from rewarddiff.errors import UserError
from rewarddiff.writing import cut

T = TypeVar("T")


def load_recipe(
    recipe: str | Path | Mapping[str, Any], overrides: Sequence[str], schema: type[T]
) -> T:
    """Read a recipe, apply `a.b.c=value` overrides in order, and check it against `schema`.

    A mapping given for a nested dataclass replaces the keys it names; the others keep the default.
    Where one of several dataclasses is meant, each with a `name` of its own (`name:
    Literal["dpo"]`), its name alone will do. The same holds for a `kind` or a `method`; a mapping
    without one is the first of them.

    Args:
        recipe: a YAML (or JSON) file, or its content as a mapping.
        overrides: `dotted.key=value`, the value written as in YAML; a number as key counts into a
            list. Null removes a named entry, as in `scorers.margin=null`. A `*` stands for every
            entry, as in `scorers.*.train.max_steps=100`.
        schema: a dataclass.

    Raises:
        UserError: naming the file (or the override), the key and the fix; the first problem and
            how many more.
    """
    if isinstance(recipe, Mapping):
        source, content = "recipe", recipe
    else:
        source, content = str(recipe), read_recipe(recipe)
    data = plain(content, source)
    override_at: dict[Place, str] = {}
    for given in overrides:
        for override in expanded(data, given):
            place = apply_override(data, override, schema)  # changes the data
            override_at[place] = override
    require_small(data, source)
    return _validated(data, schema, source, override_at)


_schema_of_fields = functools.cache(fields_alone)
"""The fields of a dataclass without its __init__, which would call itself here."""


def checked(cls: type[T]) -> type[T]:
    """Decorate a dataclass so that it obeys the same rules in Python as in a recipe.

    Stands above `@dataclass(frozen=True)`. A value of another type or a choice that does not exist
    is a UserError when the configuration is made; the name of a dataclass will do for one with its
    defaults.
    """
    make = cls.__init__
    signature = inspect.signature(cls)

    @functools.wraps(make)
    def __init__(self: T, *args: Any, **options: Any) -> None:
        arguments = {**dict(zip(signature.parameters, args, strict=False)), **options}
        as_data = {name: to_dict(value) for name, value in arguments.items()}
        config = _validated(as_data, _schema_of_fields(cast(Any, cls)), cls.__name__, {})
        # Python's own TypeError for an argument that is missing or one too many.
        bound = signature.bind(*args, **options)
        make(self, **{name: getattr(config, name) for name in bound.arguments})

    setattr(cls, "__init__", __init__)  # noqa: B010  (mypy refuses the plain assignment)
    return cls


def _validated(data: Any, schema: type[T], source: str, override_at: Mapping[Place, str]) -> T:
    """Return `data` as the dataclass `schema`.

    Args:
        source: what errors name.
        override_at: the overrides by their place; an error at one of them names the override
            instead.
    """
    text = json.dumps([completed(schema, data)])  # a list of one: see `_adapter`
    try:
        config = cast(T, _adapter(cast(Any, schema)).validate_json(text)[0])
    except ValidationError as error:
        faults = list(problems(error, json.loads(text), schema))
    else:
        faults = list(not_finite(config))
        if not faults:
            return config
    place, message = faults[0]
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    for overridden, override in override_at.items():
        if _holds_the_other(overridden, place):
            source = (
                f"override '{cut(override)}'"  # of several the last one, which had the last word
            )
    raise UserError(f"{source}: {message}{more}")


def _holds_the_other(one: Place, other: Place) -> bool:
    """Return whether two places are the same, or one lies inside the other."""
    depth = min(len(one), len(other))
    return one[:depth] == other[:depth]


@functools.cache
def _adapter(schema: Any) -> TypeAdapter[list[Any]]:
    """Return a strict validator of a JSON list that holds one `schema`; making it takes a moment.

    A list may become a tuple and a string a path, but "3" is no number and true is no 1. It is a
    list because pydantic only takes the setting that refuses unknown keys for types that are not
    dataclasses.
    """
    return TypeAdapter(list[schema], config=ConfigDict(extra="forbid", strict=True))
