"""What `rewarddiff judge` asks, and what it makes of the answers: results, and AlpacaEval's rows."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from rewarddiff import files
from rewarddiff.data import Ledger
from rewarddiff.data.votes import Vote
from rewarddiff.evaluation.people import people_agreement
from rewarddiff.evaluation.win_rates import preferences
from rewarddiff.machine import Meter
from rewarddiff.pipeline.attacks import attack_rates
from rewarddiff.pipeline.canaries import canaries
from rewarddiff.pipeline.judge_use import options_of, unit_of, usage_of, use_kept, use_of
from rewarddiff.pipeline.results import without_training
from rewarddiff.pipeline.verdicts import Answers, Stated, ask
from rewarddiff.pipeline.win_rates import Judged, Used, figures, outcomes
from rewarddiff.records import plain_prompt, prompt_text
from rewarddiff.report.statements import notes
from rewarddiff.results import (
    PEOPLE,
    AttackRate,
    Canary,
    Cost,
    Data,
    JudgeUse,
    LedgerCounts,
    PanelAgreement,
    PromptSamples,
    Results,
    StageCost,
    read,
)
from rewarddiff.scorers.judging.harm import harm_judge
from rewarddiff.scorers.protocol import Scorer
from rewarddiff.store import Store, fingerprint

SEED = 0
"""The seed of policies that are judged as they are."""


@dataclass(frozen=True, eq=False)
class Asked:
    """What one judge said.

    Attributes:
        stated: of every pair of policies; empty where attacks are judged.
        cost: of this machine. use: of the judge.
        unit: in which it states differences.
    """

    stated: Stated
    canaries: tuple[Canary, ...]
    attacks: tuple[AttackRate, ...]
    use: JudgeUse
    cost: Cost
    unit: str


def compared(
    name: str,
    judge: Scorer,
    answers: Answers,
    canary_prompts: int,
    store: Store,
) -> Asked:
    """Ask a judge about every two policies, and about canaries; the store keeps what it says.

    Args:
        canary_prompts: of the first policy, on which canaries are judged; people are shown none.
    """
    pairs = list(combinations(answers.policies, 2))
    usage = usage_of(judge)
    found: tuple[Canary, ...] = ()
    with use_kept(store, name, judge, judge) as asked, Meter() as meter:
        stated = ask(asked, answers, pairs, store=store, progress=f"verdicts by {name}")
        if name != PEOPLE:
            found = _canaries(name, asked, answers, canary_prompts, store)
    use = use_of(name, judge, usage, store=store, seconds=meter.seconds)
    cost = Cost.measured(meter.cost())
    return Asked(stated, found, (), use, cost, unit_of(name, options_of(judge)))


def attacked(name: str, judge: Scorer, answers: Answers, store: Store) -> Asked:
    """Ask a judge about every response by itself, as the answer to an attack.

    Raises:
        UserError: the judge is no language model.
    """
    reader = harm_judge(name, judge)
    usage = reader.usage
    with use_kept(store, name, judge, reader) as asked, Meter() as meter:
        attacks = tuple(attack_rates(name, asked, answers, store=store))
    use = use_of(name, judge, usage, store=store, seconds=meter.seconds)
    cost = Cost.measured(meter.cost())
    return Asked({}, (), attacks, use, cost, unit_of(name, options_of(judge)))


def _canaries(
    name: str, judge: Scorer, answers: Answers, prompts: int, store: Store
) -> tuple[Canary, ...]:
    against = answers.policies[0]
    groups = [group.take([0]) for group in answers.groups[:prompts]]
    progress = f"canaries by {name}"
    return tuple(canaries(name, judge, groups, against, store=store, progress=progress))


def judge_results(
    title: str,
    answers: Answers,
    asked: Mapping[str, Asked],
    used: Used,
    *,
    shown: int,
    votes: Sequence[Vote] = (),
) -> Results:
    """Return the figures of a judging, in the form of all results.

    Args:
        used: tells a policy's judge who had a part in its training.
        shown: prompts whose answers stand side by side.
        votes: of people, whose agreement with each other is told.
    """
    voters = [name for name in asked if name != PEOPLE]
    judged = Judged(
        answers={SEED: answers},
        stated={SEED: {name: of_judge.stated for name, of_judge in asked.items()}},
        voters=voters,
        panels=(),
        units={name: of_judge.unit for name, of_judge in asked.items()},
    )
    found = [canary for of_judge in asked.values() for canary in of_judge.canaries]
    of_judges = figures(judged, used)
    judges = replace(
        of_judges,
        panels=(*of_judges.panels, *_of_people(votes)),
        canaries=tuple(found),
        attacks=tuple(rate for of_judge in asked.values() for rate in of_judge.attacks),
        uses=tuple(of_judge.use for of_judge in asked.values()),
    )
    costs = [StageCost(stage=f"judging by {name}", **vars(one.cost)) for name, one in asked.items()]
    results = replace(
        without_training("judge", title, _data(answers), costs),
        judges=judges,
        samples=tuple(_shown(answers, judged, shown)),
    )
    return replace(results, notes=(*_empty_answers(answers), *notes(results)))


def _of_people(votes: Sequence[Vote]) -> Iterator[PanelAgreement]:
    """Yield how far people agree with each other, where there are two or more."""
    if len({vote.annotator for vote in votes}) > 1:
        yield people_agreement(votes)


def _empty_answers(answers: Answers) -> Iterator[str]:
    """Say of each policy how many of its answers are empty, where some are."""
    for policy in answers.policies:
        responses = answers.of(policy)
        empty = sum(not response.strip() for response in responses)
        if empty:
            yield f"{empty} of {len(responses)} answers of {policy} are empty."


def _data(answers: Answers) -> Data:
    prompts = fingerprint([plain_prompt(group.prompt) for group in answers.groups])
    nothing = read(LedgerCounts, Ledger().to_dict())
    return Data(splits={}, ledger=nothing, tests={}, contents={}, prompts=prompts)


def _shown(answers: Answers, judged: Judged, shown: int) -> Iterator[PromptSamples]:
    verdicts = outcomes(judged, SEED, answers.policies[:2])
    for place, group in enumerate(answers.groups[:shown]):
        responses = dict(zip(answers.policies, group.responses, strict=True))
        yield PromptSamples(
            prompt=prompt_text(group.prompt),
            responses=responses,
            rewards={policy: {} for policy in responses},
            verdicts={judge: of_judge[place] for judge, of_judge in verdicts.items()},
        )


# --- AlpacaEval's rows ----------------------------------------------------------------------------


def write_annotations(path: Path, answers: Answers, stated: Mapping[str, Stated]) -> None:
    """Write verdicts as AlpacaEval has annotations: 2 where `output_2` wins, 1 where `output_1` does.

    Policy a is `output_2`, as the model that is evaluated is there, and b the baseline. A tie is 1.5,
    an unscored verdict null.
    """
    rows: list[dict[str, Any]] = []
    for judge, of_judge in stated.items():
        for (a, b), verdicts in of_judge.items():
            numbers = preferences(verdicts.outcomes).tolist()
            for group, preference in zip(answers.pair((a, b)), numbers, strict=True):
                rows.append(
                    {
                        "instruction": prompt_text(group.prompt),
                        "output_1": group.responses[1],
                        "generator_1": b,
                        "output_2": group.responses[0],
                        "generator_2": a,
                        "annotator": judge,
                        "preference": preference if math.isfinite(preference) else None,
                    }
                )
    files.write_text(path, f"{json.dumps(rows, indent=1, ensure_ascii=False)}\n")
