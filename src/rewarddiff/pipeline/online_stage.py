"""The stage of a policy that learns from its own samples."""

from __future__ import annotations

from dataclasses import replace

from rewarddiff import models
from rewarddiff.config import to_dict
from rewarddiff.data import Ledger
from rewarddiff.encoding import Encoder
from rewarddiff.errors import UserError
from rewarddiff.hashing import digest
from rewarddiff.paths import user_path
from rewarddiff.pipeline.columns import temperature_of
from rewarddiff.pipeline.data import Run, facts_of
from rewarddiff.pipeline.online_baseline import check_stored, stored_of, with_stored
from rewarddiff.pipeline.policy_recipe import OnlineRecipe, SemiOnlineRecipe
from rewarddiff.pipeline.reward_functions import functions_of
from rewarddiff.pipeline.scorers import scorer_of, scorer_stage
from rewarddiff.pipeline.stage import Stage
from rewarddiff.policies.online.card import settings_of
from rewarddiff.policies.online.config import OnlineConfig
from rewarddiff.policies.online.group_rewards import RewardFunctions
from rewarddiff.policies.online.semi_config import SemiOnlineConfig
from rewarddiff.policies.online.train import train_online
from rewarddiff.policies.policy import save_trained, start_of
from rewarddiff.scorers.protocol import Scorer


def online_stage(run: Run, name: str, options: OnlineRecipe | SemiOnlineRecipe, seed: int) -> Stage:
    """Train policy `name` on its own answers to the prompts of the training split."""
    recipe = run.recipe
    policy = recipe.policies[name]
    assert recipe.model is not None
    source = recipe.online_source(name)
    scorer = scorer_stage(run, source, seed)
    stored = None
    if isinstance(options, OnlineRecipe):
        stored = stored_of(run, name, options, seed)
    stage = run.stage(
        f"policies/{name}-{seed}",
        "policy",
        config=policy.settings,
        model=models.fingerprint(recipe.model),
        lengths=to_dict(recipe.lengths),
        scorer=scorer.key,
        seed=seed,
        **_head_of(name, options),
        **({} if stored is None else {"stored": stored.content}),
    )
    if stage.done:
        return stage
    run.say(f"policy {name}, seed {seed}")
    teacher = scorer_of(run, source, seed)
    # What the data says of its responses is not in the unit of the scorer.
    groups = [group.with_responses(group.responses) for group in run.splits["train"]]
    config: OnlineConfig | SemiOnlineConfig
    if isinstance(options, SemiOnlineRecipe):
        config, functions = _of_pairs(run, name, options, teacher, seed)
    else:
        config, functions = options.config(policy), functions_of(teacher)
        if stored is not None:
            groups = with_stored(run, name, options, stored, teacher, seed)
    model, tokenizer = start_of(recipe.model, policy, seed)
    lengths = replace(recipe.lengths, max_response=config.max_new_tokens)
    ledger = Ledger()
    result = train_online(
        model,
        groups,
        functions,
        config,
        encoder=Encoder(tokenizer, lengths, models.context_length(recipe.model)),
        output=stage.folder,
        identity=scorer.key,
        seed=seed,
        name=f"{name} (seed {seed})",
        ledger=ledger,
        max_drop=recipe.data.max_drop,
    )
    facts = replace(facts_of(run, recipe.model), settings=settings_of(config, source))
    save_trained(model, tokenizer, stage.folder, policy.lora, facts=facts, objective=config.method)
    stage.finish(curve=result.curve, cost=result.cost, coefficient={}, ledger=ledger.to_dict())
    return stage


def check_online(run: Run) -> None:
    """Read the files that online policies name, before anything is trained. Raises UserError."""
    for name, policy in run.recipe.trained_here.items():
        if isinstance(policy.online, OnlineRecipe):
            _head_of(name, policy.online)
    check_stored(run)


def _head_of(name: str, options: OnlineRecipe | SemiOnlineRecipe) -> dict[str, str]:
    """Return what a stage is made of besides: the value head that it starts from, if there is one.

    Raises:
        UserError: there is no such file.
    """
    if isinstance(options, SemiOnlineRecipe) or options.value_head is None:
        return {}
    try:
        content = user_path(options.value_head).read_bytes()
    except OSError as error:
        raise UserError(
            f"policies.{name}.online.value_head: {options.value_head} cannot be read "
            f"({error.strerror}); name a file that save_value_head wrote"
        ) from error
    return {"value_head": digest([content])}


def _of_pairs(
    run: Run, name: str, options: SemiOnlineRecipe, teacher: Scorer, seed: int
) -> tuple[SemiOnlineConfig, RewardFunctions]:
    """Return what trains a policy on pairs of samples, and who compares them."""
    policy = run.recipe.policies[name]
    source = run.recipe.online_source(name)
    config = options.config(policy)
    functions = functions_of(teacher, spread=config.reads_spread)
    if config.coefficient is not None:
        # As offline, another seed shuffles in another way.
        coefficient = replace(config.coefficient, seed=config.coefficient.seed + seed)
        config = replace(config, coefficient=coefficient)
        if coefficient.calibrated:
            place = f"policies.{name}.coefficient"
            temperature = temperature_of(run, source, seed, place)
            functions = replace(functions, temperature=temperature)
    if policy.reads_strength and policy.strength is not None and policy.strength.calibrated:
        temperature = temperature_of(run, source, seed, f"policies.{name}.strength")
        config = replace(config, strength_scale=config.strength_scale / temperature)
    return config, functions
