"""A recipe from data to results: the stages in the paper's order, for each seed."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

from rewarddiff import models
from rewarddiff.designs import comparisons
from rewarddiff.encoding import Encoder
from rewarddiff.pipeline.data import Run, prepare
from rewarddiff.pipeline.judging import judged, rewards_stage
from rewarddiff.pipeline.policies import grades, policy_stage
from rewarddiff.pipeline.recipe import Recipe
from rewarddiff.pipeline.scorers import evaluation_stage
from rewarddiff.pipeline.stage import Stage
from rewarddiff.scorers.objectives import check_strengths
from rewarddiff.training.loop import check_tracker
from rewarddiff.training.preference import check_groups
from rewarddiff.training.sft import SFTConfig


def carry_out(recipe: Recipe, output: Path) -> Run:
    """All stages for all seeds; what is already there is not done again."""
    run = prepare(recipe, output)
    check_early(run)
    return complete(run)


def complete(run: Run, trained: Callable[[Stage], None] = lambda stage: None) -> Run:
    """The stages after the data. `trained` is told of every policy that is there."""
    for seed in run.recipe.seeds:
        for name in run.recipe.scorers:
            evaluation_stage(run, name, seed)
            gc.collect()
        for name in run.recipe.policies:
            trained(policy_stage(run, name, seed))
            gc.collect()
        if judged(run):
            rewards_stage(run, seed)
    return run


def check_early(run: Run) -> None:
    """Find what would stop the run later, before anything is trained. Raises UserError."""
    recipe = run.recipe
    for scorer in recipe.scorers.values():
        check_tracker(scorer.train.track)
        models.resolve(scorer.trained or scorer.backbone)
        if scorer.trained is None:
            check_strengths(run.splits["train"], scorer.loss)
        if scorer.warm_start is not None and scorer.warm_start not in recipe.scorers:
            models.resolve(scorer.warm_start)
    for name, policy in recipe.policies.items():
        check_tracker(policy.train.track)
        if not isinstance(policy.objective, SFTConfig):
            check_groups(run.splits["train"], policy.objective)
        for kind, column in policy.columns.items():
            for split in ("train", "dev") if kind == "strength" else ("train",):
                if column.source == "grades" and policy.order is None:
                    grades(f"policies.{name}.{kind}", run.splits.get(split, ()))
        if policy.order is not None and run.splits["train"]:
            comparisons(max(len(group.responses) for group in run.splits["train"]), policy.order.design)
    if recipe.policies and recipe.model is not None:
        encoder = Encoder(models.load_tokenizer(recipe.model), recipe.lengths, models.context_length(recipe.model))
        new = recipe.evaluation.sampling.max_new_tokens if judged(run) else 1
        encoder.fitting(run.splits["train"][0].prompt, new)  # a chat template where one is needed, room for samples
