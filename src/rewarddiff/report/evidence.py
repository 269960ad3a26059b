"""What is known of two policies, by every scorer and every judge."""

from __future__ import annotations

from dataclasses import dataclass

from rewarddiff.report.judge_statements import (
    NO_INTERVAL,
    over_all_seeds,
    reading,
    speaking,
    the_judge,
)
from rewarddiff.report.training_statements import (
    known_to_differ,
    trained_elsewhere,
    training_remark,
    weighed_by_data,
)
from rewarddiff.report.values import bounds, percent, points, real, signed
from rewarddiff.results import Contrast, Interval, Results, Unequal, WinRate


@dataclass(frozen=True)
class Gap:
    """What one scorer says of two policies: the mean reward of the first less that of the second.

    Attributes:
        independent: whether the scorer had no known part in training either, nor a start in common
            with one that had.
    """

    scorer: str
    reward: Interval
    independent: bool

    @property
    def reading(self) -> str:
        if not self.reward.known:
            return "not known"
        if not self.reward.bounded:
            return "without an interval (too few samples, or all alike, to say more)"
        if not self.reward.excludes_zero:
            return "no difference shown"
        if self.reward.low > 0:
            return "higher"
        return "lower"

    def __str__(self) -> str:
        gap = f"{signed(self.reward.value)} {bounds(self.reward, real)}".rstrip()
        return f"{self.scorer} {gap}, {self.reading}"


@dataclass(frozen=True)
class Verdict:
    """What one judge says of two policies: how often the first one wins.

    It has the parts of a `Gap`, so that both can be said in one sentence.
    """

    line: WinRate

    @property
    def independent(self) -> bool:
        return not self.line.used_in_training

    @property
    def reading(self) -> str:
        if not self.line.rate.bounded:
            return NO_INTERVAL
        better = reading(self.line)
        if better == f"{self.line.a} better":
            return "higher"
        return "lower" if better == f"{self.line.b} better" else "no difference shown"

    def __str__(self) -> str:
        rate = f"{percent(self.line.rate.value)} {bounds(self.line.rate, points)}".rstrip()
        return f"{the_judge(self.line.judge)} with a win rate of {rate}, {self.reading}"


@dataclass(frozen=True)
class Pair:
    """Two policies held against each other, by every scorer and every judge.

    Attributes:
        judges: who speaks for all judges, see `judge_statements.speaking`.
        unequal: in what their training differs besides coefficient, strength and order, and what is
            not known of it.
    """

    a: str
    b: str
    gaps: tuple[Gap, ...]
    unequal: tuple[Unequal, ...]
    judges: tuple[Verdict, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.a} against {self.b}"

    @property
    def elsewhere(self) -> list[str]:
        """Which of the two was trained elsewhere, so that nothing is known of its training."""
        return trained_elsewhere(self.a, self.b, self.unequal)

    @property
    def weighed_by_data(self) -> list[str]:
        """Which of the two has coefficients that the data brings, so that their maker is not known."""
        return weighed_by_data(self.a, self.b, self.unequal)

    @property
    def differing(self) -> list[Unequal]:
        """The settings and amounts in which their training is known to differ."""
        return known_to_differ(self.unequal)

    @property
    def training(self) -> str:
        """How the training of the two differs; empty where it does not."""
        return training_remark(self.a, self.b, self.unequal) if self.unequal else ""

    @property
    def independent(self) -> list[Gap]:
        return [gap for gap in self.gaps if gap.independent]

    @property
    def dependent(self) -> list[Gap]:
        return [gap for gap in self.gaps if not gap.independent]

    @property
    def independent_judges(self) -> list[Verdict]:
        return [verdict for verdict in self.judges if verdict.independent]

    @property
    def evidence(self) -> list[Gap | Verdict]:
        """All that independent scorers and judges say."""
        return [*self.independent, *self.independent_judges]

    @property
    def disagreeing(self) -> list[Gap | Verdict]:
        """What dependent scorers and judges say otherwise than some independent one."""
        readings = {one.reading for one in self.evidence}
        dependent_judges = [verdict for verdict in self.judges if not verdict.independent]
        dependent: list[Gap | Verdict] = [*self.dependent, *dependent_judges]
        return [one for one in dependent if readings - {one.reading}]


def pairs(results: Results) -> list[Pair]:
    """Return every two policies that were compared, in the order of the results."""
    by_names: dict[tuple[str, str], list[Contrast]] = {}
    for contrast in over_seeds(results):
        by_names.setdefault((contrast.a, contrast.b), []).append(contrast)
    compared = []
    for (a, b), contrasts in by_names.items():
        gaps = [Gap(c.scorer, c.mean_gap, not c.used_in_training) for c in contrasts]
        rates = [line for line in over_all_seeds(results) if (line.a, line.b) == (a, b)]
        judges = [Verdict(line) for line in speaking(rates) if line.rate.known]
        compared.append(Pair(a, b, tuple(gaps), contrasts[0].unequal, tuple(judges)))
    return compared


def over_seeds(results: Results) -> list[Contrast]:
    """Return the contrasts over all seeds."""
    return [contrast for contrast in results.contrasts if contrast.seed == "all"]


def trained_with(results: Results) -> set[tuple[str, str]]:
    """Return the (policy, scorer) pairs where the scorer had a part in the training.

    Or one of the same start had.
    """
    return {(line.policy, line.scorer) for line in results.rewards if line.used_in_training}
