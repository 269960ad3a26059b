"""Stages of scorers: training, evaluation, and the differences that policies are weighted by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from rewarddiff import models
from rewarddiff.config import to_dict
from rewarddiff.data import Ledger, prompt_hashes
from rewarddiff.errors import UserError
from rewarddiff.evaluation.calibration import Calibration, calibrate
from rewarddiff.evaluation.scored import ScoredComparison
from rewarddiff.evaluation.scorers import evaluate_differences
from rewarddiff.loop.train import discard_checkpoint
from rewarddiff.machine import Meter
from rewarddiff.paths import user_path
from rewarddiff.pipeline.data import Run, comparisons, content
from rewarddiff.pipeline.stage import Stage, write_json
from rewarddiff.records import Comparison, Group
from rewarddiff.results import Evaluation, TrainedOn, plain
from rewarddiff.scorers.neural import heads
from rewarddiff.scorers.neural.build import load_scorer, save_scorer, trained_prompts
from rewarddiff.scorers.neural.scorer import Scorer
from rewarddiff.scorers.neural.train import train_scorer
from rewarddiff.scorers.ranking import consistency, rank
from rewarddiff.store import Store, fingerprint

FIGURES = 5
"""Raised when an evaluation tells more, or otherwise: the figures of an earlier one are then made
anew."""


def scorer_stage(run: Run, name: str, seed: int) -> Stage:
    """Train scorer `name`, and fit its temperature on the dev split."""
    asked = run.recipe.scorers[name]
    if asked.trained is not None:
        return _trained_stage(run, name, asked.trained, seed)
    config, warm = asked.own, None
    if config.warm_start is not None and config.warm_start in run.recipe.scorers:
        teacher = scorer_stage(run, config.warm_start, seed)
        warm, config = teacher.key, replace(config, warm_start=str(teacher.folder / "model"))
    elif config.warm_start is not None:
        warm = models.fingerprint(config.warm_start)
    stage = run.stage(
        f"scorers/{name}-{seed}",
        "scorer",
        config=to_dict(asked.own),
        backbone=models.fingerprint(config.backbone),
        warm=warm,
        seed=seed,
    )
    if stage.done:
        return stage
    if not any(comparisons(group) for group in run.splits["train"]):
        labelled = any(any(group.known_labels()) for group in run.splits["train"])
        held = "single labelled responses" if labelled else "none with an order"
        raise UserError(
            f"scorers.{name}: a scorer learns from comparisons, the data has {held}: bring some, or leave scorers out"
        )
    ledger = Ledger()
    run.say(f"scorer {name}, seed {seed}")
    scorer, result = train_scorer(
        config, run.splits["train"], run.splits.get("dev", ()), output=stage.folder, seed=seed,
        ledger=ledger, max_drop=run.recipe.data.max_drop, name=f"{name} (seed {seed})",
    )  # fmt: skip
    scorer.name = f"scorers.{name} (seed {seed})"
    remark = _calibrate(run, scorer, name)
    save_scorer(scorer, stage.folder / "model")
    discard_checkpoint(stage.folder)
    stage.finish(
        curve=result.curve, cost=result.cost, ledger=ledger.to_dict(), temperature=scorer.temperature,
        temperature_remark=remark,
    )  # fmt: skip
    return stage


def _calibrate(run: Run, scorer: Scorer, name: str) -> str:
    """Fit the scorer's temperature on the dev split; return what there is to remark on it."""
    dev = run.splits.get("dev")
    if not dev:
        return "data.splits has no share for dev"
    calibration = held_out_calibration(scorer, dev, f"{name} on dev", run.store)
    scorer.temperature = calibration.temperature
    if calibration.remark:
        run.say(f"{scorer.name}: {calibration.remark}")
    return calibration.remark


def held_out_calibration(
    scorer: Scorer,
    held_out: Sequence[Group],
    progress: str | None = None,
    store: Store | None = None,
) -> Calibration:
    """T at which σ(d / T) is nearest to how often the scorer is right on these groups, as far as
    they tell it."""
    return calibrate(compare(scorer, held_out, progress, store))


