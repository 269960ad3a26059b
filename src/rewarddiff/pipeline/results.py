"""From the stages of a run to `results.json`: every figure a table or plot shows, with counts and
intervals."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from rewarddiff import __version__, machine, models
from rewarddiff.config import to_dict
from rewarddiff.errors import UserError
from rewarddiff.evaluation.correlations import GAP, over_seeds
from rewarddiff.evaluation.metrics import SHARE, Array, Interval, two_way_bootstrap
from rewarddiff.evaluation.scorers import (
    ScoredComparison,
    held_out_comparisons,
    hits,
    overlap_remark,
    plain,
    strength_correlation,
)
from rewarddiff.model_files import ABOUT
from rewarddiff.pipeline.data import Run
from rewarddiff.pipeline.judging import held_out, judged, read_samples, rewards_stage, samples_stage
from rewarddiff.pipeline.points import COLUMNS
from rewarddiff.pipeline.policies import policy_stage
from rewarddiff.pipeline.recipe import BASE, PolicyRecipe
from rewarddiff.pipeline.scorers import evaluation_stage, order_stage, scorer_stage
from rewarddiff.records import prompt_text
from rewarddiff.report.statements import notes
from rewarddiff.sampling import Sample

Rewards = dict[int, dict[str, dict[str, list[float]]]]
"""seed → scorer → policy → one reward per held-out prompt."""


@dataclass(frozen=True)
class Agreement:
    """What the seeds of a scorer have in common with people on one test set.

    Attributes:
        right: answers of every prompt, (seeds, prompts). sizes: comparisons of every prompt,
            (prompts,).
        correlation: of |d| with the strength in the data, (seeds,). resampled: the same in
            resamples of prompts, (seeds, resamples). graded: comparisons with a strength.
    """

    right: Array
    sizes: Array
    correlation: Array
    resampled: Array
    graded: int

    def less(self, other: Agreement) -> tuple[Interval, Interval]:
        """The gap in accuracy to another scorer's, and that in correlation."""
        gap = two_way_bootstrap(self.right - other.right, self.sizes, bounds=(-1, 1))
        pair = self.correlation - other.correlation, self.resampled - other.resampled
        return gap, over_seeds(*pair, self.graded, groups=len(self.sizes), bounds=GAP)


Compared = dict[tuple[str, str], list[list[ScoredComparison]]]
"""What every seed said of the comparisons, by test and scorer."""

Samples = dict[int, dict[str, list[Sample]]]
"""seed → policy → one sample per held-out prompt."""


def gather(run: Run, pairs: Iterable[tuple[str, str]] | None = None) -> dict[str, Any]:
    """The content of results.json; reads the stages' directories, computes nothing anew but means
    and intervals.

    Args:
        pairs: policies to hold against each other; None: each weighted one, or one in a scorer's
            order, against each policy of its objective without strengths (unweighted, constant,
            shuffled, inverse), and all against the base model.
    """
    recipe = run.recipe
    rewards, samples, compared = _rewards(run), _samples(run), _compared(run)
    pairs = _pairs(run) if pairs is None else pairs
    policies = list(_policies(run))
    results = {
        "schema": 1,
        "name": recipe.name,
        "version": __version__,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "recipe": to_dict(recipe),
        "machine": machine.describe(),
        "data": {
            "splits": run.prepared["splits"],
            "ledger": run.prepared["ledger"],
            "tests": run.prepared.get("tests", {}),
        },
        "scorers": list(_scorers(run)),
        "scorer_contrasts": list(_scorer_contrasts(run, compared)),
        "orders": list(_orders(run)),
        "coefficients": list(_coefficients(run)),
        "policies": policies,
        "rewards": list(_reward_means(run, rewards)),
        "lengths": list(_lengths(samples)),
        "contrasts": _contrasts(run, pairs, rewards, samples, policies),
        "samples": _shown(run, rewards, samples),
        "costs": list(_costs(run)),
        "summary": {
            "scorers": list(_scorer_summary(run, compared)),
            "policies": list(_policy_summary(run, rewards)),
        },
    }
    return {**results, "notes": [*notes(results), *_calibration_notes(run), *_overlap_notes(run)]}


