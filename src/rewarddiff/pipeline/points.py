"""What a sweep asks for: keys with several values in, recipes whose policies are the points of the
sweep out."""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from rewarddiff.config import load_recipe, to_dict
from rewarddiff.errors import UserError
from rewarddiff.paths import as_name
from rewarddiff.pipeline.recipe import BASE, PolicyRecipe, Recipe

COLUMNS = ("order", "coefficient", "strength")
"""Keys of a policy that only concern policies which have them."""

MOST = 10_000
"""More values than this of one key are taken for a slip."""


@dataclass(frozen=True)
class Axis:
    """A key, and its values as they were written."""

    key: str
    values: tuple[str, ...]

    @property
    def spans(self) -> bool:
        """Whether it is swept; one value alone is an override. Seeds are not points: intervals are
        over them."""
        return len(self.values) > 1 and self.key != "seed"

    def short(self, value: str) -> str:
        """A value as part of a folder's name: itself, or its place where that is long, or like that
        of another."""
        texts = [as_name(value) for value in self.values]
        place = self.values.index(value)
        text = texts[place]
        return text if 0 < len(text) <= 32 and texts.count(text) == 1 else str(place + 1)


@dataclass(frozen=True)
class Point:
    """A policy of the recipe with its settings.

    Attributes:
        policy: its name in the recipe. name: in the expanded recipe; points that come to the same
            share one.
        settings: value by key, of the keys that are swept and concern it.
        against: the policy it is held against: the unweighted one with the same settings, or the
            base model.
        controls: the policies that differ from it by their control alone.
        control: its own.
    """

    policy: str
    name: str
    settings: Mapping[str, str]
    against: str = BASE
    controls: tuple[str, ...] = ()
    control: str | None = None


