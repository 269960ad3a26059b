"""What results say of policies, in sentences, and what is said first.

The page, the terminal, Markdown and the notes of results.json all ask here.
"""

from __future__ import annotations

from dataclasses import dataclass

from rewarddiff.report.evidence import Pair, pairs
from rewarddiff.report.judge_statements import (
    alarms,
    attack_statements,
    doubts,
    win_rate_statements,
)
from rewarddiff.report.scorer_statements import overlap_notes, scorer_notes, trained
from rewarddiff.report.training_statements import (
    KEYS_NAMED,
    data_weights_remark,
    elsewhere_remark,
    trained_unequally,
)
from rewarddiff.results import Results

SCOPE = (
    "Intervals are over the prompts of this data, and over seeds where there are several: they say "
    "nothing of other data."
)
"""The limit that all results have."""

SENTENCES = 4
"""As many stand at the head of a page; what else there is to say is folded."""


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
            lines = doubts(results) or ["Nothing was recorded."]
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