def read_results(run: Path) -> dict[str, Any]:
    """What a finished run wrote. Raises UserError."""
    path = run / "results.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(
            f"{path}: there is no such file; give the folder of a finished run"
        ) from None
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); give the folder of a finished run"
        ) from None
    except ValueError as error:
        raise UserError(
            f"{path}: is not JSON ({error}); run the recipe again to write it anew"
        ) from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: holds no results; run the recipe again to write it anew")
    return found


# -- scorers ---------------------------------------------------------------------------------------------------------


def _label(name: str, test: str) -> str:
    return name if test == "test" else f"{name} on {test}"


def _scorers(run: Run) -> Iterable[dict[str, Any]]:
    for name, config in run.recipe.scorers.items():
        for seed in run.recipe.seeds:
            found = scorer_stage(run, name, seed).manifest
            for test, evaluation in (
                evaluation_stage(run, name, seed).manifest["evaluations"].items()
            ):
                yield {
                    "name": _label(name, test),
                    "scorer": name,
                    "test": test,
                    "kind": config.kind,
                    "seed": seed,
                    "backbone": config.trained or config.backbone,
                    "evaluation": evaluation,
                    "curve": found["curve"] if test == "test" else [],
                    "cost": found["cost"],
                    "ledger": found["ledger"],
                }


def _scorer_summary(run: Run, compared: Compared) -> Iterable[dict[str, Any]]:
    """Accuracy, with an interval over prompts and, where there are several, seeds; means of the
    rest over seeds."""
    seeds = run.recipe.seeds
    keys = ("ece", "temperature", "ece_tempered", "mean", "std")
    for name, config in run.recipe.scorers.items():
        found = [evaluation_stage(run, name, seed).manifest["evaluations"] for seed in seeds]
        for test in found[0]:
            one = [evaluations[test] for evaluations in found]
            (own,) = agreements(compared[test, name])
            yield {
                "name": _label(name, test),
                "kind": config.kind,
                "seeds": len(seeds),
                "accuracy": asdict(two_way_bootstrap(own.right, own.sizes, bounds=SHARE)),
                "spearman_strength": asdict(
                    over_seeds(own.correlation, own.resampled, own.graded, groups=len(own.sizes))
                ),
                "spearman_strength_oriented": _mean(
                    e["spearman_strength_oriented"]["value"] for e in one
                ),
                **{key: _mean(e[key] for e in one) for key in keys},
                "antisymmetry": _mean((e["antisymmetry"] or {}).get("relative") for e in one),
                "longer_wins": one[0]["baselines"]["longer_wins"],
            }


def _compared(run: Run) -> Compared:
    found: Compared = {}
    for name in run.recipe.scorers:
        folders = [evaluation_stage(run, name, seed).folder for seed in run.recipe.seeds]
        said = [json.loads((folder / "comparisons.json").read_text()) for folder in folders]
        for test in run.held_out:
            found[test, name] = [[ScoredComparison(**c) for c in own[test]] for own in said]
    return found


def agreement(compared: Sequence[Sequence[ScoredComparison]]) -> Agreement:
    """Of what every seed of a scorer said of the same comparisons."""
    right, told = [hits(own) for own in compared], [strength_correlation(own) for own in compared]
    return Agreement(
        np.array([sums for sums, _ in right]),
        right[0][1],
        np.array([value for value, _, _ in told]),
        np.array([resampled for _, resampled, _ in told]),
        told[0][2],
    )


def agreements(*scorers: Sequence[Sequence[ScoredComparison]]) -> list[Agreement]:
    """The agreement of each scorer, on the comparisons that none of them was trained on.

    Args:
        scorers: what every seed of each said of the same comparisons.
    """
    seeds = iter(held_out_comparisons(*(said for scorer in scorers for said in scorer)))
    return [agreement([next(seeds) for _ in scorer]) for scorer in scorers]


