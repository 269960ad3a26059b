"""What results say of policies, in sentences, and what is said first.

The page, the terminal, Markdown and the notes of results.json all ask here.
"""

from __future__ import annotations

from dataclasses import dataclass

from rewarddiff.report.judge_statements import (
    alarms,
    attack_statements,
    doubts,
    over_all_seeds,
    reading,
    speaking,
    the_judge,
    win_rate_statements,
)
from rewarddiff.report.scorer_statements import overlap_notes, scorer_notes, trained
from rewarddiff.report.training_statements import (
    KEYS_NAMED,
    data_weights_remark,
    elsewhere_remark,
    known_to_differ,
    trained_elsewhere,
    trained_unequally,
    training_remark,
    weighed_by_data,
)
from rewarddiff.report.values import bounds, percent, points, real, signed
from rewarddiff.results import Contrast, Interval, Results, Unequal, WinRate

SCOPE = (
    "Intervals are over the prompts of this data, and over seeds where there are several: they say "
    "nothing of other data."
)
"""The limit that all results have."""

SENTENCES = 4
"""As many stand at the head of a page; what else there is to say is folded."""


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
            return "without an interval (too few pairs, or all alike, to say more)"
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
        dependent = [*self.dependent, *dependent_judges]
        return [one for one in dependent if readings - {one.reading}]


@dataclass(frozen=True)
class Head:
    """What stands above everything else.

    Attributes:
        result: by independent evidence, and who says otherwise; one or two sentences.
        limits: what limits it; together with the result at most `SENTENCES`.
        further: whatever else there is to say.
        limit: the gravest limit, for the one line beside the figures.
    """

    result: str
    limits: tuple[str, ...]
    further: tuple[str, ...]
    limit: str


# --- what is known of two policies ----------------------------------------------------------------


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


# --- sentences ------------------------------------------------------------------------------------


def head(results: Results) -> Head:
    """Return what is said first.

    Of policies the result by independent evidence, else what was trained or measured.
    """
    compared = pairs(results)
    given = list(results.notes)
    stated = set()
    judged = [*win_rate_statements(results), *attack_statements(results)]
    if judged and not compared:
        result = judged[:1]
        others = [*doubts(results), *judged[1:], *given]
    elif results.command != "run" and given:
        result, others = given[:1], given[1:]
    elif compared:
        result = verdict(compared[0])
        others = [*limits(results), *judged, *map(statement, compared[1:]), *given]
        stated.add(statement(compared[0]))  # which the verdict says in other words
    else:
        lines = [*trained(results), *scorer_notes(results).values(), *given]
        if not lines:
            lines = ["Nothing was recorded."]
        result, others = lines[:1], lines[1:]
    stated |= set(result)
    others = [sentence for sentence in dict.fromkeys(others) if sentence not in stated]
    room = SENTENCES - len(result)
    return Head(" ".join(result), tuple(others[:room]), tuple(others[room:]), limit(results))


def limit(results: Results) -> str:
    """Return the gravest limit of the results; where none is known, what intervals are of."""
    if pairs(results):
        sentences = limits(results)
    elif results.judges.win_rates:
        sentences = doubts(results)
    else:
        sentences = [*scorer_notes(results).values(), *overlap_notes(results)]
    return next(iter(sentences), SCOPE)


def notes(results: Results) -> list[str]:
    """Return a statement on every two policies, and what is amiss with judges and scorers."""
    sentences = [*map(statement, pairs(results)), *win_rate_statements(results)]
    sentences += attack_statements(results)
    return [*sentences, *doubts(results), *scorer_notes(results).values()]


def statement(pair: Pair) -> str:
    """Return everything known of two policies as one sentence, independent scorers first."""
    parts = [f"by {gap}" for gap in pair.independent]
    parts += [f"by {gap}, but it had a part in their training" for gap in pair.dependent]
    if pair.training:
        parts.append(pair.training)
    return f"{pair.name}: {'; '.join(parts)}."


