"""Stages of policies: from differences to coefficients, and training with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rewarddiff import models
from rewarddiff.coefficients import Array, CoefficientConfig, CoefficientResult, coefficients
from rewarddiff.config import to_dict
from rewarddiff.data import Ledger
from rewarddiff.encoding import Encoder
from rewarddiff.errors import UserError
from rewarddiff.evaluation.histograms import histogram
from rewarddiff.loop.train import discard_checkpoint
from rewarddiff.pipeline.data import Run, comparisons
from rewarddiff.pipeline.recipe import StrengthConfig
from rewarddiff.pipeline.scorers import Part, differences_stage, ordered, scorer_stage
from rewarddiff.pipeline.stage import Stage
from rewarddiff.policies.items import Pairs
from rewarddiff.policies.policy import save_policy, start_of, train_policy
from rewarddiff.records import Comparison, Group
from rewarddiff.results import plain


@dataclass(frozen=True)
class Columns:
    """What a policy's comparisons are trained with, one entry each, and where it came from.

    Attributes:
        weighed: coefficients, and which comparisons to flip or leave out; None: all 1.
        strengths: signed, oriented by the label.
        differences: those behind the coefficients.
        key: of what these were made from.
    """

    weighed: CoefficientResult | None = None
    strengths: Array | None = None
    differences: Array | None = None
    key: tuple[str, ...] = ()


def part_of(run: Run, name: str, seed: int, split: str = "train") -> Part:
    """What policy `name` is trained on. The order of dev is the data's, and so comparable between
    policies."""
    if split == "train" and run.recipe.policies[name].order is not None:
        return ordered(run, name, seed)
    return Part(run.splits[split], split)


def columns(run: Run, name: str, seed: int, part: Part) -> Columns:
    """The columns of policy `name`.

    Coefficients are for training: the dev loss is unweighted, and so comparable between policies.
    """
    policy = run.recipe.policies[name]
    weighed = strengths = d = None
    key: tuple[str, ...] = () if part.key is None else (part.key,)
    if policy.coefficient is not None and part.name == "train":
        d, spreads, made_from = _differences(
            run, name, "coefficient", policy.coefficient, seed, part
        )
        config = replace(policy.coefficient, seed=policy.coefficient.seed + seed)
        weighed, key = coefficients(d, config, spreads), (*key, made_from)
    if policy.strength is not None and policy.reads_strength:
        found, _, made_from = _differences(run, name, "strength", policy.strength, seed, part)
        key = (*key, made_from)
        with np.errstate(over="ignore"):  # refused in the next line
            strengths = policy.strength.scale * found
        _require_finite(f"policies.{name}.strength", strengths)
    return Columns(weighed, strengths, d, key)


def _require_finite(column: str, values: Array) -> None:
    """Raise a UserError where a value is not finite: an objective would take NaN for a weak pair,
    or learn it."""
    lacking = ~np.isfinite(values)
    if lacking.any():
        raise UserError(
            f"{column}: {int(lacking.sum())} of {values.size} comparisons have no finite strength, the first is "
            f"comparison {int(np.flatnonzero(lacking)[0])}; score the data again, or make scale smaller"
        )


def _differences(
    run: Run,
    name: str,
    kind: str,
    column: CoefficientConfig | StrengthConfig,
    seed: int,
    part: Part,
) -> tuple[Array, Array | None, str]:
    """Δ of every comparison from a column's source, its spread where there is one, and the key of
    what made them."""
    if column.source == "grades":
        return grades(f"policies.{name}.{kind}", part.groups), None, "grades"
    scorer = run.recipe.source_of(name, kind)
    stage = differences_stage(run, scorer, seed, column.orders, part)
    found = np.load(stage.folder / f"{part.name}.npy", allow_pickle=False)
    beside = stage.folder / f"{part.name}-spread.npy"
    spreads = np.load(beside, allow_pickle=False) if beside.exists() else None
    if isinstance(column, CoefficientConfig) and column.lower and spreads is None:
        raise UserError(
            f"policies.{name}.{kind}.lower: scorer '{scorer}' has no spread over heads; train one with heads: 5"
        )
    if not column.calibrated:
        return found, spreads, stage.key
    trained = scorer_stage(run, scorer, seed).manifest
    temperature = trained["temperature"]
    if temperature is None:
        cause = trained.get("temperature_remark") or "none was fitted"
        raise UserError(
            f"policies.{name}.{kind}.calibrated: scorer '{scorer}' has no temperature ({cause}); "
            "give data.splits a larger share for dev, or leave it out"
        )
    spreads = None if spreads is None else spreads / temperature
    return found / temperature, spreads, f"{stage.key} over {temperature}"


def grades(place: str, groups: Iterable[Group]) -> Array:
    """The data's own strength of every comparison; `place` is the key that asks for it."""
    strengths: list[float] = []
    without: list[Group] = []
    for group in groups:
        for comparison in comparisons(group):
            if comparison.strength is None:
                without.append(group)
            else:
                strengths.append(comparison.strength)
    if without:
        raise UserError(
            f"{place}.source: grades, but the data gives only the order of {len(without)} of "
            f"{len(strengths) + len(without)} comparisons, first in {without[0].source or without[0].id}; "
            "fill in their strength (margin, scores), delete their rows, or use a scorer"
        )
    return np.array(strengths, dtype=np.float64)


