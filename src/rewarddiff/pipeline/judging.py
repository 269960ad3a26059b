"""Stages that judge policies: samples on held-out prompts, and what the scorers say of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerBase

from rewarddiff import models
from rewarddiff.config import to_dict
from rewarddiff.differences import Array
from rewarddiff.encoding import Encoder
from rewarddiff.machine import Meter
from rewarddiff.pipeline.data import Run
from rewarddiff.pipeline.judge_account import Account
from rewarddiff.pipeline.policies import policy_stage
from rewarddiff.pipeline.recipe import BASE
from rewarddiff.pipeline.scorers import scorer_of, scorer_stage
from rewarddiff.pipeline.stage import Stage, write_json
from rewarddiff.processes import from_every_process
from rewarddiff.records import Group
from rewarddiff.remembering import KeptMeter
from rewarddiff.sampling import FORMAT, Sample, read_here
from rewarddiff.sampling.options import VLLM
from rewarddiff.sampling.served import FORMAT as SERVED_FORMAT
from rewarddiff.sampling.served_tokens import served_engine
from rewarddiff.sampling.vllm import FORMAT as VLLM_FORMAT
from rewarddiff.scorers.protocol import Pointwise, Scorer
from rewarddiff.store import Store, fingerprint


def judged(run: Run) -> bool:
    """Whether there are policies, scorers to judge them, and held-out prompts."""
    return bool(run.recipe.policies and run.recipe.scorers and "test" in run.splits)


def held_out(run: Run) -> list[Group]:
    """Return groups with different prompts, as many as the recipe asks for."""
    unique = {json.dumps(asdict(group)["prompt"]): group for group in run.splits["test"]}
    return list(unique.values())[: run.recipe.evaluation.prompts]


def sampling_encoder(run: Run, tokenizer: PreTrainedTokenizerBase, folder: str | Path) -> Encoder:
    """Return what writes prompts for samples, whose length `max_new_tokens` alone decides."""
    lengths = replace(run.recipe.lengths, max_response=1)
    return Encoder(tokenizer, lengths, models.context_length(folder))


def samples_stage(run: Run, name: str, seed: int) -> Stage:
    """Draw one response of a policy to every held-out prompt.

    The base model has no seed of its own, nor has a policy that was trained elsewhere.
    """
    recipe = run.recipe
    assert recipe.model is not None
    if name in recipe.served:
        return _served_samples_stage(run, name)
    given = {BASE: recipe.model, **recipe.folders_elsewhere}
    if name in given:
        folder = models.resolve(given[name])
        place = f"samples/{name}"
    else:
        folder = policy_stage(run, name, seed).folder / "model"
        place = f"samples/{name}-{seed}"
    weights = models.fingerprint(folder)
    config = recipe.evaluation.sampling
    stage = run.stage(
        place,
        "samples",
        weights=weights,
        base=models.fingerprint(recipe.model),
        sampling=to_dict(config),
        prompts=recipe.evaluation.prompts,
        lengths=to_dict(recipe.lengths),
        format=VLLM_FORMAT if isinstance(config.engine, VLLM) else FORMAT,
    )
    if stage.done:
        return stage
    engine = read_here(folder, config.engine, max_prompt=recipe.lengths.max_prompt)
    encoder = engine.encoder
    groups = held_out(run)
    prompts = [group.prompt for group in groups]
    room = config.max_new_tokens
    cut = 0
    for prompt in prompts:
        cut += len(encoder.fitting(prompt, room)) < len(encoder.prompt(prompt))
    if cut:
        run.say(
            f"{cut} of {len(prompts)} held-out prompts are cut to their end to leave room for "
            f"{room} new tokens"
        )
    with KeptMeter(run.store, stage.key) as meter:
        samples = engine.samples(
            prompts,
            config,
            rows=[group.source or group.id for group in groups],
            store=run.store,
            meter=meter,
            name=f"samples of {name}",
        )
    meter.tokens = sum(from_every_process(meter.tokens))
    write_json(stage.folder / "samples.json", [asdict(sample) for sample in samples])
    stage.finish(cost=meter.cost(), prompts=len(prompts), prompts_cut=cut)
    return stage


def _served_samples_stage(run: Run, name: str) -> Stage:
    """Ask a server for one response to every held-out prompt, once for all seeds."""
    config = run.recipe.evaluation.sampling
    served = run.recipe.served[name]
    stage = run.stage(
        f"samples/{name}",
        "samples",
        served=served.identity,
        sampling=to_dict(config),
        prompts=run.recipe.evaluation.prompts,
        format=SERVED_FORMAT,
    )
    if stage.done:
        return stage
    groups = held_out(run)
    engine = served_engine(served)
    account = Account.opened(run.store, fingerprint("served calls", stage.key), engine.usage)
    engine.beside = account.beside
    with KeptMeter(run.store, stage.key) as meter:
        samples = engine.samples(
            [group.prompt for group in groups],
            config,
            rows=[group.source or group.id for group in groups],
            store=run.store,
            meter=meter,
            name=f"samples of {name}",
        )
    write_json(stage.folder / "samples.json", [asdict(sample) for sample in samples])
    stage.finish(
        cost=meter.cost(),
        prompts=len(groups),
        calls=account.so_far()[account.key] | {"kept": engine.usage.kept},
        notes=engine.chat.notes,
    )
    return stage


def read_samples(stage: Stage) -> list[Sample]:
    """Return what a samples stage wrote, in the order of the held-out prompts."""
    written = json.loads((stage.folder / "samples.json").read_text())
    return [Sample(**sample) for sample in written]


def rewards_stage(run: Run, seed: int) -> Stage:
    """Have every scorer of this seed reward every policy's samples.

    A pointwise scorer scores a sample alone; a difference model compares it with the base model's
    sample. Judges are left to `verdicts_stage`: a difference to the base model's sample is no more
    than the win rate against it, and would hide ties, turned verdicts and those that lack.
    """
    names = [BASE, *run.recipe.policies]
    samples = {name: samples_stage(run, name, seed) for name in names}
    judges = run.recipe.judges
    rewarding = [name for name in run.recipe.scorers if name not in judges]
    scorers = {name: scorer_stage(run, name, seed) for name in rewarding}
    stage = run.stage(
        f"rewards/{seed}",
        "rewards",
        samples={name: drawn.key for name, drawn in samples.items()},
        scorers={name: trained.key for name, trained in scorers.items()},
    )
    if stage.done:
        return stage
    texts = [_texts(samples[name]) for name in names]
    groups = []
    for group, *responses in zip(held_out(run), *texts, strict=True):
        groups.append(Group(group.id, group.prompt, tuple(responses), source=group.source))
    rewards: dict[str, dict[str, list[float]]] = {}
    with Meter() as meter:
        for label in scorers:
            scorer = scorer_of(run, label, seed)
            values = _rewards(scorer, groups, run.store, f"rewards by {label}")
            rewards[label] = dict(zip(names, values.T.tolist(), strict=True))
    write_json(stage.folder / "rewards.json", rewards)
    stage.finish(cost=meter.cost())
    return stage


def _texts(stage: Stage) -> list[str]:
    """Return a policy's samples; a text without tokens has no score, so none is empty."""
    return [sample.text or " " for sample in read_samples(stage)]


def _rewards(scorer: Scorer, groups: Sequence[Group], store: Store, progress: str) -> Array:
    """Return what a scorer says of every sample, (prompts, policies)."""
    if isinstance(scorer, Pointwise):
        return np.stack(scorer.rewards(groups, store=store, progress=progress))
    pairs = []
    for group in groups:
        pairs.append([(place, 0) for place in range(len(group.responses))])
    differences = scorer.differences(groups, pairs, store=store, progress=progress)
    return np.stack([d.mean for d in differences])
