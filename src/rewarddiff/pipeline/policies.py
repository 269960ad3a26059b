"""Stages of policies: from differences to coefficients, and training with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rewarddiff import models
from rewarddiff.coefficients import Array, CoefficientResult, coefficients
from rewarddiff.config import to_dict
from rewarddiff.data import Ledger
from rewarddiff.encoding import Encoder
from rewarddiff.errors import UserError
from rewarddiff.pipeline.data import Run, comparisons
from rewarddiff.pipeline.scorers import differences_stage, histogram
from rewarddiff.pipeline.stage import Stage
from rewarddiff.records import Comparison, Group
from rewarddiff.training.policy import PolicyConfig, save_policy, start_of, train_policy
from rewarddiff.training.preference import Pairs, PreferenceItem, check_items, policy_items
from rewarddiff.training.sft import SFTConfig, SFTItem, sft_items


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


def columns(run: Run, name: str, seed: int, split: str = "train") -> Columns:
    """The columns of policy `name` on a split.

    Coefficients are for training: the dev loss is unweighted, and so comparable between policies.
    """
    policy = run.recipe.policies[name]
    weighed = strengths = d = None
    key: tuple[str, ...] = ()
    if policy.coefficient is not None and split == "train":
        d, made_from = _differences(run, name, "coefficient", seed, split)
        config = replace(policy.coefficient, seed=policy.coefficient.seed + seed)
        weighed, key = coefficients(d, config), (*key, made_from)
    if policy.strength is not None and policy.reads_strength:
        found, made_from = _differences(run, name, "strength", seed, split)
        strengths, key = policy.strength.scale * found, (*key, made_from)
    return Columns(weighed, strengths, d, key)


def _differences(run: Run, name: str, kind: str, seed: int, split: str) -> tuple[Array, str]:
    """Δ of every comparison of a split from a column's source, and the key of what it was made from."""
    column = run.recipe.policies[name].columns[kind]
    if column.source == "grades":
        return grades(run, name, kind, split), "grades"
    stage = differences_stage(run, run.recipe.source_of(name, kind), seed, column.orders, split)
    return np.load(stage.folder / f"{split}.npy", allow_pickle=False), stage.key


def grades(run: Run, name: str, kind: str = "coefficient", split: str = "train") -> Array:
    """The data's own strength of every comparison of a split."""
    strengths = [c.strength for g in run.splits[split] for c in comparisons(g)]
    if any(s is None for s in strengths):
        raise UserError(f"policies.{name}.{kind}.source: grades, but the data gives only the order; use a scorer")
    return np.array(strengths, dtype=np.float64)


def policy_stage(run: Run, name: str, seed: int) -> Stage:
    """Train policy `name`: the model, the data, and its columns."""
    recipe, config = run.recipe, run.recipe.policies[name]
    assert recipe.model is not None
    own = columns(run, name, seed)
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
    items = _items(run.splits["train"], own, encoder, ledger, config)
    dev: Any = []
    if "dev" in run.splits:
        dev = _items(run.splits["dev"], columns(run, name, seed, "dev"), encoder, ledger, config)
    ledger.enforce(recipe.data.max_drop)
    if not isinstance(config.objective, SFTConfig):
        check_items(items, config.objective, run.splits["train"])  # type: ignore[arg-type]
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
    told = {}
    if own.weighed is not None and own.differences is not None:
        told = {"report": own.weighed.report, "histogram": histogram(own.differences)}
    stage.finish(curve=result.curve, cost=result.cost, coefficient=told, ledger=ledger.to_dict())
    return stage


def _items(
    groups: Sequence[Group], own: Columns, encoder: Encoder, ledger: Ledger, config: PolicyConfig
) -> Sequence[PreferenceItem] | Sequence[SFTItem]:
    objective = config.objective
    if isinstance(objective, SFTConfig):
        return list(sft_items(groups, encoder, ledger))
    return policy_items(_with_pairs(groups, own), encoder, ledger, objective)


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
    known = [Comparison(c.rejected, c.chosen, c.strength) if f else c for c, f in zip(known, flip, strict=True)]
    strengths = tuple(-s if f else s for s, f in zip(strengths, flip, strict=False))
    return Pairs(tuple(known), tuple(own.weighed.weights[part].tolist()), strengths).where(keep)