def _trained_stage(run: Run, name: str, folder: str, seed: int) -> Stage:
    """A scorer that is trained already: its copy, its aspects weighed as the recipe says.

    A temperature is fitted on the dev split where it has none.
    """
    kind, aspects = run.recipe.scorers[name].kind, run.recipe.scorers[name].aspects
    inputs = {"trained": models.fingerprint(folder), "kind": kind} | (
        {"aspects": to_dict(aspects)} if aspects else {}
    )
    stage = run.stage(f"scorers/{name}-{seed}", "scorer", **inputs)
    if not stage.done:
        with Meter() as meter:
            scorer = load_scorer(folder)
            if scorer.kind != kind:
                raise UserError(
                    f"scorers.{name}.trained: {folder} is a {scorer.kind} model; set kind to {scorer.kind}"
                )
            if aspects:
                scorer.weigh(aspects)
            scorer.name = f"scorers.{name} ({folder})"
            remark = _calibrate(run, scorer, name) if scorer.temperature is None else ""
            save_scorer(scorer, stage.folder / "model")
        stage.finish(
            curve=[], cost=meter.cost(), ledger=Ledger().to_dict(), temperature=scorer.temperature,
            temperature_remark=remark,
        )  # fmt: skip
    return stage


def evaluation_stage(run: Run, name: str, seed: int) -> Stage:
    """Measure scorer `name` on the test split and on every further test file.

    `comparisons.json` keeps what it said of every comparison, for intervals over seeds and scorers
    side by side.
    """
    trained = scorer_stage(run, name, seed)
    tests = {label: content(groups) for label, groups in run.tests.items()}
    stage = run.stage(
        f"evaluations/{name}-{seed}", "evaluation", scorer=trained.key, tests=tests, figures=FIGURES
    )
    if stage.done:
        return stage
    with Meter() as meter:
        scorer = load_scorer(trained.folder / "model").to(models.device()) if run.held_out else None
        compared = {
            label: compare(scorer, groups, f"{name} on {label}", run.store)
            for label, groups in run.held_out.items()
            if scorer is not None
        }
    write_json(
        stage.folder / "comparisons.json",
        {label: [asdict(c) for c in own] for label, own in compared.items()},
    )
    temperature = trained.manifest["temperature"]
    told = {label: plain(measure(own, temperature)) for label, own in compared.items()}
    stage.finish(evaluations=told, cost=meter.cost())
    return stage


def compare(
    scorer: Scorer, groups: Sequence[Group], progress: str | None = None, store: Store | None = None
) -> list[ScoredComparison]:
    """What a scorer says of every labelled comparison."""
    return [ScoredComparison(**c) for c in scorer.measured(groups, store=store, progress=progress)]


def measure(compared: Sequence[ScoredComparison], temperature: float | None = None) -> Evaluation:
    """Return every figure of a scorer with this temperature."""
    return evaluate_differences(compared, temperature=temperature)


def held_out_groups(
    groups: Sequence[Group], scorers: Iterable[str | Path]
) -> tuple[list[Group], TrainedOn]:
    """Return the groups whose prompts none of these scorers was trained on, and how many others
    there are.

    All groups are returned where no other is left.

    Args:
        scorers: their folders.

    Returns:
        The groups, and what the scorers were trained on; its `prompts` are groups.
    """
    prompts = [trained_prompts(user_path(folder)) for folder in scorers]
    trained = frozenset[str]().union(*(hashes for hashes in prompts if hashes is not None))
    new = [group for group in groups if trained.isdisjoint(prompt_hashes([group]))]
    trained_on = TrainedOn(
        known=all(hashes is not None for hashes in prompts),
        prompts=len(groups) - len(new),
        left_out=0 < len(new) < len(groups),
    )
    return new or list(groups), trained_on


