"""Stages that judge policies: samples on held-out prompts, and what the scorers say of them."""

from __future__ import annotations

import json
from dataclasses import asdict

from rewarddiff import models
from rewarddiff.config import to_dict
from rewarddiff.encoding import Encoder
from rewarddiff.machine import Meter
from rewarddiff.pipeline.data import Run
from rewarddiff.pipeline.policies import policy_stage
from rewarddiff.pipeline.recipe import BASE
from rewarddiff.pipeline.scorers import scorer_stage
from rewarddiff.pipeline.stage import Stage, write_json
from rewarddiff.records import Group
from rewarddiff.sampling import FORMAT, Sample, sample
from rewarddiff.scorers.neural.build import load_scorer


def judged(run: Run) -> bool:
    """Whether there are policies, scorers to judge them, and held-out prompts."""
    return bool(run.recipe.policies and run.recipe.scorers and "test" in run.splits)


def held_out(run: Run) -> list[Group]:
    """Groups with different prompts, as many as the recipe asks for."""
    unique = {json.dumps(asdict(g)["prompt"]): g for g in run.splits["test"]}
    return list(unique.values())[: run.recipe.evaluation.prompts]


def samples_stage(run: Run, name: str, seed: int) -> Stage:
    """One response of a policy to every held-out prompt. The base model has no seed of its own."""
    recipe = run.recipe
    assert recipe.model is not None
    folder = (
        models.resolve(recipe.model)
        if name == BASE
        else policy_stage(run, name, seed).folder / "model"
    )
    weights = models.fingerprint(folder)
    config = recipe.evaluation.sampling
    stage = run.stage(
        f"samples/{name}" if name == BASE else f"samples/{name}-{seed}",
        "samples",
        weights=weights,
        base=models.fingerprint(recipe.model),
        sampling=to_dict(config),
        prompts=recipe.evaluation.prompts,
        lengths=to_dict(recipe.lengths),
        format=FORMAT,
    )
    if stage.done:
        return stage
    model, tokenizer = models.load_causal_lm(folder)
    model = model.to(models.device())  # type: ignore[arg-type]
    encoder = Encoder(tokenizer, recipe.lengths, models.context_length(recipe.model))
    prompts = [g.prompt for g in held_out(run)]
    room = config.max_new_tokens
    cut = sum(len(encoder.fitting(p, room)) < len(encoder.prompt(p)) for p in prompts)
    if cut:
        run.say(
            f"{cut} of {len(prompts)} held-out prompts are cut to their end to leave room for {room} new tokens"
        )
    with Meter() as meter:
        samples = sample(
            model,
            encoder,
            prompts,
            config,
            weights=weights,
            store=run.store,
            meter=meter,
            name=f"samples of {name}",
        )
    write_json(stage.folder / "samples.json", [asdict(s) for s in samples])
    stage.finish(cost=meter.cost(), prompts=len(prompts), prompts_cut=cut)
    return stage


def read_samples(stage: Stage) -> list[Sample]:
    """What a samples stage wrote, in the order of the held-out prompts."""
    return [Sample(**s) for s in json.loads((stage.folder / "samples.json").read_text())]


def rewards_stage(run: Run, seed: int) -> Stage:
    """Every scorer of this seed on every policy's samples.

    A reward model scores a sample alone; a difference model compares it with the base model's
    sample.
    """
    names = [BASE, *run.recipe.policies]
    samples = {name: samples_stage(run, name, seed) for name in names}
    scorers = {name: scorer_stage(run, name, seed) for name in run.recipe.scorers}
    stage = run.stage(
        f"rewards/{seed}",
        "rewards",
        samples={name: made.key for name, made in samples.items()},
        scorers={name: made.key for name, made in scorers.items()},
    )
    if stage.done:
        return stage
    drawn = {name: read_samples(made) for name, made in samples.items()}
    prompts = held_out(run)
    groups = [
        Group(g.id, g.prompt, tuple(drawn[name][i].text or " " for name in names), source=g.source)
        for i, g in enumerate(prompts)
    ]
    found: dict[str, dict[str, list[float]]] = {}
    with Meter() as meter:
        for label, scored in scorers.items():
            scorer = load_scorer(scored.folder / "model").to(models.device())
            if scorer.kind == "reward":
                values = scorer.scores(groups, store=run.store, progress=f"rewards by {label}")
            else:
                pairs = [[(i, 0) for i in range(len(names))]] * len(groups)
                values = scorer.differences(
                    groups, pairs, store=run.store, progress=f"rewards by {label}"
                )
            found[label] = {name: [float(v[i]) for v in values] for i, name in enumerate(names)}
    write_json(stage.folder / "rewards.json", found)
    stage.finish(cost=meter.cost())
    return stage
