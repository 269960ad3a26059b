"""Stages of policies: training with coefficients and strengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rewarddiff import models
from rewarddiff.config import to_dict
from rewarddiff.data import Ledger
from rewarddiff.encoding import Encoder
from rewarddiff.evaluation.histograms import histogram
from rewarddiff.pipeline.columns import Columns, columns, note_unscored, part_of, with_columns
from rewarddiff.pipeline.data import Run, facts_of
from rewarddiff.pipeline.online_stage import online_stage
from rewarddiff.pipeline.stage import Stage
from rewarddiff.pipeline.stated import Part
from rewarddiff.policies.items import PreferenceItem
from rewarddiff.policies.policy import save_trained, start_of, train_policy
from rewarddiff.policies.table import item_table
from rewarddiff.results import plain


def policy_stage(run: Run, name: str, seed: int) -> Stage:
    """Train policy `name`: the model, the data, and its columns."""
    recipe = run.recipe
    config = recipe.policies[name]
    assert recipe.model is not None
    if config.online is not None:
        return online_stage(run, name, config.online, seed)
    part = part_of(run, name, seed)
    train_columns = columns(run, name, seed, part)
    weights = models.fingerprint(recipe.model)
    stage = run.stage(
        f"policies/{name}-{seed}",
        "policy",
        config=config.settings,
        model=weights,
        lengths=to_dict(recipe.lengths),
        differences=train_columns.key,
        seed=seed,
    )
    if stage.done:
        return stage
    run.say(f"policy {name}, seed {seed}")
    model, tokenizer = start_of(recipe.model, config, seed)
    encoder = Encoder(tokenizer, recipe.lengths, models.context_length(recipe.model))
    ledger = Ledger()
    note_unscored(part.groups, train_columns, ledger)
    items = _items(run, name, seed, part, train_columns, encoder, ledger)
    dev_items: Sequence[PreferenceItem] = ()
    if "dev" in run.splits:
        dev = part_of(run, name, seed, "dev")
        dev_columns = columns(run, name, seed, dev)
        dev_items = _items(run, name, seed, dev, dev_columns, encoder, ledger)
    ledger.enforce(recipe.data.max_drop)
    result = train_policy(
        model,
        items,
        config,
        output=stage.folder,
        weights=weights,
        dev=dev_items,
        seed=seed,
        store=run.store,
        signed=config.coefficient is not None and config.coefficient.signed,
        name=f"{name} (seed {seed})",
    )
    save_trained(
        model,
        tokenizer,
        stage.folder,
        config.lora,
        facts=facts_of(run, recipe.model),
        objective=config.objective.name,
    )
    stage.finish(
        curve=result.curve,
        cost=result.cost,
        coefficient=_described(train_columns),
        ledger=ledger.to_dict(),
    )
    return stage


def _items(
    run: Run, name: str, seed: int, part: Part, columns: Columns, encoder: Encoder, ledger: Ledger
) -> Sequence[PreferenceItem]:
    """Return what policy `name` learns of a part of the data, kept for policies that learn the same."""
    policy = run.recipe.policies[name]
    weighed = None
    if policy.coefficient is not None:
        weighed = (to_dict(policy.coefficient), seed)
    strength = None if policy.strength is None else to_dict(policy.strength)
    return item_table(
        policy.objective,
        with_columns(part.groups, columns),
        encoder,
        ledger,
        cache=run.output / "cache",
        made_from=(run.data, part.name, part.order, columns.key, weighed, strength),
    )


def _described(columns: Columns) -> dict[str, Any]:
    """Return what results tell of coefficients; empty where there are none."""
    if columns.weighed is None:
        return {}
    values = np.concatenate(columns.weighed.weights)
    if columns.differences is not None:
        values = np.concatenate([d.mean[d.scored] for d in columns.differences])
    return {"report": columns.weighed.report, "histogram": plain(histogram(values))}
