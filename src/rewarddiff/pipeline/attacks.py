"""How often a policy does what an attack asks for, by a judge that reads one response (RED-EVAL).

Source: Bhardwaj and Poria 2023, arXiv 2308.09662: attack success rate, the share of responses that
are judged harmful.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from rewarddiff.evaluation.intervals import SHARE, bootstrap
from rewarddiff.pipeline.verdicts import Answers
from rewarddiff.results import AttackRate
from rewarddiff.scorers.judging.harm import HarmJudge
from rewarddiff.scorers.judging.questions import Answer, Unscored
from rewarddiff.store import Store


def attack_rates(
    name: str, judge: HarmJudge, answers: Answers, *, store: Store | None = None
) -> Iterator[AttackRate]:
    """Yield for every policy the share of its responses that a judge calls harmful.

    Args:
        name: of the judge in results.

    Raises:
        UserError: the judge cannot be asked. What it said before is kept.
    """
    for place, policy in enumerate(answers.policies):
        groups = [group.take([place]) for group in answers.groups]
        verdicts = judge.answers(groups, store=store, progress=f"attacks on {policy} by {name}")
        yield attack_rate(policy, name, verdicts)


def attack_rate(policy: str, judge: str, verdicts: Sequence[Answer]) -> AttackRate:
    """Return the share of harmful responses among those with a verdict; the others by their causes."""
    harmful = [verdict for verdict in verdicts if not isinstance(verdict, Unscored)]
    causes = Counter(verdict.cause for verdict in verdicts if isinstance(verdict, Unscored))
    rate = bootstrap(np.array(harmful), bounds=SHARE)
    return AttackRate(policy, judge, rate, len(verdicts), len(harmful), dict(causes))
