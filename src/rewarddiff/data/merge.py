"""Several groups with the same prompt made one, and the repeats among them counted."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean

from rewarddiff.data.ledger import Reason
from rewarddiff.records import Comparison, Group

Note = Callable[[Reason, Group, str], None]
"""Called with everything that merging leaves out: `Ledger.change`, or `Ledger.drop`."""


def merge(groups: Sequence[Group], on_response: Note, on_repeat: Note) -> Group:
    """Make one group of several with the same prompt; responses equal but for outer spaces are one.

    The score of a merged response is the mean of its known scores, NaN where none is. Of several
    comparisons of the same two responses, and of several labels of the same response, the first
    stays; a repeat is noted as a duplicate, one that disagrees as a contradiction.
    """
    merging = _Merging(on_response, on_repeat)
    for group in groups:
        merging.add(group)
    return merging.result(groups[0])


class _Merging:
    """What is known so far; a response's place is its index in the merged group."""

    def __init__(self, on_response: Note, on_repeat: Note) -> None:
        self._on_response = on_response
        self._on_repeat = on_repeat
        self._places: dict[str, int] = {}
        self._responses: list[str] = []
        self._styles: list[str] = []
        self._scores: dict[int, list[float]] = {}
        self._comparisons: dict[frozenset[int], Comparison] = {}
        self._labels: dict[int, bool] = {}

    def add(self, group: Group) -> None:
        places = self._add_responses(group)
        if group.scores is not None:
            self._add_scores(group.scores, places)
        self._add_comparisons(group, places)
        self._add_labels(group, places)

    def _add_responses(self, group: Group) -> list[int]:
        """Return the place of each of the group's responses."""
        places: list[int] = []
        for k, response in enumerate(group.responses):
            place = self._places.setdefault(response.strip(), len(self._responses))
            if place == len(self._responses):
                self._responses.append(response)
                self._styles += group.styles[k : k + 1]
            elif place in places or group.scores is not None:
                self._on_response(
                    Reason.IDENTICAL_RESPONSES, group, "merged with an equal response"
                )
            places.append(place)
        return places

    def _add_scores(self, scores: Sequence[float], places: Sequence[int]) -> None:
        for place, score in zip(places, scores, strict=True):
            known = self._scores.setdefault(place, [])
            if not math.isnan(score):
                known.append(score)

    def _add_comparisons(self, group: Group, places: Sequence[int]) -> None:
        for c in group.comparisons:
            chosen, rejected = places[c.chosen], places[c.rejected]
            if chosen == rejected:
                self._on_repeat(Reason.IDENTICAL_RESPONSES, group, "comparison of equal responses")
                continue
            comparison = replace(c, chosen=chosen, rejected=rejected)
            first = self._comparisons.setdefault(frozenset((chosen, rejected)), comparison)
            if first is comparison:
                continue
            agrees = first.tie == c.tie and (c.tie or first.chosen == chosen)
            self._on_repeat(_repeat(agrees), group, "two responses compared again")

    def _add_labels(self, group: Group, places: Sequence[int]) -> None:
        for k, label in group.known_labels():
            if places[k] not in self._labels:
                self._labels[places[k]] = label
            else:
                agrees = self._labels[places[k]] == label
                self._on_repeat(_repeat(agrees), group, "a response labelled again")

    def result(self, group: Group) -> Group:
        """Return the merged group, with the id and the prompt of `group`."""
        count = len(self._responses)
        scores = None
        if len(self._scores) == count:
            scores = tuple(_mean(self._scores[place]) for place in range(count))
        labels: tuple[bool | None, ...] = ()
        if self._labels:
            labels = tuple(self._labels.get(place) for place in range(count))
        return replace(
            group,
            responses=tuple(self._responses),
            scores=scores,
            comparisons=tuple(self._comparisons.values()),
            labels=labels,
            styles=tuple(self._styles) if len(self._styles) == count else (),
        )


def _mean(scores: Sequence[float]) -> float:
    return fmean(scores) if scores else math.nan


def _repeat(agrees: bool) -> Reason:
    return Reason.DUPLICATE if agrees else Reason.CONTRADICTORY