def contrast(ours: Agreement, theirs: Agreement) -> dict[str, Any]:
    """Gaps of one scorer to another, as plain JSON values."""
    gap, correlation = ours.less(theirs)
    found: dict[str, Any] = plain({"gap": gap, "spearman_gap": correlation})
    return found


def _scorer_contrasts(run: Run, compared: Compared) -> Iterable[dict[str, Any]]:
    """Each scorer against each that stands before it in the recipe, on the comparisons neither was
    trained on."""
    for test in run.held_out:
        for b, a in combinations(run.recipe.scorers, 2):
            ours, theirs = agreements(compared[test, a], compared[test, b])
            yield {"a": a, "b": b, "test": test, **contrast(ours, theirs)}


def _calibration_notes(run: Run) -> Iterable[str]:
    """Why a scorer has no fitted temperature."""
    for name in run.recipe.scorers:
        for seed in run.recipe.seeds:
            trained = scorer_stage(run, name, seed).manifest
            remark = trained.get("temperature_remark")
            if remark and "dev" in run.splits:
                kept = "it has none" if trained["temperature"] is None else "it is 1"
                yield f"The temperature of {name} (seed {seed}): {kept}, {remark}."


def _overlap_notes(run: Run) -> Iterable[str]:
    """Where a scorer is measured on prompts that it was, or may have been, trained on."""
    seed = run.recipe.seeds[0]
    for name in run.recipe.scorers:
        for test, evaluation in evaluation_stage(run, name, seed).manifest["evaluations"].items():
            if remark := overlap_remark(evaluation["trained_on"]):
                yield f"{_label(name, test)}: {remark}"


# -- policies --------------------------------------------------------------------------------------------------------


def _orders(run: Run) -> Iterable[dict[str, Any]]:
    for name, policy in run.recipe.policies.items():
        if policy.order is not None:
            found = {"scorer": run.recipe.source_of(name, "order"), "method": policy.order.method}
            for seed in run.recipe.seeds:
                yield {
                    "policy": name,
                    "seed": seed,
                    **found,
                    **order_stage(run, name, seed).manifest["report"],
                }


def _coefficients(run: Run) -> Iterable[dict[str, Any]]:
    for name, policy in run.recipe.policies.items():
        for seed in run.recipe.seeds:
            if policy.coefficient is not None:
                yield {
                    "policy": name,
                    "seed": seed,
                    **policy_stage(run, name, seed).manifest["coefficient"],
                }


def _policies(run: Run) -> Iterable[dict[str, Any]]:
    for name, policy in run.recipe.policies.items():
        for seed in run.recipe.seeds:
            found = policy_stage(run, name, seed).manifest
            yield {
                "name": name,
                "seed": seed,
                "objective": policy.objective.name,
                "coefficient": to_dict(policy.coefficient),
                "order": to_dict(policy.order),
                "strength": to_dict(policy.strength),
                "curve": found["curve"],
                "cost": found["cost"],
                "ledger": found["ledger"],
            }


def _rewards(run: Run) -> Rewards:
    if not judged(run):
        return {}
    folders = {seed: rewards_stage(run, seed).folder for seed in run.recipe.seeds}
    return {
        seed: json.loads((folder / "rewards.json").read_text()) for seed, folder in folders.items()
    }


def _samples(run: Run) -> Samples:
    if not judged(run):
        return {}
    names = (BASE, *run.recipe.policies)
    return {
        seed: {name: read_samples(samples_stage(run, name, seed)) for name in names}
        for seed in run.recipe.seeds
    }


def _lengths(samples: Samples) -> Iterable[dict[str, Any]]:
    """Of each policy's samples: how many are empty, how many were cut at `max_new_tokens`, and
    their mean words."""
    for seed, by_policy in samples.items():
        for policy, drawn in by_policy.items():
            yield {
                "policy": policy,
                "seed": seed,
                "n": len(drawn),
                "empty": sum(not s.text.strip() for s in drawn),
                "unfinished": sum(not s.ended for s in drawn),
                "mean_words": _mean(len(s.text.split()) for s in drawn),
            }


