"""From the stages of a run to `results.json`: every figure that a table or plot shows.

Stages' directories are read; nothing is computed anew but means and intervals.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np

from rewarddiff import __version__, machine
from rewarddiff.config import to_dict
from rewarddiff.evaluation.intervals import two_way_bootstrap
from rewarddiff.evaluation.scored import Scored, ScoredComparison
from rewarddiff.evaluation.side_by_side import SeedsAgreement, side_by_side
from rewarddiff.pipeline.columns import order_stage
from rewarddiff.pipeline.contrasts import (
    Pair,
    Rewards,
    Samples,
    compared_pairs,
    contrasts,
    used_in_training,
)
from rewarddiff.pipeline.data import Run, content
from rewarddiff.pipeline.judge_use import model_of_options
from rewarddiff.pipeline.judging import held_out, judged, read_samples, rewards_stage, samples_stage
from rewarddiff.pipeline.policies import policy_stage
from rewarddiff.pipeline.recipe import BASE
from rewarddiff.pipeline.scorer_recipe import AnyScorer, ScorerRecipe
from rewarddiff.pipeline.scorers import answers, evaluation_stage, scorer_stage
from rewarddiff.pipeline.showing import case_studies, first_samples, reward_distributions
from rewarddiff.pipeline.verdicts_stage import judge_results, with_verdicts
from rewarddiff.records import plain_prompt
from rewarddiff.report.scorer_statements import overlap_notes
from rewarddiff.report.statements import notes
from rewarddiff.results import (
    CoefficientReport,
    CoefficientResult,
    Cost,
    Curve,
    Data,
    Evaluation,
    Histogram,
    JudgeResults,
    LedgerCounts,
    OrderResult,
    PolicyResult,
    PolicySummary,
    Results,
    RewardMean,
    SampleLengths,
    ScorerContrast,
    ScorerResult,
    ScorerSummary,
    StageCost,
    Summary,
    read,
)
from rewarddiff.scorers.judging.options import Judge
from rewarddiff.store import fingerprint

Compared = Mapping[Pair, Sequence[Scored]]
"""What every seed said of the comparisons, by test and scorer."""


def gather(run: Run) -> Results:
    """Return what a run found."""
    recipe = run.recipe
    rewards = _rewards(run)
    samples = _samples(run)
    compared = _compared(run)
    scorers = tuple(_scorers(run))
    policies = tuple(_policies(run))
    results = Results(
        **_header("run", recipe.name),
        recipe=recipe.heeded,
        data=_data(run),
        scorers=scorers,
        scorer_contrasts=tuple(_scorer_contrasts(run, compared)),
        orders=tuple(_orders(run)),
        coefficients=tuple(_coefficients(run)),
        policies=policies,
        rewards=tuple(_reward_means(run, rewards)),
        lengths=tuple(_lengths(samples)),
        contrasts=tuple(contrasts(run, compared_pairs(recipe), rewards, samples, policies)),
        judges=judge_results(run, compared),
        samples=tuple(with_verdicts(run, list(first_samples(run, rewards, samples)))),
        reward_distributions=tuple(reward_distributions(rewards)),
        cases=tuple(case_studies(run, rewards, samples)),
        costs=tuple(_costs(run)),
        summary=Summary(
            scorers=tuple(_scorer_summaries(scorers, compared)),
            policies=tuple(_policy_summaries(run, rewards)),
        ),
        notes=(),
        seconds=math.nan,
    )
    remarks = [*notes(results), *_calibration_notes(run), *overlap_notes(results)]
    return replace(results, notes=tuple(remarks))


def _data(run: Run) -> Data:
    counted = {key: run.prepared[key] for key in ("splits", "ledger", "tests")}
    contents = {label: content(groups) for label, groups in run.held_out.items()}
    prompts = ""
    if judged(run):
        prompts = fingerprint([plain_prompt(group.prompt) for group in held_out(run)])
    return read(Data, {**counted, "contents": contents, "prompts": prompts})


def without_training(command: str, name: str, data: Data, costs: Sequence[StageCost]) -> Results:
    """Return the results of a command that trains nothing, to be filled with what it measures."""
    return Results(
        **_header(command, name),
        recipe=None,
        data=data,
        scorers=(),
        scorer_contrasts=(),
        orders=(),
        coefficients=(),
        policies=(),
        rewards=(),
        lengths=(),
        contrasts=(),
        judges=JudgeResults.none(),
        samples=(),
        costs=tuple(costs),
        summary=Summary((), ()),
        notes=(),
        seconds=math.fsum(cost.seconds for cost in costs),
    )


def _header(command: str, name: str) -> dict[str, Any]:
    """Return the fields of results that say what made them, when and where."""
    return {
        "command": command,
        "name": name,
        "version": __version__,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": machine.describe(),
    }


# --- scorers --------------------------------------------------------------------------------------


def _scorers(run: Run) -> Iterator[ScorerResult]:
    for name, config in run.recipe.scorers.items():
        for seed in run.recipe.seeds:
            trained = scorer_stage(run, name, seed).manifest
            evaluations = evaluation_stage(run, name, seed).manifest["evaluations"]
            for test, evaluation in evaluations.items():
                of_own_split = test == "test"
                yield ScorerResult(
                    name=name if of_own_split else f"{name} on {test}",
                    scorer=name,
                    test=test,
                    kind=config.kind,
                    seed=seed,
                    backbone=_backbone(config),
                    fingerprint=answers(run, name, seed),
                    evaluation=read(Evaluation, evaluation),
                    curve=read(Curve, trained["curve"]) if of_own_split else (),
                    cost=Cost.measured(trained["cost"]),
                    ledger=read(LedgerCounts, trained["ledger"]),
                )


def _backbone(config: AnyScorer) -> str:
    """Return the model of a scorer; its kind where it has none."""
    if isinstance(config, ScorerRecipe):
        return config.trained or config.backbone
    if isinstance(config, Judge):
        return model_of_options(config)
    return config.kind


def _scorer_summaries(
    scorers: Sequence[ScorerResult], compared: Compared
) -> Iterator[ScorerSummary]:
    by_test: dict[str, list[ScorerResult]] = {}
    for result in scorers:
        by_test.setdefault(result.name, []).append(result)
    for seeds in by_test.values():
        (agreement,) = side_by_side(compared[seeds[0].test, seeds[0].scorer])
        yield summarised(seeds, agreement)


def summarised(seeds: Sequence[ScorerResult], agreement: SeedsAgreement) -> ScorerSummary:
    """Return a scorer's figures over its seeds on one test."""
    evaluations = [result.evaluation for result in seeds]
    return ScorerSummary(
        name=seeds[0].name,
        kind=seeds[0].kind,
        seeds=len(seeds),
        accuracy=agreement.accuracy(),
        spearman_strength=agreement.spearman(),
        spearman_strength_oriented=mean_of_known(
            e.spearman_strength_oriented.value for e in evaluations
        ),
        ece=mean_of_known(e.ece for e in evaluations),
        temperature=mean_of_known(e.temperature for e in evaluations),
        ece_tempered=mean_of_known(e.ece_tempered for e in evaluations),
        mean=mean_of_known(e.mean for e in evaluations),
        std=mean_of_known(e.std for e in evaluations),
        antisymmetry=mean_of_known(e.antisymmetry.relative for e in evaluations),
        longer_wins=evaluations[0].baselines.longer_wins,
    )


