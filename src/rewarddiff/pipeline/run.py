"""A recipe from data to results: the stages in the paper's order, for each seed."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from itertools import chain, product
from pathlib import Path

from rewarddiff import models
from rewarddiff.config import to_dict
from rewarddiff.data import Ledger
from rewarddiff.data.ledger import Reason
from rewarddiff.designs import comparisons
from rewarddiff.encoding import Encoder, LengthConfig
from rewarddiff.errors import UserError
from rewarddiff.loop.processes import check_tracker
from rewarddiff.paths import user_path
from rewarddiff.pipeline.data import Run, prepare
from rewarddiff.pipeline.judging import held_out, judged, rewards_stage
from rewarddiff.pipeline.policies import grades, policy_stage
from rewarddiff.pipeline.recipe import Recipe
from rewarddiff.pipeline.scorers import evaluation_stage
from rewarddiff.pipeline.stage import Stage
from rewarddiff.records import Group
from rewarddiff.scorers.neural.objectives import check_strengths
from rewarddiff.store import fingerprint


def carry_out(recipe: Recipe, output: Path) -> Run:
    """All stages for all seeds; what is already there is not done again."""
    check_places(recipe, output)
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


def check_places(recipe: Recipe, output: Path) -> None:
    """Refuse a model or data in a folder that this run may make anew, and so remove. Raises
    UserError."""
    sources = {"model": recipe.model, "data.path": recipe.data.path}
    for label, path in recipe.data.tests.items():
        sources[f"data.tests.{label}"] = path
    for name, scorer in recipe.scorers.items():
        sources[f"scorers.{name}.backbone"] = scorer.backbone
        sources[f"scorers.{name}.trained"] = scorer.trained
        sources[f"scorers.{name}.warm_start"] = scorer.warm_start
    trained = [f"scorers/{name}-{seed}" for name, seed in product(recipe.scorers, recipe.seeds)]
    trained += [f"policies/{name}-{seed}" for name, seed in product(recipe.policies, recipe.seeds)]
    for key, source in sources.items():
        for stage in trained:
            if source is not None and user_path(source).resolve().is_relative_to(
                (output / stage).resolve()
            ):
                raise UserError(
                    f"{key}: {source} lies in a folder that this run makes anew ({stage}); choose another output"
                )


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
        policy.objective.check(run.splits["train"])
        for kind, column in policy.columns.items():
            for split in ("train", "dev") if kind == "strength" else ("train",):
                if column.source == "grades" and policy.order is None:
                    grades(f"policies.{name}.{kind}", run.splits.get(split, ()))
        if policy.order is not None and run.splits["train"]:
            comparisons(
                max(len(group.responses) for group in run.splits["train"]), policy.order.design
            )
    check_prompts(run)


def check_prompts(run: Run) -> None:
    """Find the prompts that a model of the run cannot read. Raises UserError.

    Every prompt is rendered for it, so the store remembers that nothing was found.
    """
    recipe = run.recipe
    sources = [scorer.trained or scorer.backbone for scorer in recipe.scorers.values()]
    if recipe.policies and recipe.model is not None:
        sources.append(recipe.model)
    weights = [models.fingerprint(source) for source in sources]
    key = fingerprint("prompts can be read", run.prepared["inputs"], to_dict(recipe), weights)
    if run.store.get([key]):
        return
    if recipe.policies and recipe.model is not None:
        _check_policies_prompts(run, recipe.model)
    for name in recipe.scorers:
        _check_scorers_prompts(run, name)
    run.store.put({key: True})


def _check_policies_prompts(run: Run, model: str) -> None:
    """Training drops what the chat template refuses, up to `max_drop`; a prompt of samples has to
    be there."""
    encoder = Encoder(
        models.load_tokenizer(model), run.recipe.lengths, models.context_length(model)
    )
    _check_share(
        encoder, chain(run.splits["train"], run.splits.get("dev", ())), run.recipe.data.max_drop
    )
    if judged(run):
        encoder.require(held_out(run))
    taken = (
        group.prompt for group, cause in encoder.refusals(run.splits["train"]) if cause is None
    )
    prompt = next(taken, None)
    if prompt is not None:
        new = run.recipe.evaluation.sampling.max_new_tokens if judged(run) else 1
        encoder.fitting(prompt, new)
        encoder.end_of(prompt)


def _check_scorers_prompts(run: Run, name: str) -> None:
    """Training drops what the chat template refuses, up to `max_drop`; what the scorer is asked
    about has to be there.

    It is asked about what it is measured on, and about the training split where a policy is trained
    with its answers.
    """
    scorer = run.recipe.scorers[name]
    tokenizer = models.load_tokenizer(scorer.trained or scorer.backbone)
    by_template = scorer.kind == "reward" or (scorer.trained is None and scorer.pointwise)
    if tokenizer.chat_template is None or not by_template:
        return
    encoder = Encoder(tokenizer, LengthConfig())
    asked = [run.splits.get("dev", ()), *run.held_out.values()]
    if any(name in run.recipe.sources_of(policy) for policy in run.recipe.policies):
        asked.append(run.splits["train"])
    for groups in asked:
        encoder.require(groups)
    if (
        scorer.trained is None and not scorer.aspects
    ):  # with aspects, training counts only some of the rows
        _check_share(encoder, run.splits["train"], run.recipe.data.max_drop)


def _check_share(encoder: Encoder, groups: Iterable[Group], max_drop: float) -> None:
    """Raise a UserError where the chat template refuses a larger share of these groups."""
    ledger = Ledger()
    for group, cause in encoder.refusals(groups):
        if cause is None:
            ledger.keep()
        else:
            ledger.drop(Reason.TEMPLATE_REFUSED, group, cause)
    ledger.enforce(max_drop)
