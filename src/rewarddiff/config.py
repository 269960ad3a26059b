"""Recipes: YAML and dotted overrides in, nested frozen dataclasses out, and back again.

Each component keeps its options in a frozen dataclass of its own; a recipe nests them. The
annotations are the rules: an unknown key, a value of another type or a choice that does not exist
is a `UserError` of one line that names the place and the mend. No torch here.

Numbers and booleans are read as YAML 1.2 has them: `1e-6` is a number, `no` and `on` are words.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import functools
import inspect
import json
import math
import re
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import eq
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from rewarddiff.errors import UserError, suggest
from rewarddiff.paths import user_path

T = TypeVar("T")
HINT = " – did you mean "
Place = tuple[str | int, ...]
"""Where a value stands in a recipe: keys and positions from the outside in."""


def load_recipe(
    recipe: str | Path | Mapping[str, Any], overrides: Sequence[str], schema: type[T]
) -> T:
    """Read a recipe, apply `a.b.c=value` overrides in order, and check it against `schema`.

    A mapping given for a nested dataclass replaces the keys it names; the others keep the default.
    Where one of several dataclasses is meant, each with a `name` of its own (`name:
    Literal["dpo"]`), its name alone will do.

    Args:
        recipe: a YAML (or JSON) file, or its content as a mapping.
        overrides: `dotted.key=value`, the value written as in YAML; a number as key counts into a
            list. Null takes an entry with a name of its own out, as in `scorers.margin=null`.
        schema: a dataclass.

    Raises:
        UserError: naming the file (or the override), the key and the mend; the first problem and
            how many more.
    """
    source = "recipe" if isinstance(recipe, Mapping) else str(recipe)
    given = recipe if isinstance(recipe, Mapping) else read_recipe(recipe)
    try:
        data = json.loads(
            json.dumps(given, default=str)
        )  # a copy in which aliased parts are no longer shared
    except ValueError as error:
        raise UserError(
            f"{source}: contains itself, an alias points to a mapping around it"
        ) from error
    places = {_override(data, text, schema): text for text in overrides}
    return _validated(data, schema, source, places)


def _validated(
    data: Any, schema: type[T], source: str, places: Mapping[Place, str] | None = None
) -> T:
    """`data` as the dataclass `schema`; errors name the source, or the override whose place it
    was."""
    text = json.dumps([_completed(schema, data)])
    try:
        config = cast(T, _adapter(cast(Any, schema)).validate_json(text)[0])
    except ValidationError as error:
        problems = list(_problems(error, json.loads(text), schema))
    else:
        problems = list(_not_finite(config))
        if not problems:
            return config
    place, message = problems[0]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    culprits = [
        f"override '{text}'" for key, text in (places or {}).items() if all(map(eq, key, place))
    ]
    raise UserError(f"{culprits[-1] if culprits else source}: {message}{more}")


@functools.cache
def _adapter(schema: Any) -> TypeAdapter[list[Any]]:
    """What validates JSON of a list of one `schema`, strictly; making one takes milliseconds.

    A list may become a tuple and a string a path, but "3" is no number and true is no 1. It is a
    list because pydantic only takes the setting that refuses unknown keys for types that are not
    dataclasses.
    """
    return TypeAdapter(list[schema], config=ConfigDict(extra="forbid", strict=True))


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    """The annotations of a dataclass, resolved."""
    return get_type_hints(cls, include_extras=True)


def checked(cls: type[T]) -> type[T]:
    """Class decorator: a configuration made in Python obeys the same rules as one in a recipe.

    Stands above `@dataclass(frozen=True)`. A value of another type or a choice that does not exist
    is a UserError when the configuration is made; the name of a dataclass will do for one with its
    defaults.
    """
    make, signature = cls.__init__, inspect.signature(cls)

    @functools.wraps(make)
    def __init__(self: T, *args: Any, **options: Any) -> None:
        given = {**dict(zip(signature.parameters, args, strict=False)), **options}
        plain = {name: to_dict(value) for name, value in given.items()}
        read = _validated(plain, _fields_alone(cast(Any, cls)), cls.__name__)
        bound = signature.bind(*args, **options)
        make(self, **{name: getattr(read, name) for name in bound.arguments})

    setattr(cls, "__init__", __init__)  # noqa: B010  (mypy refuses the plain assignment)
    return cls


@functools.cache
def _fields_alone(cls: Any) -> Any:
    """A dataclass with the same fields and defaults, and none of the rules that hold between
    them."""
    fields = []
    for name, hint in _fields(cls).items():
        fields.append(
            (name, hint, dataclasses.field(default_factory=functools.partial(_default, cls, name)))
        )
    return dataclasses.make_dataclass(cls.__name__, fields)


def to_dict(config: object) -> Any:
    """A configuration as plain data (dicts, lists, strings, numbers), as `load_recipe` reads it."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {
            f.name: to_dict(getattr(config, f.name)) for f in dataclasses.fields(config) if f.init
        }
    if isinstance(config, Mapping):
        return {str(key): to_dict(value) for key, value in config.items()}
    if isinstance(config, enum.Enum):
        return to_dict(config.value)
    if isinstance(config, (list, tuple, set, frozenset)):
        return [to_dict(item) for item in config]
    return str(config) if isinstance(config, Path) else config