@dataclass(frozen=True)
class Part:
    """Groups whose comparisons are trained on or measured: a split, or one that a scorer has put in
    order.

    Attributes:
        name: of the split.
        order: the name of the order it has, if not the data's own. key: what that order was made
            from.
    """

    groups: Sequence[Group]
    name: str = "train"
    order: str | None = None
    key: str | None = None

    @property
    def suffix(self) -> str:
        """What folders of this part end with."""
        split = "" if self.name == "train" else f"-{self.name}"
        return split + ("" if self.order is None else f"-as-{self.order}")


def order_stage(run: Run, policy: str, seed: int) -> Stage:
    """Scores of every response of the training split, by the scorer that puts them in order for a
    policy."""
    config = run.recipe.policies[policy].order
    assert config is not None
    design = replace(config.design, seed=config.design.seed + seed)
    name = run.recipe.source_of(policy, "order")
    scorer = scorer_stage(run, name, seed)
    folder = f"orders/{name}-{fingerprint(to_dict(config))[:8]}-{seed}"
    stage = run.stage(folder, "order", scorer=scorer.key, config=to_dict(config))
    if not stage.done:
        groups = run.splits["train"]
        loaded = load_scorer(scorer.folder / "model").to(models.device())
        with Meter() as meter:
            found = rank(
                loaded, groups, design, config.method, store=run.store, progress=f"order by {name}"
            )
            np.save(
                stage.folder / "scores.npy",
                np.concatenate([r.scores for r in found]),
                allow_pickle=False,
            )
        stage.finish(cost=meter.cost(), report=asdict(consistency(groups, found)))
    return stage


def ordered(run: Run, policy: str, seed: int) -> Part:
    """The training split in the order of `order_stage`."""
    stage = order_stage(run, policy, seed)
    scores = iter(np.load(stage.folder / "scores.npy", allow_pickle=False).tolist())
    groups = [
        _turned(group, tuple(next(scores) for _ in group.responses))
        for group in run.splits["train"]
    ]
    return Part(groups, order=stage.folder.name, key=stage.key)


def _turned(group: Group, scores: tuple[float, ...]) -> Group:
    """The group with these scores, and its comparisons, ties among them, as they say."""
    pairs = [(c.chosen, c.rejected) for c in group.known_comparisons()]
    gaps = [scores[a] - scores[b] for a, b in pairs]
    turned = [
        Comparison(*(p if gap >= 0 else p[::-1]), abs(gap))
        for p, gap in zip(pairs, gaps, strict=True)
    ]
    return replace(group, scores=scores, comparisons=tuple(turned))


def differences_stage(run: Run, name: str, seed: int, orders: str, part: Part) -> Stage:
    """d(x, chosen, rejected) of every comparison, by a scorer that was trained before.

    Of one whose heads tell how sure it is, also their spread, in a file beside it.
    """
    scorer = scorer_stage(run, name, seed)
    made_from = {} if part.key is None else {"order": part.key}
    stage = run.stage(
        f"differences/{name}-{orders}-{seed}{part.suffix}", "differences", scorer=scorer.key, orders=orders,
        split=part.name, **made_from,
    )  # fmt: skip
    if not stage.done:
        loaded = load_scorer(scorer.folder / "model").to(models.device())
        with Meter() as meter:
            pairs = [[(c.chosen, c.rejected) for c in comparisons(g)] for g in part.groups]
            said = loaded.by_head(
                part.groups, pairs, orders=orders, store=run.store, progress=f"differences by {name}"  # type: ignore[arg-type]
            )  # fmt: skip
            values, weights = np.concatenate(said), loaded.config.head_weights
            np.save(
                stage.folder / f"{part.name}.npy",
                heads.combined(values, weights),
                allow_pickle=False,
            )
            if loaded.config.spreads:
                np.save(
                    stage.folder / f"{part.name}-spread.npy",
                    heads.spread(values),
                    allow_pickle=False,
                )
        stage.finish(cost=meter.cost())
    return stage
