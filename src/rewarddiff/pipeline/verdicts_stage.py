"""The stage in which the judges of a recipe compare its policies, and what results tell of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from rewarddiff.differences import Array
from rewarddiff.evaluation.raters import judge_agreement
from rewarddiff.evaluation.scored import Scored
from rewarddiff.hashing import uniform
from rewarddiff.machine import Meter
from rewarddiff.pipeline.canaries import PROMPTS, TEXTS, canaries
from rewarddiff.pipeline.contrasts import compared_pairs, used_in_training
from rewarddiff.pipeline.data import Run
from rewarddiff.pipeline.judge_use import unit_of, uses
from rewarddiff.pipeline.judging import held_out, read_samples, samples_stage
from rewarddiff.pipeline.recipe import BASE
from rewarddiff.pipeline.scorers import scorer_of, scorer_stage
from rewarddiff.pipeline.stage import Stage
from rewarddiff.pipeline.verdicts import Answers, Stated, ask, read_verdicts, write_verdicts
from rewarddiff.pipeline.win_rates import Judged, figures, outcomes
from rewarddiff.processes import once
from rewarddiff.records import Group
from rewarddiff.results import (
    LABELS,
    Canary,
    JudgeAgreement,
    JudgeResults,
    PromptSamples,
    plain,
    read,
)
from rewarddiff.scorers.judging.options import Panel
from rewarddiff.scorers.people import People
from rewarddiff.scorers.protocol import Scorer

FILE = "verdicts.jsonl"

FORMAT = 2
"""Raised where judges are heard otherwise: earlier stages are then done anew, from the store."""


def verdicts_stage(run: Run, seed: int) -> Stage:
    """Have every judge compare the samples of all policies that are held against each other."""
    pairs = compared_pairs(run.recipe)
    judges = {name: scorer_stage(run, name, seed) for name in run.recipe.judges}
    samples = {name: samples_stage(run, name, seed) for name in _policies(run)}
    stage = run.stage(
        f"verdicts/{seed}",
        "verdicts",
        samples={name: drawn.key for name, drawn in samples.items()},
        judges={name: opened.key for name, opened in judges.items()},
        pairs=pairs,
        canaries=[PROMPTS, TEXTS],
        format=FORMAT,
    )
    if stage.done:
        return stage
    answers = answers_of_run(run, seed)
    stated: dict[str, Stated] = {}
    found: list[Canary] = []
    seconds = {}
    with Meter() as meter:
        for name in judges:
            before = meter.seconds
            judge = _judge_of(run, name, seed)
            stated[name] = ask(
                judge, answers, pairs, store=run.store, progress=f"verdicts by {name}"
            )
            found += _canaries(run, name, judge, answers)
            seconds[name] = meter.seconds - before
    once(lambda: write_verdicts(stage.folder / FILE, answers, stated))
    stage.finish(cost=meter.cost(), canaries=plain(found), judges=seconds)
    return stage


def _judge_of(run: Run, name: str, seed: int) -> Scorer:
    """Return a judge of policies: of people, also on a panel, the majority decides."""
    config = run.recipe.scorers[name]
    place = f"scorers.{name}"
    if isinstance(config, People):
        return config.by_majority.scorer(place)
    if isinstance(config, Panel):
        return config.panel_of(place, {of: _judge_of(run, of, seed) for of in config.of})
    return scorer_of(run, name, seed)


def _canaries(run: Run, name: str, judge: Scorer, answers: Answers) -> Iterator[Canary]:
    """Yield how canaries fare against the first policy; people are shown none."""
    config = run.recipe.judges[name]
    if isinstance(config, People) or name in run.recipe.panels:
        return
    against = next(iter(run.recipe.policies))
    place = answers.policies.index(against)
    groups = [group.take([place]) for group in answers.groups[:PROMPTS]]
    progress = f"canaries by {name}"
    yield from canaries(name, judge, groups, against, store=run.store, progress=progress)


def _policies(run: Run) -> tuple[str, ...]:
    return (BASE, *run.recipe.policies)


def answers_of_run(run: Run, seed: int) -> Answers:
    """Return the samples of all policies on the held-out prompts."""
    texts = []
    for name in _policies(run):
        texts.append([drawn.text for drawn in read_samples(samples_stage(run, name, seed))])
    groups = []
    for group, *responses in zip(held_out(run), *texts, strict=True):
        groups.append(Group(group.id, group.prompt, tuple(responses), source=group.source))
    return Answers(_policies(run), tuple(groups))


# --- results --------------------------------------------------------------------------------------


def judge_results(run: Run, compared: Mapping[tuple[str, str], Sequence[Scored]]) -> JudgeResults:
    """Return all that the judges of a run say.

    Args:
        compared: what every seed said of the labelled comparisons, by test and scorer.
    """
    recipe = run.recipe
    if not recipe.judges:
        return JudgeResults.none()
    judged = judged_of(run)
    of_labels = tuple(_agreements_with_labels(run, compared))
    found: list[Canary] = []
    if judged is None:
        policies = JudgeResults.none()
    else:
        policies = figures(judged, lambda policy, judge: used_in_training(recipe, policy, judge))
        first = verdicts_stage(run, recipe.seeds[0])
        found = [read(Canary, canary) for canary in first.manifest["canaries"]]
    return replace(
        policies,
        agreements=policies.agreements + of_labels,
        canaries=tuple(found),
        uses=tuple(uses(run)),
    )


def with_verdicts(run: Run, samples: Sequence[PromptSamples]) -> Iterator[PromptSamples]:
    """Yield samples of the first seed with what judges say of the first two policies they compare.

    Args:
        samples: of the first held-out prompts, in their order.
    """
    judged = judged_of(run) if run.recipe.judges else None
    if judged is None:
        yield from samples
        return
    pair = next(iter(judged.pairs), ())
    verdicts = outcomes(judged, run.recipe.seeds[0], pair)
    for place, sample in enumerate(samples):
        yield replace(sample, verdicts={judge: said[place] for judge, said in verdicts.items()})


def judged_of(run: Run) -> Judged | None:
    """Return the verdicts on a run's policies; None where it has none."""
    if not run.recipe.policies or "test" not in run.splits:
        return None
    judges = run.recipe.judges
    people = [name for name, config in judges.items() if isinstance(config, People)]
    voters = [name for name in judges if name not in (*run.recipe.panels, *people)]
    seeds = run.recipe.seeds
    return Judged(
        answers={seed: answers_of_run(run, seed) for seed in seeds},
        stated={seed: read_verdicts(verdicts_stage(run, seed).folder / FILE) for seed in seeds},
        voters=voters,
        panels=tuple(run.recipe.panels),
        units={name: unit_of(name, config) for name, config in judges.items()},
    )


def _agreements_with_labels(
    run: Run, compared: Mapping[tuple[str, str], Sequence[Scored]]
) -> Iterator[JudgeAgreement]:
    """Yield how far each judge agrees with the labels of the test split, whoever gave these.

    Which response stands first is drawn by the pair: with the chosen one first there would be one
    outcome only, and no agreement beyond chance could show.
    """
    for name in run.recipe.judges:
        comparisons = compared.get(("test", name))
        if not comparisons or not any(c.scored for c in comparisons[0]):
            continue
        first_seed = comparisons[0]
        signs = _drawn_signs(first_seed)
        said = signs * np.array([c.difference for c in first_seed])
        labelled = signs * np.array([1.0 if c.decided else 0.0 for c in first_seed])
        prompts = [c.cluster for c in first_seed]
        yield judge_agreement(name, LABELS, said, labelled, prompts)


def _drawn_signs(comparisons: Scored) -> Array:
    signs = [uniform(f"first/{c.group}/{c.pair}") < 0.5 for c in comparisons]
    return np.where(signs, 1.0, -1.0)