def dump_yaml(config: object) -> str:
    """A configuration as YAML, in the order of its fields; `load_recipe` gives the same
    configuration back."""
    return yaml.dump(to_dict(config), Dumper=_Dumper, sort_keys=False, width=120)


def at_least(config: object, least: float, *names: str) -> None:
    """Raise a ValueError unless these fields of a dataclass are None or numbers of at least
    `least`."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not value >= least:
            raise ValueError(f"{name} is {value}, should be at least {least}")


def positive(config: object, *names: str) -> None:
    """Raise a ValueError unless these fields of a dataclass are None or finite numbers above 0."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"{name} is {value}, should be above 0 and finite")


# --- reading YAML ---------------------------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """YAML with the words and numbers of its version 1.2, and no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    None, None, f"key '{key.value}' stands twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes exactly the strings that `_Loader` would read as something else."""

    def ignore_aliases(self, data: object) -> bool:
        return True


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    (
        "float",
        r"[-+]?(([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.(inf|Inf|INF))|\.(nan|NaN|NAN)",
        list("-+0123456789."),
    ),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first
    )
_Dumper.yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


def _parse(text: str, source: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark and "\n" in text else ""
        raise UserError(
            f"{source}{line}: not valid YAML: {error.problem or error.context}"
        ) from error
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from error


def read_recipe(recipe: str | Path) -> dict[str, Any]:
    """The content of a recipe's file, not checked yet.

    Raises:
        UserError: it cannot be read, or is no mapping in YAML.
    """
    path = user_path(recipe)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot read the recipe ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: not a text file (byte {error.start} is not UTF-8); a recipe is YAML"
        ) from error
    data = _parse(text, str(path))
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise UserError(
            f"{path}: a recipe is a mapping of keys to values, found a {type(data).__name__}"
        )
    return data


# --- walking a schema -----------------------------------------------------------------------------------------------


def _members(hint: Any) -> Iterator[Any]:
    """The types a value may have: unions and annotations taken apart."""
    origin = get_origin(hint)
    if origin is Annotated:
        yield from _members(get_args(hint)[0])
    elif origin in (Union, types.UnionType):
        for member in get_args(hint):
            yield from _members(member)
    else:
        yield hint


def _dataclasses(hint: Any) -> list[Any]:
    return [member for member in _members(hint) if dataclasses.is_dataclass(member)]


def _fields(hint: Any) -> dict[str, Any]:
    """Names and types of all fields the dataclasses in `hint` have."""
    fields: dict[str, Any] = {}
    for cls in _dataclasses(hint):
        hints = _hints(cls)
        fields |= {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}
    return fields


def _inside(hint: Any, part: str | int) -> Any:
    """The type of what stands under key or position `part` of a `hint`; Any where nothing is
    known."""
    fields = _fields(hint)
    if part in fields:
        return fields[str(part)]
    for member in _members(hint):
        origin, args = get_origin(member), get_args(member)
        if isinstance(origin, type) and args:
            if issubclass(origin, Mapping):
                return args[1]
            if isinstance(part, int):
                return (
                    args[part]
                    if origin is tuple and args[-1] is not Ellipsis and part < len(args)
                    else args[0]
                )
    return Any


def _default(hint: Any, name: str) -> Any:
    """The default of field `name` in the only dataclass of `hint`; None where there is none."""
    classes = _dataclasses(hint)
    for field in dataclasses.fields(classes[0]) if len(classes) == 1 else ():
        if field.name == name and field.default is not dataclasses.MISSING:
            return field.default
        if field.name == name and field.default_factory is not dataclasses.MISSING:
            return field.default_factory()
    return None