def _used(run: Run, policy: str, scorer: str) -> bool:
    """Whether this scorer, or one that shares a start with it, had a part in what the policy was
    trained with."""
    sources = set() if policy == BASE else run.recipe.sources_of(policy)
    return any(_starts(run, scorer) & _starts(run, source) for source in sources)


def _starts(run: Run, scorer: str) -> set[str]:
    """What a scorer's training goes back to: scorers of the recipe by name, and trained models by
    place and content.

    A backbone is none of these, unless another scorer of the recipe is taken from it as it is.
    """
    config = run.recipe.scorers[scorer]
    starts = {f"scorers.{scorer}"}
    if config.trained is not None:
        return starts | _lineage(config.trained)
    if config.warm_start is not None:
        named = config.warm_start in run.recipe.scorers
        return starts | (_starts(run, config.warm_start) if named else _lineage(config.warm_start))
    given = [other.trained for other in run.recipe.scorers.values() if other.trained is not None]
    trained = {start for folder in given for start in _lineage(folder)}
    return starts | (_lineage(config.backbone) & trained if trained else set())


def _lineage(name: str) -> set[str]:
    """A trained model's place and fingerprint, and those of what it began from, as far as that is
    still there."""
    folder = models.resolve(name)
    starts = {str(folder), models.fingerprint(folder)}
    about = Path(folder) / ABOUT
    began = json.loads(about.read_text())["config"].get("warm_start") if about.is_file() else None
    if began is not None:
        starts |= _lineage(began) if Path(began).is_dir() else {began}
    return starts


def _reward_means(run: Run, rewards: Rewards) -> Iterable[dict[str, Any]]:
    for seed, by_scorer in rewards.items():
        for scorer, by_policy in by_scorer.items():
            for policy, values in by_policy.items():
                line = {
                    "policy": policy,
                    "seed": seed,
                    "scorer": scorer,
                    "used_in_training": _used(run, policy, scorer),
                }
                yield line | {"mean": asdict(two_way_bootstrap([values]))}


def _policy_summary(run: Run, rewards: Rewards) -> Iterable[dict[str, Any]]:
    if not rewards:
        return
    for policy in (BASE, *run.recipe.policies):
        means = {
            scorer: asdict(
                two_way_bootstrap([by_scorer[scorer][policy] for by_scorer in rewards.values()])
            )
            for scorer in run.recipe.scorers
        }
        yield {"name": policy, "seeds": len(rewards), "rewards": means}


def _pairs(run: Run) -> list[tuple[str, str]]:
    policies = run.recipe.policies
    plain = [n for n, p in policies.items() if not p.treated]
    treated = [(a, b) for a in policies if a not in plain for b in plain]
    return [
        (a, b) for a, b in treated if policies[a].objective.name == policies[b].objective.name
    ] + [(n, BASE) for n in policies]


def _contrasts(
    run: Run,
    pairs: Iterable[tuple[str, str]],
    rewards: Rewards,
    samples: Samples,
    trained: Sequence[dict[str, Any]],
) -> list[dict[str, Any]]:
    """Every pair under every scorer, by seed and over all; `trained` are the policies' entries in
    the results."""
    if not rewards:
        return []
    found = []
    for a, b in pairs:
        differences = [] if BASE in (a, b) else unequal(run.recipe.policies, trained, a, b)
        for scorer in run.recipe.scorers:
            gaps = np.array([_gaps(rewards[seed][scorer], samples[seed], a, b) for seed in rewards])
            used = _used(run, a, scorer) or _used(run, b, scorer)
            named = {
                "a": a,
                "b": b,
                "scorer": scorer,
                "used_in_training": used,
                "unequal": differences,
            }
            single = zip(rewards, gaps, strict=True) if len(gaps) > 1 else ()
            found += [{**named, "seed": seed, **_contrast(own[None])} for seed, own in single]
            found.append({**named, "seed": "all", **_contrast(gaps)})
    return found


