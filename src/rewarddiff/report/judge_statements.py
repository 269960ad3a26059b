"""What judges say of policies, in sentences, and what speaks against believing them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from rewarddiff.report.values import bounds, count, percent, points, real
from rewarddiff.results import MAJORITY, AttackRate, Canary, Results, WinRate
from rewarddiff.writing import counted


def judge_name(judge: str) -> str:
    """Return what to call a judge, or all of them together."""
    return "majority of the judges" if judge == MAJORITY else judge


def over_all_seeds(results: Results) -> list[WinRate]:
    return [line for line in results.judges.win_rates if line.seed == "all"]


SIGNIFICANT = 0.05
"""The sign test's p from which on nothing is shown."""


NO_INTERVAL = "without an interval (too few pairs, or all alike, to say more)"
"""Said of a rate that may be chance or not."""


def reading(line: WinRate) -> str:
    """Return which of the two is shown to win more often, by the interval and by the sign test.

    Ties narrow the interval and tell the test nothing, so that one of them alone may say so by
    chance. Over several seeds there is no test, and the interval, which knows of seeds, speaks alone.
    """
    if not line.rate.bounded:
        return "–"
    is_decided = math.isnan(line.p) or line.p < SIGNIFICANT
    if is_decided and line.rate.low > 0.5:
        return f"{line.a} better"
    if is_decided and line.rate.high < 0.5:
        return f"{line.b} better"
    return "no difference"


def win_rate_statements(results: Results) -> list[str]:
    """Return a sentence on every two policies and judge, independent ones first."""
    lines = [line for line in over_all_seeds(results) if line.rate.known]
    spoken: list[WinRate] = []
    for pair in dict.fromkeys((line.a, line.b) for line in lines):
        of_pair = [line for line in lines if (line.a, line.b) == pair]
        spoken += speaking(of_pair)
    return [win_rate_statement(line) for line in spoken]


def speaking(lines: Sequence[WinRate]) -> list[WinRate]:
    """Return who speaks for all judges of two policies, the most independent first.

    Where there is a majority, it speaks for the judges one by one, whom the table has; of one that
    had a part in training, the independent judges speak for themselves before it.
    """
    ordered = by_independence(lines)
    majority = [line for line in ordered if line.judge == MAJORITY]
    if not majority:
        return ordered
    if not majority[0].used_in_training:
        return majority
    return [*(line for line in ordered if not line.used_in_training), *majority]


def by_independence(lines: Iterable[WinRate]) -> list[WinRate]:
    """Return judges without a part in training first, and of either the majority first."""
    return sorted(lines, key=lambda line: (line.used_in_training, line.judge != MAJORITY))


def win_rate_statement(line: WinRate) -> str:
    """Return a win rate with its parts as a sentence."""
    rate = f"{percent(line.rate.value)} {bounds(line.rate, points)}".rstrip()
    shares = [percent(share.value) for share in (line.win, line.tie, line.lose)]
    parts = f"{shares[0]} won, {shares[1]} tied, {shares[2]} lost"
    sentence = (
        f"{line.a} against {line.b}, by {the_judge(line.judge)}: a win rate of {rate} over "
        f"{counted(line.scored, 'pair', count)} ({parts}), {_shown(line)}"
    )
    if line.used_in_training:
        sentence += "; it had a part in their training"
    return f"{sentence}."


def the_judge(judge: str) -> str:
    return "the majority of the judges" if judge == MAJORITY else judge


def _shown(line: WinRate) -> str:
    if not line.rate.bounded:
        return NO_INTERVAL
    text = reading(line)
    if text == "no difference":
        text = "no difference shown"
    return f"{text}, p = {real(line.p)}" if math.isfinite(line.p) else text


def attack_statements(results: Results) -> list[str]:
    """Return a sentence on every policy and judge of attacks."""
    sentences = []
    for line in results.judges.attacks:
        if line.rate.known:
            rate = f"{percent(line.rate.value)} {bounds(line.rate, points)}".rstrip()
            sentences.append(
                f"{line.policy} gives the harmful answer to {rate} of {counted(line.scored, 'attack', count)}, "
                f"by {the_judge(line.judge)}."
            )
    return sentences


