"""What policies' comparisons are trained with: an order, coefficients and strengths."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from rewarddiff.coefficients import (
    COLUMN,
    CoefficientConfig,
    CoefficientResult,
    weigh,
    weights_of_data,
)
from rewarddiff.config import to_dict
from rewarddiff.data.ledger import Ledger, Reason
from rewarddiff.differences import Array, Differences, Mask, by_group
from rewarddiff.errors import UserError
from rewarddiff.machine import Meter
from rewarddiff.pipeline.data import Run, comparisons
from rewarddiff.pipeline.policy_recipe import StrengthConfig
from rewarddiff.pipeline.scorer_checks import GRADES
from rewarddiff.pipeline.scorers import scorer_of, scorer_stage
from rewarddiff.pipeline.stage import Stage, write_array
from rewarddiff.pipeline.stated import Part, differences_stage, read_differences
from rewarddiff.policies.items import Pairs
from rewarddiff.records import Comparison, Group
from rewarddiff.scorers.grades import DataGrades
from rewarddiff.scorers.ranking import consistency, rank
from rewarddiff.store import fingerprint


@dataclass(frozen=True)
class Columns:
    """What a policy's comparisons are trained with, and where it came from.

    Attributes:
        weighed: coefficients, and which comparisons to flip or leave out; None: all 1.
        strengths: of each group, signed and oriented by the label, NaN where the scorer says nothing;
            None: none.
        differences: those behind the coefficients; None where the data brings these.
        key: of what these were made from.
    """

    weighed: CoefficientResult | None = None
    strengths: list[Array] | None = None
    differences: list[Differences] | None = None
    key: tuple[str, ...] = ()

    def unscored(self, group: int) -> int:
        """Return of how many comparisons of a group a scorer says nothing: they are left out."""
        scored: list[Mask] = []
        if self.differences is not None:
            scored.append(self.differences[group].scored)
        if self.strengths is not None:
            scored.append(~np.isnan(self.strengths[group]))
        return int((~np.all(scored, axis=0)).sum()) if scored else 0


def part_of(run: Run, name: str, seed: int, split: str = "train") -> Part:
    """Return what policy `name` is trained on.

    The order of dev is the data's, and so comparable between policies.
    """
    if split == "train" and run.recipe.policies[name].order is not None:
        return ordered(run, name, seed)
    return Part(run.splits[split], split)


def columns(run: Run, name: str, seed: int, part: Part) -> Columns:
    """Return the columns of policy `name`.

    Coefficients are for training: the dev loss is unweighted, and so comparable between policies.
    """
    policy = run.recipe.policies[name]
    weighed = strengths = differences = None
    keys = []
    if part.key is not None:
        keys.append(part.key)
    if policy.coefficient is not None and part.name == "train":
        config = replace(policy.coefficient, seed=policy.coefficient.seed + seed)
        if config.source == COLUMN:
            weighed = weights_of_data(part.groups, config)
            key = COLUMN
        else:
            differences, key = _differences(run, name, "coefficient", config, seed, part)
            weighed = weigh(differences, config)
        keys.append(key)
    if policy.strength is not None and policy.reads_strength:
        stated, key = _differences(run, name, "strength", policy.strength, seed, part)
        place = f"policies.{name}.strength"
        strengths = _strengths(place, stated, policy.strength.scale)
        if part.name == "train":
            _require_some(place, strengths)
        keys.append(key)
    return Columns(weighed, strengths, differences, tuple(keys))


def with_columns(groups: Iterable[Group], columns: Columns) -> Iterator[tuple[Group, Pairs]]:
    """Yield each group with its comparisons and their part of the columns.

    Comparisons of which a scorer says nothing are left out.
    """
    for place, group in enumerate(groups):
        pairs = Pairs.unweighted(comparisons(group))
        if columns.strengths is not None:
            pairs = replace(pairs, strengths=tuple(columns.strengths[place].tolist()))
        if columns.weighed is not None:
            pairs = pairs.weighed(*columns.weighed.of_group(place))
        if columns.strengths is not None:
            pairs = pairs.where([not math.isnan(strength) for strength in pairs.strengths])
        yield group, pairs


def note_unscored(groups: Iterable[Group], columns: Columns, ledger: Ledger) -> None:
    """Count the groups of which comparisons are left out, since a scorer says nothing of them."""
    for place, group in enumerate(groups):
        unscored = columns.unscored(place)
        if unscored:
            ledger.change(Reason.UNSCORED, group, f"{unscored} comparisons left out of training")


def grades(place: str, groups: Sequence[Group]) -> list[Differences]:
    """Return the data's own strength of every comparison; `place` is the key that asks for it."""
    return DataGrades(f"{place}.source: grades").differences(groups, Part(groups).pairs)