def _completed(hint: Any, value: Any) -> Any:
    """`value` with the keys it leaves out of a dataclass taken from the default which it
    replaces."""
    if isinstance(value, list):
        return [_completed(_inside(hint, i), item) for i, item in enumerate(value)]
    value = _named(hint, value)
    if not isinstance(value, Mapping):
        return value
    hint = _meant(hint, value)
    result = {}
    for key, item in value.items():
        inner, default = _inside(hint, key), _default(hint, key)
        if len(_dataclasses(inner)) == 1:
            item = _over(default, item)
        elif isinstance(item, Mapping) and _names(type(default)):
            item = {"name": default.name, **item}
        result[key] = _completed(inner, item)
    return result


def _names(cls: Any) -> tuple[str, ...]:
    """What the `name` of a dataclass may be, where the type of that field says so."""
    hint = _hints(cast(Any, cls)).get("name") if dataclasses.is_dataclass(cls) else None
    return get_args(hint) if get_origin(hint) is Literal else ()


def _named(hint: Any, value: Any) -> Any:
    """A word that names one of the dataclasses in `hint` as a mapping; anything else as it is."""
    named = isinstance(value, str) and any(_names(cls) for cls in _dataclasses(hint))
    return {"name": value} if named else value


def _meant(hint: Any, value: Mapping[str, Any]) -> Any:
    """The dataclass that `value` names, or else `hint`."""
    named = [cls for cls in _dataclasses(hint) if value.get("name") in _names(cls)]
    return named[0] if named else hint


def _over(default: object, value: Any) -> Any:
    if not (dataclasses.is_dataclass(default) and isinstance(value, Mapping)):
        return value
    return {
        **to_dict(default),
        **{key: _over(getattr(default, str(key), None), item) for key, item in value.items()},
    }


# --- overrides ------------------------------------------------------------------------------------------------------


def _override(data: dict[str, Any], text: str, schema: Any) -> Place:
    """Set `a.b.c=value` in `data`, and return its place; null takes an entry out of a mapping of
    named ones."""
    key, equals, written = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise UserError(f"override '{text}': expected key=value, as in train.lr=1e-5")
    value = _parse(written, f"override '{text}'")
    node: Any = data
    hint: Any = schema
    place: Place = ()
    for i, name in enumerate(parts):
        part = _part(node, name, place, text)
        place = (*place, part)
        if i == len(parts) - 1 and value is None and _holds_named(hint):
            if part not in node:
                raise _unknown(text, name, place[:-1], node)
            del node[part]
            return place
        if i == len(parts) - 1:
            node[part] = value
        elif isinstance(node, dict) and node.get(part) is None:
            node[part] = _opened(hint, node, name, place[:-1], text)
        elif isinstance(node, dict):
            node[part] = _named(_inside(hint, part), node[part])
        node, hint = node[part], _inside(hint, part)
    return place


def _unknown(text: str, name: str, place: Place, node: Iterable[str]) -> UserError:
    return UserError(
        f"override '{text}': nothing is called '{name}' in '{_dotted(place)}'{suggest(name, node)}"
    )


def _holds_named(hint: Any) -> bool:
    """Whether a value is a mapping from names to dataclasses, such as scorers."""
    return not _dataclasses(hint) and bool(_dataclasses(_inside(hint, "")))


def _part(node: Any, name: str, place: Place, text: str) -> str | int:
    """`name` as a key or a position of `node`, which stands at `place`."""
    if isinstance(node, dict):
        return name
    if not isinstance(node, list):
        raise UserError(
            f"override '{text}': '{_dotted(place)}' is {_shown(node)}, there is no '{name}' in it"
        )
    if not (name.isdigit() and int(name) < len(node)):
        raise UserError(
            f"override '{text}': '{_dotted(place)}' is a list of {len(node)}; name one as 0, 1, …"
        )
    return int(name)


def _opened(hint: Any, node: dict[str, Any], name: str, place: Place, text: str) -> Any:
    """What an override of something inside key `name` starts from, where the recipe itself does not
    give it."""
    if not _dataclasses(hint) and hint is not Any:
        raise _unknown(text, name, place, node)
    default = _default(hint, name)
    return to_dict(default) if isinstance(default, (Mapping, list, tuple)) else {}


# --- problems -------------------------------------------------------------------------------------------------------


