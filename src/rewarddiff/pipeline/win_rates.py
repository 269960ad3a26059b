"""From verdicts to `results.judges`: win rates by judge and majority, agreement, ranking."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Literal

import numpy as np

from rewarddiff.differences import Array, Mask
from rewarddiff.evaluation.bradley_terry import ranking
from rewarddiff.evaluation.raters import judge_agreement, panel_agreement
from rewarddiff.evaluation.win_rates import Contest, by_majority, win_rate
from rewarddiff.pipeline.verdicts import Answers, PolicyPair, Stated
from rewarddiff.results import (
    MAJORITY,
    JudgeAgreement,
    JudgeResults,
    Outcome,
    PanelAgreement,
    Rank,
    WinRate,
)

Used = Callable[[str, str], bool]
"""Whether a judge (second) had a part in training a policy (first)."""


@dataclass(frozen=True, eq=False)
class Judged:
    """What judges say of policies' answers, by seed.

    Attributes:
        answers: of all policies to the same prompts.
        stated: by judge and pair of policies.
        voters: judges with a vote in the majority: no panel, and no people.
        panels: judges that repeat what others say.
        units: in which each judge states differences; of equal ones, grades can be compared.
    """

    answers: Mapping[int, Answers]
    stated: Mapping[int, Mapping[str, Stated]]
    voters: Sequence[str]
    panels: Sequence[str]
    units: Mapping[str, str]

    @cached_property
    def judges(self) -> tuple[str, ...]:
        """Every judge, in the order they were asked."""
        return tuple(next(iter(self.stated.values()), {}))

    @cached_property
    def pairs(self) -> tuple[PolicyPair, ...]:
        """The policies that were held against each other."""
        for by_judge in self.stated.values():
            for stated in by_judge.values():
                return tuple(stated)
        return ()

    @property
    def has_majority(self) -> bool:
        """Whether a majority is worked out here: several judges, and no panel that says it."""
        return len(self.voters) > 1 and not self.panels

    def contest(self, judge: str, pair: PolicyPair) -> Contest:
        """Return what a judge, or the majority of all, says of two policies over all seeds."""
        if judge == MAJORITY:
            return by_majority([self.contest(one, pair) for one in self.voters])
        verdicts = [[by_judge[judge][pair]] for by_judge in self.stated.values()]
        return Contest.of(verdicts, self.lengths(pair))

    def lengths(self, pair: PolicyPair) -> Array:
        """Return the characters of both policies' responses, (seeds, prompts, 2)."""
        by_seed = []
        for answers in self.answers.values():
            of_pair = [[len(text) for text in answers.of(policy)] for policy in pair]
            by_seed.append(np.array(of_pair, dtype=np.float64).T)
        return np.stack(by_seed)

    def same(self, pair: PolicyPair) -> Mask:
        """Tell where both policies answered with the same text, (seeds, prompts)."""
        return np.array([answers.same(pair) for answers in self.answers.values()], dtype=bool)

    def values(self, judge: str) -> Array:
        """Return d of a judge on all pairs and seeds, one behind the other; NaN for the same answers."""
        return self._asked({pair: self.contest(judge, pair).values for pair in self.pairs})

    def outcomes(self, judge: str) -> Array:
        """Return for whom a judge is, in the same order; NaN for the same answers."""
        return self._asked({pair: self.contest(judge, pair).outcomes for pair in self.pairs})

    def _asked(self, by_pair: Mapping[PolicyPair, Array]) -> Array:
        """Join all pairs, NaN where both answers are the same.

        That all judges agree there says nothing of any of them.
        """
        asked = [np.where(self.same(pair), math.nan, said) for pair, said in by_pair.items()]
        return np.concatenate([said.ravel() for said in asked])

    @cached_property
    def prompts(self) -> list[int]:
        """The prompt of each of these values."""
        of_seeds: list[int] = []
        for answers in self.answers.values():
            of_seeds += range(len(answers.groups))
        return of_seeds * len(self.pairs)


