"""The recipes of a sweep: one recipe at every combination of values."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from rewarddiff.config import load_recipe, to_dict
from rewarddiff.config.elsewhere import called_here
from rewarddiff.errors import UserError
from rewarddiff.paths import as_name, sweep_folder
from rewarddiff.pipeline.axes import Axis, labels, read_axes
from rewarddiff.pipeline.policy_recipe import COLUMNS, PolicyRecipe
from rewarddiff.pipeline.recipe import Recipe

UNWEIGHTED = "-unweighted"
"""What the name of an unweighted policy ends with that was added for α = 0."""


@dataclass(frozen=True)
class Combination:
    """One value of every swept key, and the recipe that has them.

    Attributes:
        settings: value by key.
        label: a name for it, and for its folder.
        recipe: where a coefficient comes to the unweighted method (α = 0), its policy has none.
        controls: by policy, what its coefficient is a control of, as the recipe was written.
    """

    settings: Mapping[str, str]
    label: str
    recipe: Recipe
    controls: Mapping[str, str | None]


@dataclass(frozen=True)
class Sweep:
    """All combinations of a sweep.

    Attributes:
        labels: what an axis is called in names and tables, by key.
        concerned: by key of policies, those that it concerns.
    """

    name: str
    folder: Path
    axes: tuple[Axis, ...]
    combinations: tuple[Combination, ...]
    labels: Mapping[str, str]
    concerned: Mapping[str, frozenset[str]]

    @property
    def swept(self) -> list[Axis]:
        return [axis for axis in self.axes if axis.spans]

    @property
    def trainings(self) -> set[str]:
        """What there is to train for each seed, see `training_of`."""
        return {self.training_of(point) for point in self.points if point.recipe.elsewhere is None}

    @property
    def points(self) -> list[Point]:
        """The policies with the settings that concern them, each once, in the recipe's order."""
        points: dict[tuple[str, tuple[tuple[str, str], ...]], Point] = {}
        for combination in self.combinations:
            for policy in combination.recipe.policies:
                settings = self.settings_of(policy, combination)
                point = Point(policy, settings, combination)
                points.setdefault((policy, tuple(settings.items())), point)
        names = [name for c in self.combinations for name in c.recipe.policies]
        return sorted(points.values(), key=lambda point: names.index(point.policy))

    def training_of(self, point: Point) -> str:
        """Return the same text for points that come to the same policy."""
        settings = point.combination.settings
        shared = {key: value for key, value in settings.items() if key not in self.concerned}
        return json.dumps([shared, to_dict(point.recipe)])

    def settings_of(self, policy: str, combination: Combination) -> dict[str, str]:
        """Return the settings of a combination that concern a policy."""
        return {
            key: value
            for key, value in combination.settings.items()
            if key not in self.concerned or policy in self.concerned[key]
        }


@dataclass(frozen=True)
class Point:
    """A policy at settings of the keys that concern it, and a combination that has it."""

    policy: str
    settings: Mapping[str, str]
    combination: Combination

    @property
    def recipe(self) -> PolicyRecipe:
        return self.combination.recipe.policies[self.policy]

    @property
    def control(self) -> str | None:
        return self.combination.controls[self.policy]

    @property
    def baseline(self) -> str | None:
        """The unweighted policy that this one is, or is held against; None where there is none.

        It is trained alike, or else it has the same objective.
        """
        policies = self.combination.recipe.policies
        plain = [name for name, policy in policies.items() if _is_plain(policy)]
        if self.recipe.elsewhere is not None:
            return None
        if _is_plain(self.recipe):
            return self.policy if self.control is not None else None
        twin = replace(self.recipe, coefficient=None, order=None)
        alike = [name for name in plain if policies[name] == twin]
        same_objective = [name for name in plain if policies[name].method == twin.method]
        return next(iter(alike + same_objective), None)

    @property
    def controls(self) -> list[str]:
        """The policies that differ from this weighted one by their control alone."""
        if self.control != "none" or self.recipe.coefficient is None:
            return []
        policies = self.combination.recipe.policies
        return [
            name
            for name, other in policies.items()
            if other.coefficient is not None
            and other.coefficient.control != "none"
            and _without_control(other) == _without_control(self.recipe)
        ]


def plan(recipe: str | Path | Mapping[str, Any], overrides: Sequence[str]) -> Sweep:
    """Return all combinations of the values of all keys.

    A key is one of the recipe, or a short one (`coefficient.alpha`) for every policy that has it.

    Raises:
        UserError: a value that cannot be read, a key that nothing has, nothing to sweep; whatever
            a recipe may be refused for.
    """
    axes = read_axes(overrides)
    outer = [axis for axis in axes if not _is_of_policies(axis.key)]
    inner = [axis for axis in axes if _is_of_policies(axis.key)]
    names = labels([axis.key for axis in axes if axis.spans])
    first = load_recipe(recipe, [f"{axis.key}={_choices(axis)[0]}" for axis in outer], Recipe)
    keys = {axis.key: _keys_in_policies(axis.key, first) for axis in inner}
    folder = first.folder
    if not any(axis.key == "output" for axis in axes):
        folder = sweep_folder(folder)
    combinations = []
    for values in product(*(_choices(axis) for axis in axes)):
        value_of = dict(zip(axes, values, strict=True))
        config = load_recipe(recipe, [f"{axis.key}={value_of[axis]}" for axis in outer], Recipe)
        config.check()
        policies = dict(config.policies)
        for name, policy in policies.items():
            own = [a for a in inner if name in keys[a.key]]
            texts = [f"{keys[axis.key][name]}={value_of[axis]}" for axis in own]
            if texts:
                policies[name] = load_recipe(to_dict(policy), texts, PolicyRecipe)
        config = replace(config, policies=policies, output=str(folder))
        swept = {axis: value for axis, value in value_of.items() if axis.spans}
        parts = [f"{as_name(names[axis.key])}-{axis.short(value)}" for axis, value in swept.items()]
        settings = {axis.key: value for axis, value in swept.items()}
        combinations.append(_combination(config, settings, "-".join(parts), axes))
    concerned = {key: frozenset(policies) for key, policies in keys.items()}
    return Sweep(first.name, folder, axes, tuple(combinations), names, concerned)