def verdict(pair: Pair) -> list[str]:
    """Return the result by independent scorers and judges, and what others say if something else."""
    dependent = "; ".join(map(str, pair.dependent))
    if not pair.evidence:
        return [
            f"No independent evidence on {pair.name}: every scorer here had a part in their "
            "training.",
            f"Such scorers say: {dependent}.",
        ]
    part = "a known part" if pair.elsewhere or pair.weighed_by_data else "a part"
    said = "; ".join(map(str, pair.evidence))
    sentences = [f"{pair.name}, by {_who(pair)} without {part} in their training: {said}."]
    if pair.disagreeing:
        disagreeing = "; ".join(map(str, pair.disagreeing))
        who = "Scorers with a part in it say"
        if len(pair.disagreeing) == 1:
            who = "The scorer with a part in it says"
        sentences.append(f"{who} otherwise: {disagreeing}.")
    return sentences


def _who(pair: Pair) -> str:
    """Return what to call all who are independent."""
    judges = "judges"
    scorers = "scorers" if len(pair.independent) > 1 else "a scorer"
    if pair.independent and pair.independent_judges:
        return f"{scorers} and {judges}"
    return scorers if pair.independent else judges


def limits(results: Results) -> list[str]:
    """Return what limits the results on policies, the gravest first."""
    first, *rest = pairs(results)
    sentences = alarms(results)
    if first.differing:
        text = trained_unequally(first.differing, KEYS_NAMED)
        sentences.append(f"{first.a} and {first.b} were {text}.")
    elsewhere: dict[str, None] = {}
    for pair in (first, *rest):
        elsewhere |= dict.fromkeys(pair.elsewhere)
    if elsewhere:
        sentences.append(f"{elsewhere_remark(list(elsewhere))}.")
    by_data: dict[str, None] = {}
    for pair in (first, *rest):
        by_data |= dict.fromkeys(pair.weighed_by_data)
    if by_data:
        sentences.append(f"{data_weights_remark(list(by_data))}.")
    many = sum(bool(pair.differing) for pair in rest)
    if many:
        are = "is" if many == 1 else "are"
        sentences.append(f"{many} of the other comparisons {are} of policies trained unequally.")
    by_scorer = scorer_notes(results)
    for gap in first.independent:
        if gap.scorer in by_scorer:
            sentences.append(by_scorer[gap.scorer])
    cautious = caution(results)
    if cautious:
        sentences.append(cautious)
    sentences += doubts(results)
    sentences += by_scorer.values()
    if len({line.seed for line in results.rewards}) == 1:
        sentences.append(
            "One seed: intervals are over prompts alone and say nothing of other seeds."
        )
    return sentences


def caution(results: Results) -> str:
    """Say how many gaps are not told apart from zero, or only by dependent scorers.

    Empty where all are.
    """
    gaps = 0
    unclear = 0
    dependent_alone = 0
    for pair in pairs(results):
        independent_readings = {one.reading for one in pair.evidence}
        for gap in pair.gaps:
            if not gap.reward.bounded:
                continue
            gaps += 1
            if not gap.reward.excludes_zero:
                unclear += 1
            elif not gap.independent and gap.reading not in independent_readings:
                dependent_alone += 1
    of = "gap between policies"
    if gaps > 1:
        of = f"of the {gaps} gaps between policies"
    parts = []
    if unclear:
        parts.append(
            f"{unclear} {of} {_have(unclear)} an interval that includes zero: no difference is "
            "shown there"
        )
        of = ""  # which the first part has said
    if dependent_alone:
        whose = f"{dependent_alone} {of}".rstrip()
        parts.append(
            f"{whose} {_have(dependent_alone)} a clear sign only under a scorer that trained one "
            "of the two"
        )
    if not parts:
        return ""
    return f"Read with care: {'; '.join(parts)}."


def _have(many: int) -> str:
    return "has" if many == 1 else "have"