def policy_stage(run: Run, name: str, seed: int) -> Stage:
    """Train policy `name`: the model, the data, and its columns."""
    recipe, config = run.recipe, run.recipe.policies[name]
    assert recipe.model is not None
    part = part_of(run, name, seed)
    own = columns(run, name, seed, part)
    weights = models.fingerprint(recipe.model)
    stage = run.stage(
        f"policies/{name}-{seed}", "policy", config=to_dict(config), model=weights, lengths=to_dict(recipe.lengths),
        differences=own.key, seed=seed,
    )  # fmt: skip
    if stage.done:
        return stage
    run.say(f"policy {name}, seed {seed}")
    model, tokenizer = start_of(recipe.model, config, seed)
    encoder = Encoder(tokenizer, recipe.lengths, models.context_length(recipe.model))
    ledger = Ledger()
    items = config.objective.items(_with_pairs(part.groups, own), encoder, ledger)
    dev = []
    if "dev" in run.splits:
        held_out = part_of(run, name, seed, "dev")
        pairs = _with_pairs(held_out.groups, columns(run, name, seed, held_out))
        dev = config.objective.items(pairs, encoder, ledger)
    ledger.enforce(recipe.data.max_drop)
    result = train_policy(
        model,
        items,
        config,
        output=stage.folder,
        weights=weights,
        dev=dev,
        seed=seed,
        store=run.store,
        signed=config.coefficient is not None and config.coefficient.signed,
        name=f"{name} (seed {seed})",
    )
    save_policy(model, tokenizer, stage.folder / "model", config.lora)
    discard_checkpoint(stage.folder)
    told = {}
    if own.weighed is not None and own.differences is not None:
        told = {"report": own.weighed.report, "histogram": plain(histogram(own.differences))}
    stage.finish(curve=result.curve, cost=result.cost, coefficient=told, ledger=ledger.to_dict())
    return stage


def _with_pairs(groups: Sequence[Group], own: Columns) -> Iterator[tuple[Group, Pairs]]:
    place = 0
    for group in groups:
        known = comparisons(group)
        yield group, _pairs(known, own, slice(place, place + len(known)))
        place += len(known)


def _pairs(known: Sequence[Comparison], own: Columns, part: slice) -> Pairs:
    """A group's comparisons with their part of the columns."""
    strengths = () if own.strengths is None else tuple(own.strengths[part].tolist())
    if own.weighed is None:
        return replace(Pairs.unweighted(known), strengths=strengths)
    flip, keep = own.weighed.flip[part].tolist(), own.weighed.keep[part].tolist()
    known = [
        Comparison(c.rejected, c.chosen, c.strength) if f else c
        for c, f in zip(known, flip, strict=True)
    ]
    strengths = tuple(-s if f else s for s, f in zip(strengths, flip, strict=False))
    return Pairs(tuple(known), tuple(own.weighed.weights[part].tolist()), strengths).where(keep)