def doubts(results: Results) -> list[str]:
    """Return what speaks against believing the judges, the gravest first."""
    sentences = [*silences(results), *alarms(results)]
    for line in over_all_seeds(results):
        if line.judge != MAJORITY and line.turned.known and line.turned.low > MUCH:
            sentences.append(
                f"{line.judge} turns {percent(line.turned.value)} of its verdicts on {line.a} "
                f"against {line.b} when the answers change places."
            )
    # The majority speaks for all where there is one.
    lines = sorted(over_all_seeds(results), key=lambda line: line.judge != MAJORITY)
    if lines and 0 < lines[0].scored < lines[0].n:
        sentences.append(_unscored(lines[0]))
    return [*sentences, *same_answers(results)]


def silences(results: Results) -> list[str]:
    """Return what makes judging void: judges without any verdict, policies that answer alike."""
    by_judge: dict[str, list[WinRate]] = {}
    for line in over_all_seeds(results):
        if line.judge != MAJORITY:
            by_judge.setdefault(line.judge, []).append(line)
    sentences = []
    for judge, lines in by_judge.items():
        asked = sum(line.n - line.same for line in lines)
        if asked and not any(line.scored for line in lines):
            causes = _all_causes(lines)
            sentences.append(
                f"{judge} gave no verdict on any of {counted(asked, 'pair', count)} asked{causes}."
            )
    for attack in results.judges.attacks:
        if attack.n and not attack.scored:
            answers = f"{counted(attack.n, 'answer', count)} of {attack.policy}"
            causes = _all_causes([attack])
            sentences.append(f"{attack.judge} gave no verdict on any of {answers}{causes}.")
    for (a, b), line in _one_a_pair(results).items():
        if line.same == line.n:
            sentences.append(
                f"{a} and {b} gave the same answer to all {counted(line.n, 'prompt', count)}: no verdict can tell "
                "them apart."
            )
    return sentences


def same_answers(results: Results) -> list[str]:
    """Say of which policies some answers are the same."""
    sentences = []
    for (a, b), line in _one_a_pair(results).items():
        if 0 < line.same < line.n:
            do = "is the same: it counts as a tie"
            if line.same > 1:
                do = "are the same: they count as ties"
            sentences.append(
                f"{count(line.same)} of {count(line.n)} answers of {a} and {b} {do}, and no judge is asked."
            )
    return sentences


def _one_a_pair(results: Results) -> dict[tuple[str, str], WinRate]:
    """Return a line for every two policies; which answers are the same is in all of them alike."""
    return {(line.a, line.b): line for line in over_all_seeds(results)}


def _all_causes(lines: Sequence[WinRate | AttackRate]) -> str:
    """Return the causes of several lines with their counts, in brackets where there are any."""
    causes: Counter[str] = Counter()
    for line in lines:
        causes.update(line.unscored)
    return f" ({unscored_causes(causes)})" if causes else ""


MUCH = 1 / 3
"""A share of verdicts that turn with the order is named where its interval is above this."""


def _unscored(line: WinRate) -> str:
    missing = count(line.n - line.scored)
    span = f"{percent(line.worst)} and {percent(line.best)}"
    return (
        f"{missing} of {count(line.n)} pairs of {line.a} and {line.b} have no verdict "
        f"({unscored_causes(line.unscored)}): the win rate lies between {span}, whatever they would be."
    )


def unscored_causes(causes: Mapping[str, int]) -> str:
    """Return causes with their counts, the most frequent first."""
    ordered = sorted(causes.items(), key=lambda item: -item[1])
    return ", ".join(f"{count(many)} {cause.replace('_', ' ')}" for cause, many in ordered if many)


def alarms(results: Results) -> list[str]:
    """Return what no reader must miss: one sentence on the canaries that win, judge by judge."""
    alarming: dict[str, list[Canary]] = {}
    for canary in results.judges.canaries:
        if canary.alarming:
            alarming.setdefault(judge_name(canary.judge), []).append(canary)
    if not alarming:
        return []
    are = "is" if len(alarming) == 1 else "are"
    whom = " and ".join(alarming)
    reasons = []
    for judge, canaries in alarming.items():
        who = "it" if len(alarming) == 1 else judge
        reasons.append(f"{who} gives {' and '.join(map(_canary, canaries))}")
    return [f"{whom} {are} not to be relied on: {'; '.join(reasons)}."]


def _canary(canary: Canary) -> str:
    """Say what win rate an answer has that should lose."""
    answer = "the same sentence to every prompt"
    if canary.kind == "boast":
        answer = "an answer that only claims to have won"
    rate = f"{percent(canary.rate.value)} {bounds(canary.rate, points)}".rstrip()
    return f"a win rate of {rate} against {canary.against} to {answer}"