@dataclass(frozen=True)
class Variant:
    """One run of a sweep: a recipe whose policies are points.

    Attributes:
        label: its folder under runs/; empty for the only one, which lies in the sweep's own folder.
        settings: of the swept keys that are not of policies.
    """

    label: str
    settings: Mapping[str, str]
    recipe: Recipe
    points: tuple[Point, ...]

    @property
    def folder(self) -> Path:
        assert self.recipe.output is not None
        return Path(self.recipe.output)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The policies to hold against each other."""
        own = [(p.name, p.against) for p in self.points if p.name != p.against]
        return list(
            dict.fromkeys(
                [*own, *((p.name, control) for p in self.points for control in p.controls)]
            )
        )


@dataclass(frozen=True)
class Sweep:
    """All runs of a sweep.

    Attributes:
        labels: what an axis is called in names and tables, by key.
    """

    name: str
    folder: Path
    axes: tuple[Axis, ...]
    variants: tuple[Variant, ...]
    labels: Mapping[str, str] = field(default_factory=dict)

    def trainings(self) -> list[Path]:
        """The folders of all policies to be trained."""
        return [
            variant.folder / "policies" / f"{name}-{seed}"
            for variant in self.variants
            for name in variant.recipe.policies
            for seed in variant.recipe.seeds
        ]


def plan(recipe: str | Path | Mapping[str, Any], overrides: Sequence[str]) -> Sweep:
    """All runs of a sweep.

    A key of the recipe itself makes a run for each of its values. A key of policies (in full,
    `policies.NAME.coefficient.alpha`, or short, `coefficient.alpha`, for every policy that has it)
    makes a policy for each of its values. The product of all of them is run.

    Raises:
        UserError: a value that cannot be read, a key that nothing has, nothing to sweep; whatever a
            recipe may be refused for.
    """
    axes = tuple(read_axis(text) for text in overrides)
    keys = [axis.key for axis in axes]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise UserError(f"{twice[0]}: stands twice; give all its values at once, as {twice[0]}=a,b")
    if not any(len(axis.values) > 1 for axis in axes):
        raise UserError(
            "nothing to sweep: give a key several values, as coefficient.alpha=0,0.5,1 or seed=0..4"
        )
    for axis in axes:
        if axis.key in ("name", "output") and axis.spans:
            raise UserError(f"{axis.key}: a sweep has one {axis.key}; give one value")
    outer = [axis for axis in axes if not _of_policies(axis.key)]
    inner = [axis for axis in axes if _of_policies(axis.key)]
    labels = _labels([axis.key for axis in axes if axis.spans])
    found: list[Variant] = []
    name, folder = "", Path()
    for values in product(*(axis.values if axis.spans else (_together(axis),) for axis in outer)):
        config = load_recipe(
            recipe, [f"{a.key}={v}" for a, v in zip(outer, values, strict=True)], Recipe
        )
        config.check()
        name = config.name
        folder = config.folder
        folder = folder if "output" in keys else folder.with_name(f"{folder.name}-sweep")
        own = {a: v for a, v in zip(outer, values, strict=True) if a.spans}
        label = "-".join(
            f"{as_name(labels[axis.key])}-{axis.short(value)}" for axis, value in own.items()
        )
        place = folder / "runs" / label if label else folder
        policies, points = expand(config, inner, labels)
        expanded = replace(config, policies=policies, output=str(place))
        expanded.check()
        found.append(Variant(label, {a.key: v for a, v in own.items()}, expanded, points))
    return Sweep(name, folder, axes, tuple(found), labels)


# --- reading --------------------------------------------------------------------------------------------------------


def read_axis(text: str) -> Axis:
    """`key=a,b` or `key=0..4`; a list in brackets is one value.

    >>> read_axis("seed=0..2,7").values
    ('0', '1', '2', '7')
    >>> read_axis("data.splits={train: 0.5, test: 0.5},{train: 0.7, test: 0.3}").values
    ('{train: 0.5, test: 0.5}', '{train: 0.7, test: 0.3}')
    """
    key, equals, written = text.partition("=")
    key = key.strip()
    if not equals or not all(key.split(".")):
        raise UserError(
            f"'{text}': expected key=value, or key=value,value as in coefficient.alpha=0,0.5,1"
        )
    values = [value for piece in _pieces(written) for value in _ranged(piece.strip(), text)]
    if not any(values):
        raise UserError(f"'{text}': an empty list; give at least one value (null for none)")
    if not all(values):
        raise UserError(f"'{text}': there is an empty value between its commas")
    numbers = [number(value) for value in values]
    if twice := [v for v, n in zip(values, numbers, strict=True) if numbers.count(n) > 1]:
        raise UserError(f"'{text}': the value {twice[-1]} stands twice")
    return Axis(key, tuple(values))


def number(value: str) -> float | str:
    """A value as a number, where it is one."""
    return float(value) if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", value) else value


def _pieces(written: str) -> list[str]:
    """Parted at the commas that stand in no brackets and no quotes."""
    pieces, depth, quote, before = [""], 0, "", ","
    for char in written:
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"" and before in ",[{: ":
            quote = char
        else:
            depth = max(0, depth + (char in "[{") - (char in "]}"))
        if char == "," and not depth and not quote:
            pieces.append("")
        else:
            pieces[-1] += char
        before = char
    return pieces


def _ranged(piece: str, text: str) -> Iterator[str]:
    """The whole numbers of a range, both ends included; anything else as it is."""
    found = re.fullmatch(r"(-?\d+)\.\.(-?\d+)", piece)
    if found is None:
        yield piece
        return
    first, last = int(found[1]), int(found[2])
    if not first <= last:
        raise UserError(f"'{text}': the range {piece} is empty; the smaller number comes first")
    if last - first >= MOST:
        raise UserError(f"'{text}': the range {piece} has more than {MOST} values")
    yield from map(str, range(first, last + 1))


def _together(axis: Axis) -> str:
    """The one value of an axis that is not swept; seeds become the recipe's list of seeds."""
    return axis.values[0] if len(axis.values) == 1 else f"[{', '.join(axis.values)}]"


def _labels(keys: Sequence[str]) -> dict[str, str]:
    """The end of each key that no other key ends with: alpha, or coefficient.alpha beside
    lora.alpha."""
    found = {}
    for key in keys:
        parts = key.split(".")
        tails = [".".join(parts[i:]) for i in reversed(range(len(parts)))]
        others = [other for other in keys if other != key]
        found[key] = next(
            (t for t in tails if not any(f".{o}".endswith(f".{t}") for o in others)), key
        )
    return found


# --- expanding ------------------------------------------------------------------------------------------------------


def expand(
    recipe: Recipe, axes: Sequence[Axis], labels: Mapping[str, str]
) -> tuple[dict[str, PolicyRecipe], tuple[Point, ...]]:
    """Policies by name, and the points they stand for, in the order of the recipe."""
    concerned = {axis.key: _concerned(axis.key, recipe) for axis in axes}
    policies: dict[str, PolicyRecipe] = {}
    names: dict[str, str] = {}
    points: list[Point] = []
    weighted_last = sorted(
        recipe.policies, key=lambda name: recipe.policies[name].coefficient is not None
    )
    for policy in weighted_last:
        own = [axis for axis in axes if policy in concerned[axis.key]]
        for values in product(*(axis.values for axis in own)):
            settings = dict(zip(own, values, strict=True))
            texts = [f"{concerned[axis.key][policy]}={value}" for axis, value in settings.items()]
            given = recipe.policies[policy]
            config = load_recipe(to_dict(given), texts, PolicyRecipe) if texts else given
            told = {axis: value for axis, value in settings.items() if axis.spans}
            name = "-".join(
                [
                    policy,
                    *(f"{labels[axis.key]}-{axis.short(value)}" for axis, value in told.items()),
                ]
            )
            while name in policies or (name != policy and name in recipe.policies):
                name += "+"
            name = names.setdefault(_identity(_plain(config)), name)
            policies.setdefault(name, _plain(config))
            control = config.coefficient.control if config.coefficient is not None else None
            points.append(
                Point(
                    policy, name, {axis.key: value for axis, value in told.items()}, control=control
                )
            )
    order = list(recipe.policies)
    points.sort(key=lambda point: order.index(point.policy))
    policies = {point.name: policies[point.name] for point in points}
    return policies, tuple(_placed(point, policies, names) for point in points)