def figures(judged: Judged, used: Used) -> JudgeResults:
    """Return all that verdicts say; canaries, attacks and costs are put in by whoever has them."""
    if not judged.judges or not judged.pairs:
        return JudgeResults.none()
    return replace(
        JudgeResults.none(),
        win_rates=tuple(_win_rates(judged, used)),
        agreements=tuple(_agreements(judged)),
        panels=tuple(_panels(judged)),
        ranking=tuple(_ranks(judged)),
    )


def outcomes(judged: Judged, seed: int, policies: Sequence[str]) -> dict[str, list[Outcome]]:
    """Return what each judge says of two policies on every prompt; empty where nobody compared them.

    Args:
        policies: the first and the second of those that are shown.
    """
    pair = tuple(policies)
    swapped = pair[::-1]
    by_judge: dict[str, list[Outcome]] = {}
    place = list(judged.stated).index(seed)
    for judge in _named(judged) if judged.judges else ():
        if pair in judged.pairs:
            signs = judged.contest(judge, pair).outcomes[place]
        elif swapped in judged.pairs:
            signs = -judged.contest(judge, swapped).outcomes[place]
        else:
            continue
        by_judge[judge] = [_outcome(value) for value in signs.tolist()]
    return by_judge


def _outcome(value: float) -> Outcome:
    if math.isnan(value):
        return "unscored"
    if value == 0:
        return "tie"
    return "win" if value > 0 else "lose"


def _named(judged: Judged) -> tuple[str, ...]:
    """Return whose win rates are told."""
    return (*judged.judges, MAJORITY) if judged.has_majority else judged.judges


def _win_rates(judged: Judged, used: Used) -> Iterator[WinRate]:
    """Yield every pair under every judge, by seed where there are several, and over all."""
    for a, b in judged.pairs:
        for judge in _named(judged):
            asked = judged.voters if judge == MAJORITY else (judge,)
            is_used = any(used(policy, one) for policy in (a, b) for one in asked)
            for seed, contest in _by_seed(judged, judge, (a, b)):
                rate = win_rate(contest, a=a, b=b, judge=judge, seed=seed, used_in_training=is_used)
                yield replace(rate, same=_same(judged, seed, (a, b)))


def _same(judged: Judged, seed: int | Literal["all"], pair: PolicyPair) -> int:
    """Return to how many prompts both policies gave the same answer."""
    same = judged.same(pair)
    if seed != "all":
        same = same[list(judged.stated).index(seed)]
    return int(same.sum())


def _by_seed(
    judged: Judged, judge: str, pair: PolicyPair
) -> Iterator[tuple[int | Literal["all"], Contest]]:
    contest = judged.contest(judge, pair)
    if len(judged.stated) > 1:
        for place, seed in enumerate(judged.stated):
            yield seed, contest.seed(place)
    yield "all", contest


def _agreements(judged: Judged) -> Iterator[JudgeAgreement]:
    """Yield how far every two judges agree; a panel only repeats what its members say."""
    raters = [judge for judge in judged.judges if judge not in judged.panels]
    for a, b in combinations(raters, 2):
        yield judge_agreement(a, b, judged.outcomes(a), judged.outcomes(b), judged.prompts)


def _panels(judged: Judged) -> Iterator[PanelAgreement]:
    voters = judged.voters
    if len(voters) < 2:
        return
    values = np.stack([judged.values(judge) for judge in voters], axis=1)
    comparable = len({judged.units[judge] for judge in voters}) == 1
    yield panel_agreement(
        "judges",
        values,
        judged.prompts,
        outcomes=np.stack([judged.outcomes(judge) for judge in voters], axis=1),
        comparable=comparable,
    )


def _ranks(judged: Judged) -> Iterator[Rank]:
    """Yield the places of three policies or more under every judge."""
    answers = next(iter(judged.answers.values()))
    if len(answers.policies) < 3:
        return
    prompts = range(len(answers.groups))
    for judge in _named(judged):
        signs = {pair: judged.contest(judge, pair).outcomes for pair in judged.pairs}
        yield from ranking(judge, answers.policies, signs, prompts)