def _combination(
    recipe: Recipe, settings: Mapping[str, str], label: str, axes: Sequence[Axis]
) -> Combination:
    """Return a combination, whose policies of α = 0 are unweighted ones."""
    recipe.check()
    policies = {name: _plain(policy) for name, policy in recipe.policies.items()}
    for name, policy in list(policies.items()) if _sweeps_zero(axes) else ():
        twin = replace(policy, coefficient=None)
        if twin not in policies.values():
            policies[name + UNWEIGHTED] = twin
    controls = dict.fromkeys(policies)
    for name, policy in recipe.policies.items():
        controls[name] = policy.coefficient.control if policy.coefficient else None
    expanded = replace(recipe, policies=policies)
    expanded.check()
    return Combination(settings, label or "all", expanded, controls)


def _sweeps_zero(axes: Sequence[Axis]) -> bool:
    """Tell whether α = 0, the unweighted method, is among the points: then others are held against it."""
    return any(
        axis.key.endswith("coefficient.alpha") and axis.spans and float(value) == 0
        for axis in axes
        for value in axis.values
    )


def _choices(axis: Axis) -> tuple[str, ...]:
    """Return the values of an axis, or the one text of an axis that is not swept."""
    return axis.values if axis.spans else (_together(axis),)


def _together(axis: Axis) -> str:
    """Return the one value of an axis that is not swept; seeds become the recipe's list of seeds."""
    return axis.values[0] if len(axis.values) == 1 else f"[{', '.join(axis.values)}]"


def _is_of_policies(key: str) -> bool:
    """Tell whether a key is one of policies, in short or in full."""
    first, *rest = key.split(".")
    if first == "policies":
        return len(rest) > 1
    return first not in {field.name for field in dataclasses.fields(Recipe)}


def _keys_in_policies(key: str, recipe: Recipe) -> dict[str, str]:
    """Return the policies that a key concerns, and what it is called in them."""
    # `policies.*.KEY` is the long way to write a short key.
    key = key.removeprefix("policies.*.")
    if key.startswith("policies."):
        inside = key.removeprefix("policies.")
        named = [name for name in recipe.policies if inside.startswith(f"{name}.")]
        if not named:
            raise _no_such_policy(key, inside.partition(".")[0], recipe)
        name = max(named, key=len)
        return {name: inside.removeprefix(f"{name}.")}
    keys = {name: key for name, policy in recipe.policies.items() if key in _keys(policy)}
    if not keys:
        raise UserError(
            f"{key}: neither the recipe nor any of its policies has this key{_hint(key, recipe)}"
        )
    return keys


def _no_such_policy(key: str, name: str, recipe: Recipe) -> UserError:
    near = difflib.get_close_matches(name, recipe.policies, n=1)
    hint = f"there are: {', '.join(recipe.policies) or 'none'}"
    if near:
        hint = f"did you mean '{near[0]}'?"
    return UserError(f"{key}: the recipe has no such policy – {hint}")


def _keys(node: object, before: str = "") -> Iterator[str]:
    """Yield the keys of a policy; those of columns that it does not have are none.

    One that was trained elsewhere has one key alone.
    """
    if not dataclasses.is_dataclass(node):
        return
    if isinstance(node, PolicyRecipe) and node.trained is not None:
        yield "trained"
        return
    if isinstance(node, PolicyRecipe) and node.served is not None:
        yield "served"
        yield from _keys(node.served, "served.")
        return
    for part in dataclasses.fields(node):
        value, key = getattr(node, part.name), f"{before}{part.name}"
        absent = value is None and key in COLUMNS
        if part.init and not absent:
            yield key
            yield from _keys(value, f"{key}.")


def _hint(key: str, recipe: Recipe) -> str:
    """Return the nearest key of a policy, or the nearest room of the recipe."""
    keys = [key for policy in recipe.policies.values() for key in _keys(policy)]
    ours = [other for other in called_here(key) if other in keys]
    near = ours or [other for other in keys if other.endswith(f".{key}")]
    near = near or difflib.get_close_matches(key, keys, n=1)
    if not near:
        first, dot, rest = key.partition(".")
        rooms = [field.name for field in dataclasses.fields(Recipe)]
        near = [f"{room}{dot}{rest}" for room in difflib.get_close_matches(first, rooms, n=1)]
    return f" – did you mean '{near[0]}'?" if near else ""


def _is_plain(policy: PolicyRecipe) -> bool:
    is_untreated = policy.coefficient is None and policy.order is None
    return is_untreated and policy.elsewhere is None and policy.compares


def _plain(policy: PolicyRecipe) -> PolicyRecipe:
    """Return the unweighted policy in place of one whose every weight is 1.

    That is α = 0, unless pairs are flipped or dropped.
    """
    column = policy.coefficient
    if column is None or column.alpha != 0 or column.negative in ("flip", "drop"):
        return policy
    return replace(policy, coefficient=None)


def _without_control(policy: PolicyRecipe) -> dict[str, Any]:
    """Return a weighted policy's settings but for what it is a control of."""
    assert policy.coefficient is not None
    column = replace(policy.coefficient, control="none", seed=0)
    settings: dict[str, Any] = to_dict(replace(policy, coefficient=column))
    return settings
