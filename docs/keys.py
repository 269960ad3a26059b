"""Every key of a recipe with its default and what it means, from the dataclasses that read it.

python docs/keys.py     # writes docs/keys.md
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from rewarddiff.config import to_dict
from rewarddiff.lab import LabConfig
from rewarddiff.lab.online.config import OnlineLabConfig
from rewarddiff.lab.online.offline import OfflineLabConfig
from rewarddiff.pipeline.augment import AugmentConfig
from rewarddiff.pipeline.baseline import BaselineConfig
from rewarddiff.pipeline.best_of_n import BestOfConfig
from rewarddiff.pipeline.recipe import Recipe
from rewarddiff.pipeline.scoring import WeighConfig

HEAD = """# Keys

Every key of a recipe (`rewarddiff run RECIPE key=value`), with its default; `rewarddiff run RECIPE --print` shows those
of one recipe with their values. A key that does not exist is refused with the nearest one that does. Symbols of an
objective are those of its equation in [papers.md](papers.md). Written by `python docs/keys.py`.
"""


def members(hint: Any) -> list[Any]:
    """The types a value may have."""
    if get_origin(hint) is Annotated:
        return members(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        return [inner for member in get_args(hint) for inner in members(member)]
    if _maps(hint):
        return [hint, *members(get_args(hint)[1])]
    return [hint]


def _maps(hint: Any) -> bool:
    origin = get_origin(hint)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def described(cls: Any) -> dict[str, str]:
    """Field → what its class's docstring says of it, the class's own bases included."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        own = inspect.getdoc(base) if dataclasses.is_dataclass(base) else None
        if own and "Attributes:" in own:
            names = {f.name for f in dataclasses.fields(base)}
            text = inspect.cleandoc(own.split("Attributes:", 1)[1].split("\n\n", 1)[0])
            for paragraph in re.split(r"\n(?! )", text):
                found |= _entries(" ".join(paragraph.split()), names)
    return found


def _entries(paragraph: str, names: set[str]) -> dict[str, str]:
    """`a, b: what. c: what.` → each of the names with its text."""
    starts = [
        m
        for m in re.finditer(r"(?:(?<=^)|(?<=[.;)] ))(\w+(?:, \w+)*): ", paragraph)
        if all(name in names for name in m.group(1).split(", "))
    ]
    ends = [*(m.start() for m in starts[1:]), len(paragraph)]
    return {
        name: paragraph[m.end() : end].strip()
        for m, end in zip(starts, ends, strict=True)
        for name in m.group(1).split(", ")
    }


def start(field: dataclasses.Field[Any], of: Any = None) -> Any:
    """A field's value in the object it is part of by default, or else its own default; MISSING
    where it needs one."""
    if of is not None:
        return getattr(of, field.name)
    return (
        field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    )


def default(value: Any) -> str:
    if value is dataclasses.MISSING:
        return "needed"
    if dataclasses.is_dataclass(value):
        name = getattr(value, "name", None)
        return f"`{name}`" if name else "see below"
    plain = to_dict(value) if isinstance(value, Mapping | tuple | list) else value
    shown = (
        {None: "none", True: "true", False: "false"}.get(plain)
        if isinstance(plain, bool | None)
        else None
    )
    return f"`{shown or plain!r}`".replace("'", '"') if shown is None else shown


def choices(hint: Any) -> str:
    words = [
        str(word)
        for member in members(hint)
        if get_origin(member) is Literal
        for word in get_args(member)
    ]
    return ", ".join(f"`{word}`" for word in words) if len(words) > 1 else ""


def section(cls: Any, place: str, of: Any) -> list[str]:
    hints, texts = get_type_hints(cls, include_extras=True), described(cls)
    summary = " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())
    rows = [
        f"## `{place}`" if place else "## A recipe",
        "",
        summary,
        "",
        "| key | default | |",
        "| --- | --- | --- |",
    ]
    for field in dataclasses.fields(cls):
        if not field.init or (
            field.name == "name" and choices(hints["name"]) == "" and cls is not Recipe
        ):
            continue
        told = texts.get(field.name, "")
        words = choices(hints[field.name])
        note = ". ".join(part for part in (f"One of {words}" if words else "", told) if part)
        rows.append(
            f"| `{field.name}` | {default(start(field, of))} | {note.replace('|', chr(92) + '|')} |"
        )
    return [*rows, ""]


def walk(cls: Any, place: str, seen: dict[Any, str], of: Any = None) -> list[str]:
    kind = cls, repr(_plain(cls) if of is None else of)
    if kind in seen:
        return [f"## `{place}`", "", f"As `{seen[kind]}`.", ""]
    seen[kind] = place
    lines = section(cls, place, of)
    hints = get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(cls):
        own = start(field, of)
        inner = [
            member for member in members(hints[field.name]) if dataclasses.is_dataclass(member)
        ]
        mapped = any(map(_maps, members(hints[field.name])))
        for found in inner:
            there = ".".join(part for part in (place, field.name, "NAME" if mapped else "") if part)
            if len(inner) > 1:
                there += tag(found)
            lines += walk(found, there, seen, own if type(own) is found else None)
    return lines


def tag(cls: Any) -> str:
    """What tells a class from the others of its union, where that is one word."""
    hints = get_type_hints(cls)
    names = get_args(hints.get("name"))
    if names:
        return f"={names[0]}"
    for key in ("kind", "method"):
        words = get_args(hints.get(key))
        if len(words) == 1:
            return f".{key}={words[0]}"
    return ""


def _plain(cls: Any) -> Any:
    """What a class makes of nothing, where it can."""
    try:
        return cls()
    except (TypeError, ValueError):
        return None


def text() -> str:
    """The page."""
    lines = walk(Recipe, "", {})
    for command, cls in (
        ("augment", AugmentConfig),
        ("baseline", BaselineConfig),
        ("bestof", BestOfConfig),
        ("weigh", WeighConfig),
        ("lab", LabConfig),
        ("lab online", OnlineLabConfig),
        ("lab offline", OfflineLabConfig),
    ):
        lines += [f"# Of `rewarddiff {command}`", "", *walk(cls, "", {})[2:]]
    return "\n".join([HEAD, *lines]).rstrip() + "\n"


def main() -> None:
    (Path(__file__).parent / "keys.md").write_text(text())


if __name__ == "__main__":
    main()
