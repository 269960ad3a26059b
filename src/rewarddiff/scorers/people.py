"""People as a scorer: what those who voted on two responses said of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from rewarddiff.config import checked
from rewarddiff.data.vote_database import DATABASE
from rewarddiff.data.vote_files import read_votes
from rewarddiff.data.votes import Combine, Vote, combined, items
from rewarddiff.differences import Differences, Pair
from rewarddiff.paths import user_path
from rewarddiff.records import Group, prompt_text
from rewarddiff.scorers.protocol import Orders
from rewarddiff.store import Store, fingerprint
from rewarddiff.verdicts import Verdicts


@checked
@dataclass(frozen=True, kw_only=True)
class People:
    """What people said of two responses; pairs that nobody voted on are unscored.

    A pair is found by its texts: the prompt and both responses, in either order, as they stand.

    Attributes:
        path: a file of votes, a project of `rewarddiff annotate`, or a collection that tells single
            votes (MultiPref, HelpSteer3, Label Studio).
        combine: what several votes on a pair come to where they are coefficients, strengths or an order:
            the `mean` or `median` of their grades, or 1, 0 or −1 by the `majority` of all, skipped
            votes among them. Of policies the majority decides, whatever stands here.
    """

    kind: Literal["people"] = "people"
    path: str
    combine: Combine = "mean"

    def scorer(self, name: str) -> PeopleScorer:
        """Return the scorer.

        Raises:
            UserError: the votes cannot be read.
        """
        return PeopleScorer(name, self._grades(), self.combine)

    @property
    def by_majority(self) -> People:
        """The same people where they judge policies: a large grade of one outvotes no two others."""
        return replace(self, combine="majority")

    def fingerprint(self) -> str:
        """Return a hash of what was voted on, of every grade, and of how they are combined."""
        return fingerprint("people", self.combine, sorted(self._grades().items()))

    def votes_fingerprint(self) -> str:
        """Return a hash of the votes alone: combined otherwise, they are the same people's."""
        return fingerprint("votes", sorted(self._grades().items()))

    def _grades(self) -> Mapping[str, Sequence[int | None]]:
        place = user_path(self.path)
        return _grades_in(self.path, tuple(map(_changed, _files(place))))


@dataclass(frozen=True)
class PeopleScorer:
    """Looks up what people said.

    Attributes:
        name: what errors call it.
        grades: of every pair of responses as it was voted on first, in favour of the first one, by a
            hash of the prompt and both.
        temperature: none: grades are no log-odds.
        prompts: none: people have learned from no prompt. That data may have its labels from the same
            votes is said wherever people are measured.
    """

    name: str
    grades: Mapping[str, Sequence[int | None]]
    combine: Combine = "mean"
    temperature: None = None
    prompts: frozenset[str] = frozenset()

    def differences(
        self,
        groups: Sequence[Group],
        pairs: Sequence[Sequence[Pair]],
        *,
        orders: Orders = "both",
        store: Store | None = None,
        progress: str | None = None,
    ) -> list[Differences]:
        """Return what the votes on each pair come to, in steps; NaN where there are none."""
        return [verdicts.differences for verdicts in self.verdicts(groups, pairs)]

    def verdicts(
        self,
        groups: Sequence[Group],
        pairs: Sequence[Sequence[Pair]],
        *,
        orders: Orders = "both",
        store: Store | None = None,
        progress: str | None = None,
    ) -> list[Verdicts]:
        """Return the same as verdicts, in one order: in which they were shown is not known."""
        verdicts = []
        for group, of_group in zip(groups, pairs, strict=True):
            grades = [self._grades_of(group, pair) for pair in of_group]
            values = np.array([combined(of_pair, self.combine) for of_pair in grades])
            causes = tuple(_cause(*said) for said in zip(grades, values.tolist(), strict=True))
            verdicts.append(replace(Verdicts.of(of_group, values), causes=causes))
        return verdicts

    def _grades_of(self, group: Group, pair: Pair) -> list[int | None]:
        """Return the grades of the votes on a pair, in favour of its first response."""
        prompt = prompt_text(group.prompt)
        a, b = (group.responses[place] for place in pair)
        key = fingerprint(prompt, a, b)
        if key in self.grades:
            return list(self.grades[key])
        turned = self.grades.get(fingerprint(prompt, b, a), ())
        return [None if grade is None else -grade for grade in turned]


def _cause(grades: Sequence[int | None], value: float) -> str:
    """Say why votes say nothing; empty: they say something."""
    if not math.isnan(value):
        return ""
    return "skipped" if grades else "no votes"


def _files(place: Path) -> tuple[Path, ...]:
    """Return what holds votes: a file, or a project's file and its journal."""
    file = place / DATABASE if place.is_dir() else place
    return file, file.with_name(f"{file.name}-wal")


def _changed(file: Path) -> tuple[int, int] | None:
    """Return what changes when a file is written."""
    if not file.exists():
        return None
    status = file.stat()
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=4)
def _grades_in(path: str, changed: object) -> Mapping[str, Sequence[int | None]]:
    """Read the grades of a file once as long as it stays as it is: a run asks for them often."""
    return _by_texts(read_votes(path))


def _by_texts(votes: Iterable[Vote]) -> dict[str, list[int | None]]:
    """Return the grades of every pair of texts, of all items with these texts together."""
    grades: dict[str, list[int | None]] = {}
    for item in items(votes):
        first = item.votes[0]
        turned = fingerprint(*first.swap().texts) in grades
        for vote in item.votes:
            oriented = vote.swap() if turned else vote
            grades.setdefault(fingerprint(*oriented.texts), []).append(oriented.grade)
    return grades
