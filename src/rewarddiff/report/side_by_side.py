"""Runs beside each other: which of their figures are of the same thing."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from rewarddiff.results import Results, ScorerResult, ScorerSummary, Settings

Item = TypeVar("Item")
Key = TypeVar("Key", bound=Hashable)

LEFT_OUT = ("name", "output")
"""Keys of a recipe that say where a run lies, and nothing of what it does."""


@dataclass(frozen=True)
class NamedRun:
    """A run or an evaluation, by what the user called it."""

    label: str
    results: Results

    @property
    def recipe(self) -> Settings:
        return self.results.recipe or {}

    @property
    def scorers(self) -> dict[str, frozenset[str]]:
        """What each scorer is, over its seeds: equal ones answer alike."""
        by_name: dict[str, set[str]] = {}
        for line in self.results.scorers:
            by_name.setdefault(line.scorer, set()).add(line.fingerprint)
        return {name: frozenset(fingerprints) for name, fingerprints in by_name.items()}

    @property
    def judges(self) -> dict[str, frozenset[str]]:
        """The same of those that judged policies; of a difference model, which compares samples with
        those of the base model, also what these are."""
        kinds = {line.scorer: line.kind for line in self.results.scorers}
        evaluation = self.recipe.get("evaluation") or {}
        base = f"{self.recipe.get('model')}, {evaluation.get('sampling')}"
        judges = {}
        for name in dict.fromkeys(line.scorer for line in self.results.rewards):
            what = {base} if kinds[name] == "difference" else set()
            judges[name] = self.scorers[name] | what
        return judges


@dataclass(frozen=True)
class Measured:
    """A scorer of a run on one test."""

    run: NamedRun
    summary: ScorerSummary
    first: ScorerResult


@dataclass(frozen=True)
class Judged:
    """Runs whose policies answered the same prompts, and the scorers that are the same in several.

    Attributes:
        scorers: what each is, with its name by run.
    """

    runs: tuple[NamedRun, ...]
    scorers: Mapping[frozenset[str], Mapping[str, str]]


def together(items: Iterable[Item], key: Callable[[Item], Key]) -> dict[Key, list[Item]]:
    """Return the items of every key, in their order."""
    groups: dict[Key, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def measured_alike(runs: Sequence[NamedRun]) -> list[list[Measured]]:
    """Return all scorers, those together that are measured on the very same comparisons."""
    lines = []
    for run in runs:
        first = {}
        for result in reversed(run.results.scorers):
            first[result.name] = result
        for summary in run.results.summary.scorers:
            lines.append(Measured(run, summary, first[summary.name]))
    return list(together(lines, _content).values())


def _content(line: Measured) -> str:
    return line.run.results.data.contents[line.first.test]


def judged_alike(runs: Sequence[NamedRun]) -> list[Judged]:
    """Return the runs whose policies are judged on the same prompts by the same scorers."""
    judged = [run for run in runs if run.results.data.prompts]
    groups = []
    for same in together(judged, lambda run: run.results.data.prompts).values():
        names: dict[frozenset[str], dict[str, str]] = {}
        for run in same:
            for name, scorer in run.judges.items():
                names.setdefault(scorer, {})[run.label] = name
        shared = {scorer: by_run for scorer, by_run in names.items() if len(by_run) > 1}
        if shared:
            groups.append(Judged(tuple(same), shared))
    return groups


def other_scorers(runs: Sequence[NamedRun]) -> list[str]:
    """Return the names under which judges of several runs are not the same."""
    by_name: dict[str, list[frozenset[str]]] = {}
    for run in runs:
        for name, scorer in run.judges.items():
            by_name.setdefault(name, []).append(scorer)
    return [name for name, scorers in by_name.items() if len(set(scorers)) > 1]


def differing_keys(runs: Sequence[NamedRun]) -> Iterator[tuple[str, list[Any]]]:
    """Yield the dotted keys of recipes whose values differ, with the value of each run.

    Where a run has no such part, the part as a whole; None there.
    """
    recipes = []
    for run in runs:
        recipes.append({key: value for key, value in run.recipe.items() if key not in LEFT_OUT})
    if len(recipes) > 1:
        yield from _differing(recipes, "")


def _differing(values: Sequence[Any], place: str) -> Iterator[tuple[str, list[Any]]]:
    # An empty part is none: earlier versions lack keys that later ones have.
    values = [None if value in ({}, []) else value for value in values]
    mappings = [value for value in values if isinstance(value, Mapping)]
    # What was trained elsewhere has few keys, and no other one would say more.
    trained = {bool(mapping.get("trained")) for mapping in mappings}
    if len(mappings) == len(values) and len(trained) == 1:
        keys = dict.fromkeys(key for value in values for key in value)
        for key in keys:
            inner = [value.get(key) for value in values]
            yield from _differing(inner, f"{place}.{key}".removeprefix("."))
    elif any(value != values[0] for value in values[1:]):
        yield place, list(values)