def unequal(
    policies: Mapping[str, PolicyRecipe], trained: Sequence[dict[str, Any]], a: str, b: str
) -> list[dict[str, Any]]:
    """Return in what the training of two policies differs, besides what a comparison of them may be
    about.

    Those are coefficient, strength and order. Options of the objective count where both have the
    same one.

    Args:
        trained: the policies' entries in the results, whose steps and tokens count where they
            differ by more than a per cent.

    Returns:
        `{key, a, b}`: the dotted key of the recipe, or `steps` and `tokens`, with both values.
    """
    ours, theirs = (
        {key: value for key, value in to_dict(policies[name]).items() if key not in COLUMNS}
        for name in (a, b)
    )
    if ours["objective"]["name"] != theirs["objective"]["name"]:
        ours["objective"], theirs["objective"] = (
            {"name": side["objective"]["name"]} for side in (ours, theirs)
        )
    differences = list(_differing(ours, theirs))
    for key, amount in (("steps", _steps), ("tokens", _tokens)):
        one, other = (
            sum(amount(line) for line in trained if line["name"] == name) for name in (a, b)
        )
        if max(one, other) > 1.01 * min(one, other):
            differences.append((key, one, other))
    return [{"key": key, "a": one, "b": other} for key, one, other in differences]


def _differing(a: Any, b: Any, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Dotted keys with both values; where one side has no such part at all, the part as a whole."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in {**a, **b}:
            yield from _differing(a.get(key), b.get(key), f"{place}.{key}" if place else key)
    elif a != b:
        yield place, a, b


def _steps(trained: Mapping[str, Any]) -> int:
    steps = [line["step"] for line in trained["curve"] if line["split"] == "train"]
    return max(steps, default=0)


def _tokens(trained: Mapping[str, Any]) -> int:
    return trained["cost"]["tokens"] or 0


def _gaps(
    rewards: dict[str, list[float]], samples: dict[str, list[Sample]], a: str, b: str
) -> list[float]:
    """Reward of a minus reward of b for every prompt; 0 where both say the same."""
    pairs = zip(rewards[a], rewards[b], samples[a], samples[b], strict=True)
    return [0.0 if said_a.text == said_b.text else x - y for x, y, said_a, said_b in pairs]


def _contrast(gaps: Array) -> dict[str, Any]:
    """Of gaps (seeds, prompts): their mean with its interval; win, tie and lose as mean shares."""
    shares = {
        "win": float((gaps > 0).mean()),
        "tie": float((gaps == 0).mean()),
        "lose": float((gaps < 0).mean()),
    }
    return {"mean_gap": asdict(two_way_bootstrap(gaps)), **shares}


def _shown(run: Run, rewards: Rewards, samples: Samples) -> list[dict[str, Any]]:
    """The first held-out prompts with every policy's sample, first seed."""
    if not rewards:
        return []
    seed = run.recipe.seeds[0]
    names = (BASE, *run.recipe.policies)
    return [
        {
            "prompt": prompt_text(group.prompt),
            "responses": {n: samples[seed][n][i].text for n in names},
            "rewards": {
                n: {s: by_policy[n][i] for s, by_policy in rewards[seed].items()} for n in names
            },
        }
        for i, group in enumerate(held_out(run)[: run.recipe.evaluation.shown])
    ]


# -- costs and small things ------------------------------------------------------------------------------------------


def _costs(run: Run) -> Iterable[dict[str, Any]]:
    """Yield what each stage of this run cost, in the order they were made; stages of earlier
    recipes are left out."""
    for folder, stage in sorted(run.stages.items(), key=lambda item: item[1].manifest["created"]):
        if cost := stage.manifest.get("cost"):
            yield {"stage": folder, **cost}


def _mean(values: Iterable[float | None]) -> float:
    known = [v for v in values if v is not None and math.isfinite(v)]
    return float(np.mean(known)) if known else math.nan