def _not_finite(value: object, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Place and message of every number in a configuration that is infinite or NaN: no key means
    anything by one."""
    if isinstance(value, float) and not math.isfinite(value):
        yield place, f"'{_dotted(place)}' is {value}, should be a finite number"
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from _not_finite(getattr(value, field.name), (*place, field.name))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _not_finite(key, (*place, str(key)))
            yield from _not_finite(item, (*place, str(key)))
    elif isinstance(value, (list, tuple)):
        for position, item in enumerate(value):
            yield from _not_finite(item, (*place, position))


def _problems(error: ValidationError, data: list[Any], schema: Any) -> Iterator[tuple[Place, str]]:
    """Place and message of every problem, one a place, in the order of the recipe's fields.

    Where a value may have several types, pydantic lists what each of them finds amiss: the type
    with the fewest problems is taken to be the one that was meant.
    """
    found: dict[Place, dict[Place, list[tuple[Place, Any]]]] = {}
    for detail in error.errors(include_url=False):
        place, union, branch = _locate(detail["loc"], data, last_is_key=detail["type"] == "missing")
        found.setdefault(union if branch else place, {}).setdefault(branch, []).append(
            (place, detail)
        )
    for start, branches in found.items():
        least = min(_unlikeliness(start, problems) for problems in branches.values())
        likely = [
            problems for problems in branches.values() if _unlikeliness(start, problems) == least
        ]
        chosen = (
            likely[0] if least[1] > 1 else [problem for problems in likely for problem in problems]
        )
        messages: dict[Place, list[str]] = {}
        for place, detail in chosen:
            messages.setdefault(place, []).append(_message(place[1:], detail, schema))
        for place, texts in messages.items():
            yield place[1:], _joined(texts)


def _unlikeliness(start: Place, problems: list[tuple[Place, Any]]) -> tuple[bool, int]:
    """How unlikely it is that this type was meant: one whose inner `Literal` says otherwise; then
    by the count."""
    other_kind = any(
        detail["type"] == "literal_error" and place != start for place, detail in problems
    )
    return other_kind, len(problems)


def _locate(loc: Place, data: Any, *, last_is_key: bool) -> tuple[Place, Place, Place]:
    """Split pydantic's location into the place in the data, the place of the first union on the
    way, and the branch."""
    place: Place = ()
    union: Place = ()
    branch: Place = ()
    for i, part in enumerate(loc):
        missing_key = last_is_key and i == len(loc) - 1
        here = (
            part in data
            if isinstance(data, dict)
            else isinstance(data, list) and isinstance(part, int)
        )
        if here or missing_key:
            place = (*place, part)
            data = data[part] if here else None
        else:
            union = union if branch else place
            branch = (*branch, part)
    return place, union, branch


def _message(place: Place, detail: Any, schema: Any) -> str:
    key, given = _dotted(place) or "the recipe", _shown(detail["input"])
    match detail["type"]:
        case "missing":
            return f"key '{key}' is missing"
        case "unexpected_keyword_argument":
            hint = schema
            for part in place[:-1]:
                hint = _inside(hint, part)
            return (
                f"unknown key '{key}'{suggest(str(place[-1]), _fields(hint).keys() - {place[-1]})}"
            )
        case "literal_error" | "enum":
            expected = detail["ctx"]["expected"]
            near = difflib.get_close_matches(
                str(detail["input"]), re.findall(r"'([^']*)'", expected), n=1
            )
            return f"'{key}' is {given}, should be {expected}" + (
                f"{HINT}'{near[0]}'?" if near else ""
            )
        case "value_error" | "assertion_error":
            return f"'{key}': {detail['ctx']['error']}"
        case "dataclass_type" | "dict_type":
            return f"'{key}' is {given}, should be a mapping of keys to values"
        case "list_type" | "tuple_type":
            return f"'{key}' is {given}, should be a list"
        case "bool_type":
            return f"'{key}' is {given}, should be true or false"
        case "int_type" | "int_from_float":
            return f"'{key}' is {given}, should be a whole number"
    return f"'{key}' is {given}, {detail['msg'].replace('Input should', 'should').replace(' valid', '')}"


def _joined(messages: list[str]) -> str:
    """Several messages about one value as one: "'lr' is 'x', should be a number or 'auto'"."""
    first, *others = dict.fromkeys(text.partition(HINT)[0] for text in messages)
    nearest = [HINT + text.partition(HINT)[2] for text in messages if HINT in text]
    ends = [text.split(", should be ", 1)[1] for text in others if ", should be " in text]
    choices = " or ".join([first, *ends]) if ", should be " in first else first
    return choices + "".join(nearest[:1])


def _dotted(place: Place) -> str:
    return ".".join(map(str, place))


def _shown(value: object) -> str:
    text = (
        "empty"
        if value is None
        else f"'{value}'"
        if isinstance(value, str)
        else json.dumps(value, default=str)
    )
    return text if len(text) <= 60 else f"{text[:57]}…"
