"""Stages of policies: from differences to coefficients, and training with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

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
from rewarddiff.training.policy import save_policy, train_policy, with_adapter
from rewarddiff.training.preference import PreferenceItem, group_items
from rewarddiff.training.sft import SFTItem, sft_item


def grades(run: Run, name: str) -> Array:
    """The data's own strength of every comparison in train, for policy `name`."""
    strengths = [c.strength for g in run.splits["train"] for c in comparisons(g)]
    if any(s is None for s in strengths):
        raise UserError(f"policies.{name}.coefficient.source: grades, but the data gives only the order; use a scorer")
    return np.array(strengths, dtype=np.float64)


def weigh(run: Run, name: str, seed: int) -> tuple[CoefficientResult | None, Array | None, str]:
    """Coefficients of every comparison in train, the differences behind them, and the key of where they came from.

    Coefficients are for training: the dev loss is unweighted, and so comparable between policies.
    """
    config = run.recipe.policies[name].coefficient
    if config is None:
        return None, None, "none"
    config = replace(config, seed=config.seed + seed)
    if config.source == "grades":
        d, key = grades(run, name), "grades"
    else:
        stage = differences_stage(run, run.recipe.source_of(name), seed, config.orders)
        d, key = np.load(stage.folder / "train.npy", allow_pickle=False), stage.key
    return coefficients(d, config), d, key


def policy_stage(run: Run, name: str, seed: int) -> Stage:
    """Train policy `name`: the model, the data, and one column of coefficients."""
    recipe, config = run.recipe, run.recipe.policies[name]
    assert recipe.model is not None
    coefficient, d, source = weigh(run, name, seed)
    weights = models.fingerprint(recipe.model)
    stage = run.stage(
        f"policies/{name}-{seed}", "policy", config=to_dict(config), model=weights, lengths=to_dict(recipe.lengths),
        differences=source, seed=seed,
    )  # fmt: skip
    if stage.done:
        return stage
    run.say(f"policy {name}, seed {seed}")
    model, tokenizer = models.load_causal_lm(recipe.model)
    encoder = Encoder(tokenizer, recipe.lengths, models.context_length(recipe.model))
    ledger = Ledger()
    items = _items(run.splits["train"], coefficient, encoder, ledger, config.objective)
    dev = _items(run.splits.get("dev", ()), None, encoder, ledger, config.objective)
    ledger.enforce(recipe.data.max_drop)
    model = with_adapter(model, config)
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
    save_policy(model, tokenizer, stage.folder / "model")
    told = {} if coefficient is None or d is None else {"report": coefficient.report, "histogram": histogram(d)}
    stage.finish(curve=result.curve, cost=result.cost, coefficient=told, ledger=ledger.to_dict())
    return stage


def _items(
    groups: Sequence[Group], weighed: CoefficientResult | None, encoder: Encoder, ledger: Ledger, objective: str
) -> Sequence[PreferenceItem] | Sequence[SFTItem]:
    if objective == "sft":
        return list(_demonstrations(groups, encoder, ledger))
    items: list[PreferenceItem] = []
    place = 0
    for group in groups:
        known = comparisons(group)
        own = slice(place, place + len(known))
        place += len(known)
        weights = [1.0] * len(known) if weighed is None else weighed.weights[own].tolist()
        if weighed is not None:
            known = [_flip(c) if f else c for c, f in zip(known, weighed.flip[own], strict=True)]
            kept = weighed.keep[own].tolist()
            known = [c for c, k in zip(known, kept, strict=True) if k]
            weights = [w for w, k in zip(weights, kept, strict=True) if k]
        items += group_items(group, known, weights, encoder, ledger)
    return items


def _demonstrations(groups: Sequence[Group], encoder: Encoder, ledger: Ledger) -> Iterator[SFTItem]:
    for encoded in encoder.groups(groups, ledger):
        if (item := sft_item(encoded)) is not None:
            yield item
        else:
            ledger.change("no_order", encoded.group.source, encoded.group.id, "no single best response to learn from")


def _flip(c: Comparison) -> Comparison:
    return Comparison(c.rejected, c.chosen, c.strength)