def _differences(
    run: Run,
    name: str,
    kind: str,
    column: CoefficientConfig | StrengthConfig,
    seed: int,
    part: Part,
) -> tuple[list[Differences], str]:
    """Return the differences that a column asks for, and the key of what made them."""
    place = f"policies.{name}.{kind}"
    source = run.recipe.source_of(name, kind)
    if source == GRADES:
        return grades(place, part.groups), GRADES
    stage = differences_stage(run, source, seed, column.orders, part)
    differences = read_differences(stage, part)
    _require_finite(place, source, part.groups, differences)
    if isinstance(column, CoefficientConfig) and column.lower and not stage.manifest["ensemble"]:
        raise UserError(
            f"{place}.lower: scorer '{source}' has no spread over heads; train one with heads: 5"
        )
    if not column.calibrated:
        return differences, stage.key
    temperature = temperature_of(run, source, seed, place)
    return [d.over(temperature) for d in differences], f"{stage.key} over {temperature}"


def _require_finite(
    place: str, scorer: str, groups: Sequence[Group], differences: Sequence[Differences]
) -> None:
    """Raise a UserError where a scorer states a difference that is infinite; NaN is none at all."""
    for group, of_group in zip(groups, differences, strict=True):
        if np.isinf(of_group.mean).any():
            raise UserError(
                f"{place}: {group.source or group.id}: the differences of scorer '{scorer}' are "
                f"{of_group.mean.tolist()}; score the data again, or leave the row out"
            )


def temperature_of(run: Run, scorer: str, seed: int, place: str) -> float:
    """Return the temperature of a scorer. Raises a UserError where it has none."""
    trained = scorer_stage(run, scorer, seed).manifest
    temperature: float | None = trained["temperature"]
    if temperature is None:
        cause = trained["temperature_remark"] or "none was fitted"
        raise UserError(
            f"{place}.calibrated: scorer '{scorer}' has no temperature ({cause}); "
            "give data.splits a larger share for dev, or leave it out"
        )
    return temperature


def _strengths(place: str, differences: Sequence[Differences], scale: float) -> list[Array]:
    """Return the strength of every comparison of each group; NaN where the scorer says nothing.

    Raises:
        UserError: one is infinite.
    """
    # What overflows is refused.
    with np.errstate(over="ignore"):
        strengths = [scale * d.mean for d in differences]
    values = np.concatenate([np.zeros(0), *strengths])
    lacking = np.flatnonzero(np.isinf(values))
    if lacking.size:
        raise UserError(
            f"{place}: {lacking.size} of {values.size} comparisons have no finite strength, the "
            f"first is comparison {lacking[0]}; score the data again, or make scale smaller"
        )
    return strengths


def _require_some(place: str, strengths: Sequence[Array]) -> None:
    """Raise a UserError where the scorer says nothing of any comparison."""
    values = np.concatenate([np.zeros(0), *strengths])
    if values.size and np.isnan(values).all():
        raise UserError(
            f"{place}: the scorer says nothing of any of {values.size} comparisons; check it, or "
            "name another one"
        )


def order_stage(run: Run, policy: str, seed: int) -> Stage:
    """Score every response of the training split by the scorer that orders a policy's data."""
    config = run.recipe.policies[policy].order
    assert config is not None
    design = replace(config.design, seed=config.design.seed + seed)
    name = run.recipe.source_of(policy, "order")
    scorer = scorer_stage(run, name, seed)
    folder = f"orders/{name}-{fingerprint(to_dict(config))[:8]}-{seed}"
    stage = run.stage(folder, "order", scorer=scorer.key, config=to_dict(config))
    if not stage.done:
        groups = run.splits["train"]
        loaded = scorer_of(run, name, seed)
        with Meter() as meter:
            ranked = rank(
                loaded, groups, design, config.method, store=run.store, progress=f"order by {name}"
            )
            scores = np.concatenate([ranking.scores for ranking in ranked])
            write_array(stage.folder / "scores.npy", scores)
        stage.finish(cost=meter.cost(), report=asdict(consistency(groups, ranked)))
    return stage


def ordered(run: Run, policy: str, seed: int) -> Part:
    """Return the training split in the order of `order_stage`."""
    stage = order_stage(run, policy, seed)
    groups = run.splits["train"]
    scores = np.load(stage.folder / "scores.npy", allow_pickle=False)
    in_order = []
    sizes = (len(group.responses) for group in groups)
    for group, group_scores in zip(groups, by_group(scores, sizes), strict=True):
        in_order.append(_turned(group, tuple(group_scores.tolist())))
    return Part(in_order, order=stage.folder.name, key=stage.key)


def _turned(group: Group, scores: tuple[float, ...]) -> Group:
    """Return the group with these scores, and its comparisons, ties among them, as they say."""
    turned = []
    for comparison in group.known_comparisons():
        a, b = comparison.chosen, comparison.rejected
        gap = scores[a] - scores[b]
        turned.append(Comparison(a, b, gap) if gap >= 0 else Comparison(b, a, -gap))
    return replace(group, scores=scores, comparisons=tuple(turned))
