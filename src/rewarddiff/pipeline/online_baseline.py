"""Stored responses that an online reward compares with: from a file, or drawn before training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rewarddiff import models
from rewarddiff.config import to_dict
from rewarddiff.data import Ledger
from rewarddiff.data.questions import Question
from rewarddiff.encoding import Encoder
from rewarddiff.errors import UserError
from rewarddiff.machine import Meter
from rewarddiff.pipeline.baseline import BaselineConfig, Named, write_baseline
from rewarddiff.pipeline.data import Run
from rewarddiff.pipeline.policy_recipe import OnlineRecipe
from rewarddiff.pipeline.scorer_recipe import ScorerRecipe
from rewarddiff.pipeline.scorers import scorer_of, scorer_stage
from rewarddiff.pipeline.stage import Stage
from rewarddiff.policies.online.config import OnlineOptions, StoredConfig
from rewarddiff.policies.online.rollouts import online_prompts
from rewarddiff.records import Group
from rewarddiff.report.baseline import BaselineSummary, verdict
from rewarddiff.results import plain
from rewarddiff.rewards.stored import StoredBaseline, StoredResponses, read_baseline
from rewarddiff.sampling.engines import read_here
from rewarddiff.scorers.protocol import Pointwise, Scorer

FILE = "baseline.jsonl"


def stored_of(run: Run, name: str, options: OnlineRecipe, seed: int) -> StoredBaseline | None:
    """Return the stored responses of policy `name`; None where they are the data's own.

    Raises:
        UserError: the file is none, or lacks a prompt of the training split.
    """
    if options.baseline is None:
        return None
    if options.baseline.file is not None:
        return read_stored(options.baseline.file, run.splits["train"], options)
    return read_baseline(_baseline_stage(run, name, options, options.baseline, seed).folder / FILE)


def read_stored(file: str, groups: Sequence[Group], options: OnlineOptions) -> StoredBaseline:
    """Read a file of stored responses to these groups' prompts.

    Raises:
        UserError: the file is none, lacks a prompt, or has unequally many responses for a maximum.
    """
    stored = read_baseline(file)
    missing = [group for group in groups if group.prompt not in stored.by_prompt]
    if missing:
        try:
            stored.of(missing[0].prompt)
        except UserError as error:
            place = missing[0].source or missing[0].id
            raise UserError(
                f"{place}: {error} (so it is with {len(missing)} of {len(groups)} prompts)"
            ) from None
    if options.reward.baseline == "max":
        stored.require_equal_sizes()
    return stored


def check_stored(run: Run) -> None:
    """Read the files that policies name, before anything is trained. Raises UserError."""
    for name, policy in run.recipe.trained_here.items():
        online = policy.online
        if not isinstance(online, OnlineRecipe):
            continue
        if online.baseline is None or online.baseline.file is None:
            continue
        try:
            read_stored(online.baseline.file, run.splits["train"], online)
        except UserError as error:
            raise UserError(f"policies.{name}.online.baseline.file: {error}") from error


def with_stored(
    run: Run, name: str, options: OnlineRecipe, stored: StoredBaseline, scorer: Scorer, seed: int
) -> list[Group]:
    """Return the training split's groups with their stored responses, as its reward reads them.

    Scores are those of the file if they are of this scorer; else they are asked for once, and kept.
    A prompt that has none (training drops it, as it cannot be read) is left without.

    Args:
        name: of the policy.
        scorer: of its samples.
    """
    source = run.recipe.online_source(name)
    is_of_scorer = stored.scorer != "" and stored.scorer == _fingerprint(run, source, seed)
    groups = beside(stored, run.splits["train"], with_scores=is_of_scorer)
    if options.reward.kind != "contrastive" or not isinstance(scorer, Pointwise):
        return groups
    unscored = [group for group in groups if group.scores is None]
    scores = iter(scorer.rewards(unscored, store=run.store, progress=f"baseline by {source}"))
    complete = []
    for group in groups:
        if group.scores is None:
            group = replace(group, scores=tuple(next(scores).tolist()))
        complete.append(group)
    return complete


def beside(stored: StoredBaseline, groups: Sequence[Group], *, with_scores: bool) -> list[Group]:
    """Return groups with the responses that are stored to their prompts in place of their own."""
    nothing = StoredResponses(())
    with_responses = []
    for group in groups:
        responses = stored.by_prompt.get(group.prompt, nothing)
        group = group.with_responses(responses.responses)
        if with_scores and responses.scores is not None:
            group = replace(group, scores=tuple(responses.scores.tolist()))
        with_responses.append(group)
    return with_responses


def _fingerprint(run: Run, name: str, seed: int) -> str:
    """Return the hash of scorer `name` that `rewarddiff baseline` writes beside its scores."""
    config = run.recipe.scorers[name]
    if not isinstance(config, ScorerRecipe):
        return config.fingerprint()
    if config.trained is not None and not config.aspects:
        return models.fingerprint(config.trained)
    return models.fingerprint(scorer_stage(run, name, seed).folder / "model")


def _baseline_stage(
    run: Run, name: str, options: OnlineRecipe, source: StoredConfig, seed: int
) -> Stage:
    """Draw responses from what training of policy `name` starts from, and say how hard prompts are."""
    recipe = run.recipe
    assert recipe.model is not None
    scorer_name = recipe.online_source(name)
    config = BaselineConfig(
        k=source.k,
        temperature=source.temperature,
        max_new_tokens=options.max_new_tokens,
        max_prompt=recipe.lengths.max_prompt,
        stop=options.stop,
        batch_size=options.sampling_batch_size,
        seed=seed,
    )
    stage = run.stage(
        f"baselines/{name}-{seed}",
        "baseline",
        config=to_dict(config),
        model=models.fingerprint(recipe.model),
        scorer=scorer_stage(run, scorer_name, seed).key,
    )
    if stage.done:
        return stage
    run.say(f"baseline of policy {name}, seed {seed}")
    engine = read_here(recipe.model, max_prompt=recipe.lengths.max_prompt)
    named = Named(recipe.data.path, recipe.model, scorer_name, _fingerprint(run, scorer_name, seed))
    with Meter() as meter:
        summary = write_baseline(
            stage.folder / FILE,
            engine,
            scorer_of(run, scorer_name, seed),
            _questions(run.splits["train"], engine.encoder, options),
            config,
            run.store,
            named,
        )
    run.say(f"{verdict(summary)} Its page is {(stage.folder / FILE).with_suffix('.html')}")
    stage.finish(baseline=_figures(summary), cost=meter.cost())
    return stage


def _questions(groups: Sequence[Group], encoder: Encoder, options: OnlineRecipe) -> list[Question]:
    """Return the prompts that training will not drop; what it drops it counts itself."""
    usable = online_prompts(groups, encoder, options.max_new_tokens, Ledger())
    return [Question(prompt.group.prompt, place=prompt.id) for prompt in usable]


def _figures(summary: BaselineSummary) -> dict[str, object]:
    """Return what the manifest tells of the prompts' difficulty."""
    figures: dict[str, object] = {"prompts": summary.prompts, "k": summary.k}
    figures |= {"cut": summary.cut, "empty": summary.empty, "unscored": summary.unscored}
    if summary.means is not None and summary.spreads is not None:
        figures |= {"means": plain(summary.means), "spreads": plain(summary.spreads)}
        figures["between"] = summary.between.value
    return figures
