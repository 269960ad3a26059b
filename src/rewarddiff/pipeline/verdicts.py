"""Judges asked about policies' answers: every pair in both orders, all of it through the store."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rewarddiff import files
from rewarddiff.differences import Differences, weighed
from rewarddiff.records import Group
from rewarddiff.scorers.protocol import Judge, Scorer
from rewarddiff.store import Store, finite
from rewarddiff.verdicts import Verdicts, joined

PolicyPair = tuple[str, str]
"""Two policies that are held against each other."""

Stated = Mapping[PolicyPair, Verdicts]
"""What a judge says of every compared pair of policies: one verdict for each prompt."""

NO_TEXT = " "
"""What stands for an empty answer: a text without tokens has no reward."""


@dataclass(frozen=True)
class Answers:
    """What several policies answered to the same prompts.

    Attributes:
        policies: their names.
        groups: a prompt each, with the response of every policy in the order of `policies`.
    """

    policies: tuple[str, ...]
    groups: tuple[Group, ...]

    def of(self, policy: str) -> list[str]:
        """Return the responses of a policy, one for each prompt."""
        place = self.policies.index(policy)
        return [group.responses[place] for group in self.groups]

    def same(self, pair: PolicyPair) -> list[bool]:
        """Tell of each prompt whether both policies answered with the same text."""
        return [not _differ(duel) for duel in _duels(self, [pair])]

    def pair(self, pair: PolicyPair) -> list[Group]:
        """Return the prompts with the responses of these two alone."""
        places = [self.policies.index(policy) for policy in pair]
        return [group.take(places) for group in self.groups]


def ask(
    judge: Scorer,
    answers: Answers,
    pairs: Sequence[PolicyPair],
    *,
    store: Store | None = None,
    progress: str | None = None,
) -> dict[PolicyPair, Verdicts]:
    """Return what a judge says of each pair of policies, one verdict for each prompt.

    Where both answered with the same text nobody is asked: it is a tie, in which no order shows. A
    judge that says nothing of all other prompts has said nothing of these either.
    """
    stated = iter(verdicts_of(judge, different(answers, pairs), store=store, progress=progress))
    by_pair = {}
    for pair in pairs:
        same = answers.same(pair)
        of_others = [next(stated) for is_same in same if not is_same]
        is_silent = bool(of_others) and not any(verdict.scored.any() for verdict in of_others)
        of_same = NOTHING_SAID if is_silent else SAME_TEXT
        others = iter(of_others)
        by_pair[pair] = joined([of_same if is_same else next(others) for is_same in same])
    return by_pair


def different(answers: Answers, pairs: Sequence[PolicyPair]) -> list[Group]:
    """Return what a judge is asked: every two responses to a prompt that are not the same text."""
    return [duel for duel in _duels(answers, pairs) if _differ(duel)]


def _duels(answers: Answers, pairs: Sequence[PolicyPair]) -> Iterator[Group]:
    for pair in pairs:
        for group in answers.pair(pair):
            yield replace(group, responses=tuple(text or NO_TEXT for text in group.responses))


def _differ(duel: Group) -> bool:
    return duel.responses[0] != duel.responses[1]


SAME_TEXT = Verdicts(
    pairs=((0, 1),),
    forward=np.array([math.nan]),
    backward=np.array([math.nan]),
    asked=np.array([[False, False]]),
    causes=("",),
)
"""The verdict on two equal texts: a tie, although no judge was asked."""

NOTHING_SAID = replace(
    SAME_TEXT, asked=np.array([[True, True]]), causes=("no verdict on any other answer",)
)
"""The verdict on two equal texts of a judge that gives none on any others."""


def verdicts_of(
    scorer: Scorer,
    duels: Sequence[Group],
    *,
    store: Store | None = None,
    progress: str | None = None,
) -> list[Verdicts]:
    """Return what a scorer says of groups of two responses; any scorer may judge."""
    pairs = [[(0, 1)] for _ in duels]
    if isinstance(scorer, Judge):
        return scorer.verdicts(duels, pairs, store=store, progress=progress)
    differences = scorer.differences(duels, pairs, store=store, progress=progress)
    return [of_differences(stated) for stated in differences]


def of_differences(stated: Differences) -> Verdicts:
    """Return differences as verdicts, in both orders only where both were read."""
    forward = weighed(stated.forward, stated.weights)
    verdicts = Verdicts.of(stated.pairs, forward)
    if stated.backward is None:
        return verdicts
    backward = weighed(stated.backward, stated.weights)
    return replace(verdicts, backward=backward, asked=np.ones((len(backward), 2), dtype=bool))


# --- kept in a file -------------------------------------------------------------------------------


def write_verdicts(path: Path, answers: Answers, by_judge: Mapping[str, Stated]) -> None:
    """Write every verdict in both orders, a JSON line each."""
    lines = []
    for judge, stated in by_judge.items():
        for pair, verdicts in stated.items():
            for row in _rows(judge, pair, verdicts, answers):
                lines.append(json.dumps(finite(row), ensure_ascii=False))
    files.write_text(path, "".join(f"{line}\n" for line in lines))


def _rows(
    judge: str, pair: PolicyPair, verdicts: Verdicts, answers: Answers
) -> Iterator[dict[str, Any]]:
    both = verdicts.both
    turned = verdicts.turned
    values = verdicts.values
    outcomes = verdicts.outcomes
    steps = verdicts.readings
    for place, group in enumerate(answers.groups):
        yield {
            "judge": judge,
            "a": pair[0],
            "b": pair[1],
            "prompt": place,
            "source": group.source,
            "a_first": verdicts.forward[place],
            "b_first": verdicts.backward[place],
            "asked": verdicts.asked[place],
            "turned": turned[place] if both[place] else None,
            "value": values[place],
            "steps": steps[place],
            "outcome": outcomes[place],
            "cause": verdicts.causes[place],
        }


def read_verdicts(path: Path) -> dict[str, dict[PolicyPair, Verdicts]]:
    """Return what `write_verdicts` wrote."""
    by_judge: dict[str, dict[PolicyPair, list[Verdicts]]] = {}
    for line in path.read_text("utf-8").split("\n")[:-1]:
        row = json.loads(line)
        of_judge = by_judge.setdefault(row["judge"], {})
        of_judge.setdefault((row["a"], row["b"]), []).append(_verdict(row))
    stated = {}
    for judge, of_pairs in by_judge.items():
        stated[judge] = {pair: joined(verdicts) for pair, verdicts in of_pairs.items()}
    return stated


def _verdict(row: Mapping[str, Any]) -> Verdicts:
    # Verdicts that were written before steps were kept stand for themselves.
    steps = row.get("steps", [row["a_first"], row["b_first"]])
    return Verdicts(
        pairs=((0, 1),),
        forward=_number(row["a_first"]),
        backward=_number(row["b_first"]),
        asked=np.array([row["asked"]], dtype=bool),
        causes=(row["cause"],),
        steps=np.concatenate([_number(step) for step in steps])[None],
    )


def _number(value: float | None) -> Any:
    return np.array([math.nan if value is None else value])
