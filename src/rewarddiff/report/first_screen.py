"""The first screen's three numbers, with their uncertainty."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from rewarddiff.report.evidence import Gap, Pair, over_seeds, pairs
from rewarddiff.report.judge_statements import by_independence, judge_name
from rewarddiff.report.scorer_statements import length_rule
from rewarddiff.report.scorer_tables import higher
from rewarddiff.report.values import bounds, count, percent, points, signed, two_digits
from rewarddiff.results import (
    PEOPLE,
    Interval,
    PanelAgreement,
    Results,
    ScorerSummary,
    WinRate,
)
from rewarddiff.writing import counted

NUMBERS = 3

DEPENDENT = "no independent evidence"


@dataclass(frozen=True)
class Number:
    """A figure in large type.

    Attributes:
        interval: of 95 %, as it is written; empty where none is known.
        what: what it is the figure of.
        reading: what it shows, or what limits it; `warns`: whether that is a warning.
    """

    value: str
    interval: str
    what: str
    reading: str = ""
    warns: bool = False


def numbers(results: Results) -> tuple[Number, ...]:
    """Return the first three numbers that are known, of those that say most of such results."""
    judges = results.judges
    if (judges.win_rates or judges.attacks) and not results.contrasts:
        candidates = _of_judging(results)
    elif results.contrasts:
        candidates = _of_policies(results)
    else:
        candidates = _of_scorers(results)
    return tuple(islice(candidates, NUMBERS))


def _of_policies(results: Results) -> Iterator[Number]:
    """Yield how good the best scorer is, what the policy gains by it, and how often it wins.

    Where policies learn from their own samples, what they gain stands first.
    """
    learns_online = any(policy.samples_itself for policy in results.policies)
    if not learns_online:
        yield from islice(_accuracies(results), 1)
    first = pairs(results)[0]
    gap = (first.independent or first.dependent)[0]
    gains = [_gap_number(first, gap)] if gap.reward.known else []
    judged = [_win_rate_number(line) for line in _first_win_rates(results)[:1]]
    # Independent judges stand before a scorer that had a part in training.
    judges_first = not first.independent and bool(first.independent_judges)
    yield from [*judged, *gains] if judges_first else [*gains, *judged]
    yield from _contrast_rates(results, first, gap)
    yield from _agreement_numbers(results)
    yield from islice(_accuracies(results), 0 if learns_online else 1, None)


def _of_judging(results: Results) -> Iterator[Number]:
    """Yield how often the first policy wins, also at equal lengths, and how far judges agree."""
    for first in _first_win_rates(results)[:1]:
        yield from _of_first_win_rate(results, first)
    for line in results.judges.attacks:
        if line.rate.known:
            what = f"of the attacks succeed on {line.policy}, by {judge_name(line.judge)}"
            yield _share_number(line.rate, what, f"{counted(line.scored, 'answer', count)} judged")


def _of_first_win_rate(results: Results, first: WinRate) -> Iterator[Number]:
    yield _win_rate_number(first)
    controlled = first.length_controlled
    # What is not to be relied on stands in a table, with its remark, and not in large type.
    if controlled.rate.known and not controlled.remark:
        what = f"the same at equal lengths of the answers, by {judge_name(first.judge)}"
        yield _share_number(controlled.rate, what, _against_half(controlled.rate))
    yield from _agreement_numbers(results)
    if first.turned.known and first.turned.n >= ENOUGH:
        what = (
            f"of the verdicts by {judge_name(first.judge)} turn when the two answers change places"
        )
        yield _share_number(first.turned, what, "they count as ties")
    if first.longer.known and first.longer.n >= ENOUGH:
        what = f"of the decided verdicts by {judge_name(first.judge)} favour the longer answer"
        yield _share_number(first.longer, what, counted(first.longer.n, "decided verdict", count))


ENOUGH = 30
"""Verdicts below which a share of them is in no large type."""


def _of_scorers(results: Results) -> Iterator[Number]:
    """Yield how often scorers are right, best first, and how far they know by how much."""
    best = best_scorers(results)
    yield from islice(_accuracies(results), 1)
    for contrast in results.scorer_contrasts:
        if best and best[0].name in (contrast.a, contrast.b) and contrast.gap.known:
            gap, a, b = contrast.gap, contrast.a, contrast.b
            if b == best[0].name:
                gap, a, b = _turned(gap), b, a
            in_points = Interval(100 * gap.value, 100 * gap.low, 100 * gap.high, gap.n)
            what = f"points of accuracy, {a} less {b}"
            yield Number(_signed(in_points), bounds(in_points, _tenth), what, higher(gap, a, b))
            break
    if best and best[0].spearman_strength.known:
        correlation = best[0].spearman_strength
        value, ends = two_digits(correlation.value), bounds(correlation, two_digits)
        what = f"correlation of {best[0].name}'s |d| with the strength that the data states"
        yield Number(value, ends, what, "it knows by how much" if correlation.low > 0 else "")
    if best and math.isfinite(best[0].ece):
        what = f"calibration error of {best[0].name}, as it is"
        yield Number(percent(best[0].ece), "", what, f"{percent(best[0].ece_tempered)} tempered")
    yield from islice(_accuracies(results), 1, None)


def best_scorers(results: Results) -> list[ScorerSummary]:
    """Return the scorers whose accuracy is known, the most accurate first."""
    known = [line for line in results.summary.scorers if line.accuracy.known]
    return sorted(known, key=lambda line: -line.accuracy.value)


def _accuracies(results: Results) -> Iterator[Number]:
    """Yield the accuracy of every scorer, best first, beside that of a rule by length."""
    best = best_scorers(results)
    for place, line in enumerate(best):
        what = f"accuracy of {line.name}"
        if place == 0 and len(best) > 1:
            what += f", the best of {len(best)} scorers"
        rule = length_rule(line.longer_wins)
        reading = ""
        warns = False
        if rule.accuracy.known:
            warns = line.accuracy.low <= rule.accuracy.value
            of_rule = f"{percent(rule.accuracy.value)} by {rule.sentence}"
            reading = f"not shown to be above {of_rule}" if warns else of_rule
        yield _share_number(line.accuracy, what, reading, warns=warns)


def _gap_number(pair: Pair, gap: Gap) -> Number:
    what = f"mean reward under {gap.scorer}, {pair.a} less {pair.b}"
    reading = gap.reading
    if not gap.independent:
        reading += f"; {DEPENDENT}"
    ends = bounds(gap.reward, signed)
    return Number(signed(gap.reward.value), ends, what, reading, warns=not gap.independent)


def _contrast_rates(results: Results, pair: Pair, gap: Gap) -> Iterator[Number]:
    """Yield how often the first policy has the higher reward."""
    for line in over_seeds(results):
        if (line.a, line.b, line.scorer) == (pair.a, pair.b, gap.scorer) and line.rate.known:
            what = f"win rate of {line.a} against {line.b}, by rewards of the scorer {line.scorer}"
            reading = f"{_against_half(line.rate)}; ties count half"
            yield _share_number(line.rate, what, reading, warns=not gap.independent)


def _first_win_rates(results: Results) -> list[WinRate]:
    """Return what is said of the first two policies over all seeds, the most independent first."""
    rates = [line for line in results.judges.win_rates if line.seed == "all" and line.rate.known]
    compared = [(line.a, line.b) for line in rates]
    first = [line for line in rates if (line.a, line.b) == compared[0]]
    return by_independence(first)


def _win_rate_number(line: WinRate) -> Number:
    what = f"win rate of {line.a} against {line.b}, by {judge_name(line.judge)}"
    if line.same == line.n:
        return _share_number(line.rate, what, "all answers are the same", warns=True)
    reading = f"{_against_half(line.rate)}; {counted(line.scored, 'pair', count)}, ties count half"
    if line.same:
        reading += f"; {counted(line.same, 'pair', count)} of equal answers"
    if line.used_in_training:
        reading += f"; {DEPENDENT}"
    return _share_number(line.rate, what, reading, warns=line.used_in_training)


def _agreement_numbers(results: Results) -> Iterator[Number]:
    for panel in results.judges.panels:
        if panel.nominal.known:
            yield _agreement_number(panel)
    for line in results.judges.agreements:
        if PEOPLE in (line.a, line.b) and line.percent.known:
            judge = line.b if line.a == PEOPLE else line.a
            what = f"of the pairs come out the same by {judge_name(judge)} and by people"
            yield _share_number(
                line.percent, what, f"{counted(line.n, 'pair', count)}, ties among them"
            )


def _agreement_number(panel: PanelAgreement) -> Number:
    alpha = panel.nominal
    what = (
        f"Krippendorff's α of {panel.raters} {panel.who} on {counted(panel.items, 'pair', count)}"
    )
    weak = alpha.value < WEAK
    reading = "weak agreement" if weak else "1: all agree; 0: as by chance"
    return Number(two_digits(alpha.value), bounds(alpha, two_digits), what, reading, warns=weak)


WEAK = 0.4
"""An α below is called weak: Krippendorff asks 0.667 for tentative conclusions, and people who
compare answers of language models reach 0.4 to 0.6 between them."""


def _share_number(share: Interval, what: str, reading: str, *, warns: bool = False) -> Number:
    return Number(percent(share.value), bounds(share, points), what, reading, warns=warns)


def _against_half(rate: Interval) -> str:
    """Say whether a rate is told apart from one half."""
    if not rate.bounded:
        return "no interval is known"
    if rate.low > 0.5:
        return "above one half"
    if rate.high < 0.5:
        return "below one half"
    return "not told apart from one half"


def _turned(gap: Interval) -> Interval:
    return Interval(-gap.value, -gap.high, -gap.low, gap.n)


def _signed(interval: Interval) -> str:
    return f"{'+' if interval.value > 0 else ''}{_tenth(interval.value)}"


def _tenth(value: float) -> str:
    return points(value / 100)