def _compared(run: Run) -> Compared:
    compared: dict[Pair, list[Scored]] = {}
    for name in run.recipe.scorers:
        for seed in run.recipe.seeds:
            folder = evaluation_stage(run, name, seed).folder
            by_test = json.loads((folder / "comparisons.json").read_text())
            for test in run.held_out:
                comparisons = [ScoredComparison.read(fields) for fields in by_test[test]]
                compared.setdefault((test, name), []).append(comparisons)
    return compared


def _scorer_contrasts(run: Run, compared: Compared) -> Iterator[ScorerContrast]:
    """Yield each scorer against each before it, on the comparisons neither was trained on."""
    for test in run.held_out:
        for b, a in combinations(run.recipe.scorers, 2):
            ours, theirs = side_by_side(compared[test, a], compared[test, b])
            gap = ours.accuracy_gap(theirs)
            yield ScorerContrast(a, b, test, gap, ours.spearman_gap(theirs), p=math.nan)


def _calibration_notes(run: Run) -> Iterator[str]:
    """Say why a scorer has no fitted temperature."""
    if "dev" not in run.splits:
        return
    for name in run.recipe.scorers:
        for seed in run.recipe.seeds:
            trained = scorer_stage(run, name, seed).manifest
            remark = trained["temperature_remark"]
            kept = "it is 1"
            if trained["temperature"] is None:
                kept = "it has none"
            if remark:
                yield f"The temperature of {name} (seed {seed}): {kept}, {remark}."


