"""A recipe from data to results: the stages in the paper's order, for each seed."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from itertools import chain, product
from pathlib import Path
from typing import Any

from rewarddiff import models
from rewarddiff.config import to_dict
from rewarddiff.data import Ledger
from rewarddiff.data.ledger import Reason
from rewarddiff.designs import comparisons
from rewarddiff.encoding import Encoder, LengthConfig
from rewarddiff.errors import UserError
from rewarddiff.loop.accelerator import check_trainable
from rewarddiff.model_files import ABOUT
from rewarddiff.paths import user_path
from rewarddiff.pipeline.columns import grades
from rewarddiff.pipeline.data import Run, prepare
from rewarddiff.pipeline.judge_use import uses_kept
from rewarddiff.pipeline.judging import (
    held_out,
    judged,
    rewards_stage,
    samples_stage,
    sampling_encoder,
)
from rewarddiff.pipeline.online_stage import check_online
from rewarddiff.pipeline.planning import check_fits, check_longest
from rewarddiff.pipeline.policies import policy_stage
from rewarddiff.pipeline.policy_recipe import OnlineRecipe
from rewarddiff.pipeline.recipe import Recipe
from rewarddiff.pipeline.scorer_recipe import ScorerRecipe
from rewarddiff.pipeline.scorers import check_judges, evaluation_stage
from rewarddiff.pipeline.stage import Stage
from rewarddiff.pipeline.verdicts_stage import verdicts_stage
from rewarddiff.processes import once
from rewarddiff.records import Group
from rewarddiff.sampling.options import VLLM
from rewarddiff.sampling.vllm import require_vllm
from rewarddiff.scorers.judging.options import Judge
from rewarddiff.scorers.neural.objectives import check_strengths
from rewarddiff.store import fingerprint


def carry_out(recipe: Recipe, output: Path) -> Run:
    """Carry out all stages for all seeds; what is already there is not done again."""
    check_places(recipe, output)
    once(lambda: check_models(recipe))
    run = prepare(recipe, output)
    once(lambda: check_early(run))
    return complete(run)


def complete(run: Run, trained: Callable[[Stage], None] = lambda stage: None) -> Run:
    """Carry out the stages after the data; `trained` hears of every policy that is there."""
    with uses_kept(run):
        _complete(run, trained)
    return run


def _complete(run: Run, trained: Callable[[Stage], None]) -> None:
    if judged(run):
        # A server that is down, or has no such model, ends the run before anything is trained.
        for name in run.recipe.served:
            samples_stage(run, name, run.recipe.seeds[0])
    check_judges(run)
    for name in run.recipe.judges:
        # So does a judge that cannot be asked. A panel waits for those who sit on it.
        if name not in run.recipe.panels:
            evaluation_stage(run, name, run.recipe.seeds[0])
    for seed in run.recipe.seeds:
        for name in run.recipe.scorers:
            evaluation_stage(run, name, seed)
            gc.collect()
        for name in run.recipe.trained_here:
            trained(policy_stage(run, name, seed))
            gc.collect()
        if judged(run):
            rewards_stage(run, seed)
            if run.recipe.judges:
                verdicts_stage(run, seed)


def check_models(recipe: Recipe) -> None:
    """Find the models that a recipe names, before its first stage begins.

    Raises:
        UserError: names the key, what is wrong, and the nearest name that there is.
    """
    for key, name in _models_named(recipe).items():
        try:
            models.lineage(name)
        except UserError as error:
            raise UserError(f"{key}: {error}") from error


def _models_named(recipe: Recipe) -> dict[str, str]:
    """Return the folders and hub names of the models that a recipe reads, by its keys."""
    named: dict[str, str | None] = {}
    if recipe.policies:
        named["model"] = recipe.model
    for name, scorer in recipe.scorer_models.items():
        key = "backbone" if scorer.trained is None else "trained"
        named[f"scorers.{name}.{key}"] = scorer.trained or scorer.backbone
        if scorer.warm_start not in recipe.scorers:
            named[f"scorers.{name}.warm_start"] = scorer.warm_start
    for name, judge in recipe.judges.items():
        if isinstance(judge, Judge):
            named[f"scorers.{name}.local"] = judge.local
    for name, folder in recipe.folders_elsewhere.items():
        named[f"policies.{name}.trained"] = folder
    return {key: name for key, name in named.items() if name is not None}


def check_places(recipe: Recipe, output: Path) -> None:
    """Refuse a model or data in a folder that this run may make anew, and so remove.

    Raises:
        UserError: names the key, and the folder of the run.
    """
    sources: dict[str, str | None] = {"data.path": recipe.data.path, **_models_named(recipe)}
    for label, path in recipe.data.tests.items():
        sources[f"data.tests.{label}"] = path
    for name, policy in recipe.trained_here.items():
        if isinstance(policy.online, OnlineRecipe):
            sources[f"policies.{name}.online.value_head"] = policy.online.value_head
            if policy.online.baseline is not None:
                file = policy.online.baseline.file
                sources[f"policies.{name}.online.baseline.file"] = file
    policies = product(recipe.trained_here, recipe.seeds)
    trained = [f"scorers/{name}-{seed}" for name, seed in product(recipe.scorers, recipe.seeds)]
    for name, seed in policies:
        trained += [f"policies/{name}-{seed}", f"baselines/{name}-{seed}"]
    for key, source in sources.items():
        if source is None:
            continue
        place = user_path(source).resolve()
        for stage in trained:
            if place.is_relative_to((output / stage).resolve()):
                raise UserError(
                    f"{key}: {source} lies in a folder that this run makes anew ({stage}); "
                    "choose another output"
                )


def check_early(run: Run) -> None:
    """Find what would stop the run later, before anything is trained.

    Raises:
        UserError: names the key, the row or the model at fault.
    """
    recipe = run.recipe
    train = run.splits["train"]
    if judged(run) and isinstance(recipe.evaluation.sampling.engine, VLLM):
        require_vllm()
    for scorer in recipe.scorer_models.values():
        check_trainable(scorer.train)
        if scorer.trained is None:
            check_strengths(train, scorer.loss)
    for name, judge in recipe.judges.items():
        if name not in recipe.panels:
            # Its key, its prompt file, its votes: what is missing is said now.
            judge.scorer(f"scorers.{name}")
    for name, folder in recipe.folders_elsewhere.items():
        _check_language_model(f"policies.{name}.trained", folder)
    for name, policy in recipe.trained_here.items():
        check_trainable(policy.train)
        if policy.online is None:
            policy.objective.check(train)
        if policy.order is None:
            _check_grades(run, name)
        elif train:
            longest = max(len(group.responses) for group in train)
            comparisons(longest, policy.order.design)
    _check_responses(run)
    check_online(run)
    check_prompts(run)
    check_fits(run)
    check_longest(run)


def _check_responses(run: Run) -> None:
    """Refuse a policy that learns from responses where the data has prompts alone. Raises UserError."""
    train = run.splits["train"]
    if any(group.responses for group in train):
        return
    for name, policy in run.recipe.trained_here.items():
        if policy.online is None:
            raise UserError(
                f"policies.{name}: objective {policy.objective.name} compares or learns responses, "
                f"and {run.recipe.data.path} holds prompts alone; give data with responses, or let "
                f"the policy learn from its own (policies.{name}.online)"
            )


def _check_language_model(place: str, source: str) -> None:
    """Refuse what is no language model, before anything is trained beside it. Raises UserError."""
    folder = models.resolve(source)
    try:
        architectures = models.load_config(source).architectures or []
    except UserError as error:
        raise UserError(f"{place}: {error}") from error
    scores = any(name.endswith("Classification") for name in architectures)
    if scores or (folder / ABOUT).is_file():
        raise UserError(
            f"{place}: {source} is a scorer, and writes nothing; name a language model, "
            "or take it up among the scorers"
        )


def _check_grades(run: Run, name: str) -> None:
    """Raise a UserError where a policy asks for grades and the data lacks some."""
    for kind, column in run.recipe.policies[name].columns.items():
        if column.source == "grades":
            place = f"policies.{name}.{kind}"
            grades(place, run.splits["train"])
            if kind == "strength":  # the dev loss reads it too
                grades(place, run.splits.get("dev", ()))


def check_prompts(run: Run) -> None:
    """Find the prompts that a model of the run cannot read.

    Every prompt is rendered for it, so the store remembers that all can be read.

    Raises:
        UserError: names the row and the cause.
    """
    recipe = run.recipe
    sources = [scorer.trained or scorer.backbone for scorer in recipe.scorer_models.values()]
    if recipe.policies and recipe.model is not None:
        sources += [recipe.model, *recipe.folders_elsewhere.values()]
    weights = [models.fingerprint(source) for source in sources]
    key = fingerprint("prompts can be read", run.prepared["inputs"], _reading_of(run), weights)
    if run.store.get([key]):
        return
    if recipe.policies and recipe.model is not None:
        _check_policies_prompts(run, recipe.model)
        for folder in recipe.folders_elsewhere.values():
            _check_samples_prompts(run, folder)
    for name, scorer in recipe.scorer_models.items():
        _check_scorers_prompts(run, name, scorer)
    run.store.put({key: True})


def _reading_of(run: Run) -> list[Any]:
    """Return what decides, besides data and models, which prompts are read and how.

    A sweep of other keys renders no prompt again.
    """
    recipe = run.recipe
    scorers = [
        (name, scorer.kind, scorer.trained, scorer.reads_apart, sorted(scorer.aspects))
        for name, scorer in recipe.scorer_models.items()
    ]
    asked = sorted(set().union(*(recipe.sources_of(policy) for policy in recipe.policies)))
    limits = [to_dict(recipe.lengths), recipe.data.max_drop]
    is_trained = bool(recipe.trained_here)
    return [scorers, asked, judged(run), is_trained, to_dict(recipe.evaluation), limits]


def _check_policies_prompts(run: Run, model: str) -> None:
    """Check the prompts of training, dev and samples.

    Training drops what the chat template refuses, up to `max_drop`; a prompt of samples has to be
    there.
    """
    if run.recipe.trained_here:
        tokenizer = models.load_tokenizer(model)
        encoder = Encoder(tokenizer, run.recipe.lengths, models.context_length(model))
        train = run.splits["train"]
        _check_share(encoder, chain(train, run.splits.get("dev", ())), run.recipe.data.max_drop)
        _check_one_prompt(encoder, train, 1)
    _check_samples_prompts(run, model)


def _check_samples_prompts(run: Run, model: str) -> None:
    """Check the prompts that a model is to answer, if any."""
    if not judged(run):
        return
    encoder = sampling_encoder(run, models.load_tokenizer(model), model)
    groups = held_out(run)
    encoder.require(groups)
    _check_one_prompt(encoder, groups, run.recipe.evaluation.sampling.max_new_tokens)


def _check_one_prompt(encoder: Encoder, groups: Iterable[Group], new_tokens: int) -> None:
    """Try a prompt, which tells whether there is room, and an end of turn."""
    for group, cause in encoder.refusals(groups):
        if cause is None:
            encoder.fitting(group.prompt, new_tokens)
            encoder.end_of(group.prompt)
            break


def _check_scorers_prompts(run: Run, name: str, scorer: ScorerRecipe) -> None:
    """Check the prompts that a scorer is trained on and asked about.

    Training drops what the chat template refuses, up to `max_drop`; what the scorer is asked about
    has to be there. That is what it is measured on, and the training split where a policy is
    trained with its answers.
    """
    tokenizer = models.load_tokenizer(scorer.trained or scorer.backbone)
    by_template = scorer.kind == "reward" or (scorer.trained is None and scorer.reads_apart)
    if tokenizer.chat_template is None or not by_template:
        return
    encoder = Encoder(tokenizer, LengthConfig())
    asked = [run.splits.get("dev", ()), *run.held_out.values()]
    if any(name in run.recipe.sources_of(policy) for policy in run.recipe.policies):
        asked.append(run.splits["train"])
    for groups in asked:
        encoder.require(groups)
    # With aspects, training counts only some of the rows.
    if scorer.trained is None and not scorer.aspects:
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