def _of_policies(key: str) -> bool:
    """Whether it is a policy's key, in short or in full."""
    first, *rest = key.split(".")
    return (
        len(rest) > 1
        if first == "policies"
        else first not in {f.name for f in dataclasses.fields(Recipe)}
    )


def _concerned(key: str, recipe: Recipe) -> dict[str, str]:
    """The policies that a key concerns, and what it is called in them."""
    if key.startswith("policies."):
        inside = key.removeprefix("policies.")
        names = [name for name in recipe.policies if inside.startswith(f"{name}.")]
        if not names:
            near = difflib.get_close_matches(inside.partition(".")[0], recipe.policies, n=1)
            hint = (
                f" – did you mean '{near[0]}'?"
                if near
                else f" – there are: {', '.join(recipe.policies) or 'none'}"
            )
            raise UserError(f"{key}: the recipe has no such policy{hint}")
        name = max(names, key=len)
        return {name: inside.removeprefix(f"{name}.")}
    found = {name: key for name, policy in recipe.policies.items() if key in _keys(policy)}
    if not found:
        raise UserError(
            f"{key}: neither the recipe nor any of its policies has this key{_hint(key, recipe)}"
        )
    return found


def _keys(node: object, before: str = "") -> Iterator[str]:
    """The keys of a policy; those of columns that it does not have are none."""
    for part in dataclasses.fields(node) if dataclasses.is_dataclass(node) else ():
        value, key = getattr(node, part.name), f"{before}{part.name}"
        if part.init and not (value is None and key in COLUMNS):
            yield key
            yield from _keys(value, f"{key}.")


def _hint(key: str, recipe: Recipe) -> str:
    known = list(dict.fromkeys(k for policy in recipe.policies.values() for k in _keys(policy)))
    near = [k for k in known if k.endswith(f".{key}")] or difflib.get_close_matches(key, known, n=1)
    first, dot, rest = key.partition(".")
    rooms = difflib.get_close_matches(first, [f.name for f in dataclasses.fields(Recipe)], n=1)
    near = near or [f"{room}{dot}{rest}" for room in rooms]
    return f" – did you mean '{near[0]}'?" if near else ""


def _plain(policy: PolicyRecipe) -> PolicyRecipe:
    """The unweighted policy in place of one whose every weight is 1: α = 0, unless pairs are
    flipped or dropped."""
    column = policy.coefficient
    same = column is not None and column.alpha == 0 and column.negative not in ("flip", "drop")
    return replace(policy, coefficient=None) if same else policy


def _identity(policy: PolicyRecipe) -> str:
    return json.dumps(to_dict(policy), sort_keys=True)


def _placed(point: Point, policies: Mapping[str, PolicyRecipe], names: Mapping[str, str]) -> Point:
    """A point with what it is held against."""
    own = policies[point.name]
    if own.coefficient is None and own.order is None:
        return replace(point, against=point.name if point.control is not None else BASE)
    plain = [n for n, p in policies.items() if p.coefficient is None and p.order is None]
    alike = [n for n in plain if policies[n].objective.name == own.objective.name]
    against = names.get(_identity(replace(own, coefficient=None, order=None))) or next(
        iter(alike), BASE
    )
    controls = [
        name
        for name, other in policies.items()
        if other.coefficient is not None
        and other.coefficient.control != "none"
        and _but_control(own, other)
    ]
    return replace(
        point, against=against, controls=tuple(controls) if point.control == "none" else ()
    )


def _but_control(a: PolicyRecipe, b: PolicyRecipe) -> bool:
    def bare(policy: PolicyRecipe) -> str:
        assert policy.coefficient is not None
        return _identity(
            replace(policy, coefficient=replace(policy.coefficient, control="none", seed=0))
        )

    return bare(a) == bare(b)