# --- policies -------------------------------------------------------------------------------------


def _orders(run: Run) -> Iterator[OrderResult]:
    for name, policy in run.recipe.policies.items():
        if policy.order is not None:
            scorer = run.recipe.source_of(name, "order")
            for seed in run.recipe.seeds:
                consistency = order_stage(run, name, seed).manifest["report"]
                who = {"policy": name, "seed": seed, "scorer": scorer}
                yield read(OrderResult, {**who, "method": policy.order.method, **consistency})


def _coefficients(run: Run) -> Iterator[CoefficientResult]:
    # A stage that was made before there were such figures has none of them.
    without_heads = {"spread": None, "share_doubted": None, "share_unscored": 0.0}
    for name, policy in run.recipe.policies.items():
        # Those of samples change from draw to draw, and stand in the curve.
        if policy.coefficient is not None and policy.online is None:
            for seed in run.recipe.seeds:
                weighed = policy_stage(run, name, seed).manifest["coefficient"]
                report = read(CoefficientReport, {**without_heads, **weighed["report"]})
                histogram = read(Histogram, weighed["histogram"])
                yield CoefficientResult(name, seed, report, histogram)


def _policies(run: Run) -> Iterator[PolicyResult]:
    for name, policy in run.recipe.trained_here.items():
        for seed in run.recipe.seeds:
            trained = policy_stage(run, name, seed).manifest
            yield PolicyResult(
                name=name,
                seed=seed,
                objective=policy.method,
                coefficient=to_dict(policy.coefficient),
                order=to_dict(policy.order),
                strength=to_dict(policy.strength),
                curve=read(Curve, trained["curve"]),
                cost=Cost.measured(trained["cost"]),
                ledger=read(LedgerCounts, trained["ledger"]),
            )


def _rewards(run: Run) -> Rewards:
    rewards = {}
    if judged(run):
        for seed in run.recipe.seeds:
            folder = rewards_stage(run, seed).folder
            rewards[seed] = json.loads((folder / "rewards.json").read_text())
    return rewards


def _samples(run: Run) -> Samples:
    samples = {}
    if judged(run):
        for seed in run.recipe.seeds:
            samples[seed] = {
                name: read_samples(samples_stage(run, name, seed))
                for name in (BASE, *run.recipe.policies)
            }
    return samples


def _lengths(samples: Samples) -> Iterator[SampleLengths]:
    for seed, by_policy in samples.items():
        for policy, of_policy in by_policy.items():
            yield SampleLengths(
                policy=policy,
                seed=seed,
                n=len(of_policy),
                empty=sum(not sample.text.strip() for sample in of_policy),
                unfinished=sum(not sample.ended for sample in of_policy),
                mean_words=mean_of_known(len(sample.text.split()) for sample in of_policy),
            )


def _reward_means(run: Run, rewards: Rewards) -> Iterator[RewardMean]:
    for seed, by_scorer in rewards.items():
        for scorer, by_policy in by_scorer.items():
            for policy, values in by_policy.items():
                used = used_in_training(run.recipe, policy, scorer)
                yield RewardMean(policy, seed, scorer, used, two_way_bootstrap([values]))


def _policy_summaries(run: Run, rewards: Rewards) -> Iterator[PolicySummary]:
    if not rewards:
        return
    for policy in (BASE, *run.recipe.policies):
        means = {}
        for scorer in rewards[run.recipe.seeds[0]]:
            by_seed = [by_scorer[scorer][policy] for by_scorer in rewards.values()]
            means[scorer] = two_way_bootstrap(by_seed)
        folder = run.recipe.trained_elsewhere.get(policy)
        yield PolicySummary(policy, len(rewards), means, folder)


def _costs(run: Run) -> Iterator[StageCost]:
    """Yield what each stage of this run cost, in the order they were made.

    Stages of earlier recipes are left out.
    """
    for folder, stage in sorted(run.stages.items(), key=lambda item: item[1].manifest["created"]):
        cost = Cost.measured(stage.manifest["cost"])
        yield StageCost(stage=folder, **vars(cost))


def mean_of_known(values: Iterable[float]) -> float:
    """Return the mean of the values that are known; NaN where none is."""
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return math.nan
    return float(np.mean(known))
