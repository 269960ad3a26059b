"""Stages of scorers: training and evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rewarddiff import models
from rewarddiff.config import to_dict
from rewarddiff.data import Ledger, prompt_hashes
from rewarddiff.errors import UserError
from rewarddiff.evaluation.calibration import Calibration, calibrate
from rewarddiff.evaluation.comparisons import compare
from rewarddiff.evaluation.scored import ScoredComparison
from rewarddiff.evaluation.scorers import evaluate_differences
from rewarddiff.machine import Meter
from rewarddiff.models import cards
from rewarddiff.paths import user_path
from rewarddiff.pipeline.data import Run, comparisons, content, facts_of
from rewarddiff.pipeline.judge_account import accounted, key_of
from rewarddiff.pipeline.scorer_recipe import ScorerRecipe
from rewarddiff.pipeline.stage import Stage, write_json
from rewarddiff.processes import once
from rewarddiff.records import Group
from rewarddiff.results import Evaluation, TrainedOn, plain
from rewarddiff.scorers.judging.options import Judge, Panel
from rewarddiff.scorers.judging.scorer import JudgeScorer
from rewarddiff.scorers.neural.about import trained_prompts
from rewarddiff.scorers.neural.build import load_scorer, save_scorer
from rewarddiff.scorers.neural.config import ScorerConfig
from rewarddiff.scorers.neural.identity import answers_fingerprint
from rewarddiff.scorers.neural.scorer import NeuralScorer
from rewarddiff.scorers.neural.train import train_scorer
from rewarddiff.scorers.protocol import Scorer, ScorerOptions
from rewarddiff.store import Store, fingerprint

FIGURES = 6
"""Raised when an evaluation tells more, or otherwise: earlier figures are then made anew."""


def scorer_of(run: Run, name: str, seed: int) -> Scorer:
    """Return scorer `name`, ready to be asked; its temperature is in its stage's manifest."""
    stage = scorer_stage(run, name, seed)
    config = run.recipe.scorers[name]
    if isinstance(config, ScorerRecipe):
        return load_scorer(stage.folder / "model").to(models.device())
    return _untrained(run, name, config, seed)


def _untrained(run: Run, name: str, config: ScorerOptions, seed: int) -> Scorer:
    """Return a scorer that is not trained here. A judge is opened once, and so counts all it is asked."""
    place = f"scorers.{name}"
    if isinstance(config, Panel):
        return config.panel_of(place, {of: scorer_of(run, of, seed) for of in config.of})
    if not isinstance(config, Judge):
        return config.scorer(place)
    if name not in run.judges:
        judge = config.scorer(place)
        assert isinstance(judge, JudgeScorer)
        run.judges[name] = accounted(judge, key_of(name, config), run.store)
    return run.judges[name].judge


def check_judges(run: Run) -> None:
    """See that every judge behind a server that was not asked yet can be, before the first is paid.

    Raises:
        UserError: a server is down, has no such model, or takes no such key.
    """
    once(lambda: _check_unasked(run, run.recipe.seeds[0]))


def _check_unasked(run: Run, seed: int) -> None:
    for name, config in run.recipe.judges.items():
        if not isinstance(config, Judge) or config.local is not None:
            continue
        if not Stage.found(run.output / "evaluations" / f"{name}-{seed}"):
            judge = _untrained(run, name, config, seed)
            assert isinstance(judge, JudgeScorer)
            judge.check()


def scorer_stage(run: Run, name: str, seed: int) -> Stage:
    """Train scorer `name`, and fit its temperature on the dev split."""
    recipe = run.recipe.scorers[name]
    if not isinstance(recipe, ScorerRecipe):
        return _untrained_stage(run, name, recipe, seed)
    if recipe.trained is not None:
        return _trained_stage(run, name, recipe, recipe.trained, seed)
    config, start = _started(run, recipe.own, seed)
    stage = run.stage(
        f"scorers/{name}-{seed}",
        "scorer",
        config=to_dict(recipe.own),
        aspects=list(recipe.own.aspects),  # heads begin by their place, and a key has no order
        backbone=models.fingerprint(config.backbone),
        warm=start,
        seed=seed,
    )
    if stage.done:
        return stage
    _check_compared(run, name)
    run.say(f"scorer {name}, seed {seed}")
    ledger = Ledger()
    scorer, result = train_scorer(
        config,
        run.splits["train"],
        run.splits.get("dev", ()),
        output=stage.folder,
        seed=seed,
        ledger=ledger,
        max_drop=run.recipe.data.max_drop,
        name=f"{name} (seed {seed})",
        cache=run.output / "cache",
        made_from=run.data,
    )
    scorer.name = f"scorers.{name} (seed {seed})"
    calibration = _calibration(run, scorer, name)
    scorer.temperature = calibration.temperature
    figures = {}
    if "accuracy" in result.dev:
        label = "accuracy on the dev split, which the temperature is fitted on"
        figures[label] = result.dev["accuracy"]
    facts = facts_of(run, config.warm_start or config.backbone, figures)
    save_trained_scorer(scorer, stage.folder, facts)
    stage.finish(
        curve=result.curve,
        cost=result.cost,
        ledger=ledger.to_dict(),
        temperature=calibration.temperature,
        temperature_remark=calibration.remark,
    )
    return stage


def save_trained_scorer(
    scorer: NeuralScorer, folder: Path, facts: cards.Facts | None = None
) -> None:
    """Save what was trained in `folder` as `folder/model`; what training would go on from is left there.

    Of processes that train together the main one does, and the others wait until it has.
    """
    once(lambda: save_scorer(scorer, folder / "model", facts))


def _copied(scorer: NeuralScorer, source: str, folder: Path) -> None:
    save_scorer(scorer, folder / "model")
    cards.keep(models.resolve(source), folder / "model")


def _started(run: Run, config: ScorerConfig, seed: int) -> tuple[ScorerConfig, str | None]:
    """Return the configuration with the folder it starts from, and what that folder holds."""
    start = config.warm_start
    if start is None:
        return config, None
    if start not in run.recipe.scorers:
        return config, models.fingerprint(start)
    teacher = scorer_stage(run, start, seed)
    return replace(config, warm_start=str(teacher.folder / "model")), teacher.key


def _check_compared(run: Run, name: str) -> None:
    """Raise a UserError where the training split has no comparison."""
    train = run.splits["train"]
    if any(comparisons(group) for group in train):
        return
    labelled = any(any(group.known_labels()) for group in train)
    held = "single labelled responses" if labelled else "none with an order"
    raise UserError(
        f"scorers.{name}: a scorer learns from comparisons, the data has {held}: "
        "bring some, or leave scorers out"
    )


def _calibration(run: Run, scorer: Scorer, name: str) -> Calibration:
    """Fit a temperature to the scorer on the dev split."""
    dev = run.splits.get("dev")
    if not dev:
        return Calibration(None, "data.splits has no share for dev")
    calibration = held_out_calibration(scorer, dev, f"{name} on dev", run.store)
    if calibration.remark:
        run.say(f"{scorer.name}: {calibration.remark}")
    return calibration


def held_out_calibration(
    scorer: Scorer,
    held_out: Sequence[Group],
    progress: str | None = None,
    store: Store | None = None,
) -> Calibration:
    """Fit T so that σ(d / T) is nearest to how often the scorer is right on these groups."""
    return calibrate(compare(scorer, held_out, store=store, progress=progress))


def _untrained_stage(run: Run, name: str, config: ScorerOptions, seed: int) -> Stage:
    """Fit the temperature of a scorer that is not trained here, where it brings none with it."""
    inputs = {"kind": config.kind, "options": config.fingerprint()}
    if isinstance(config, Panel):
        inputs["members"] = fingerprint([scorer_stage(run, of, seed).key for of in config.of])
    stage = run.stage(f"scorers/{name}-{seed}", "scorer", **inputs)
    if stage.done:
        return stage
    scorer = _untrained(run, name, config, seed)
    calibration = Calibration(scorer.temperature, "")
    with Meter() as meter:
        if scorer.temperature is None:
            calibration = _calibration(run, scorer, name)
    stage.finish(
        curve=[],
        cost=meter.cost(),
        ledger=Ledger().to_dict(),
        temperature=calibration.temperature,
        temperature_remark=calibration.remark,
    )
    return stage


def _trained_stage(run: Run, name: str, recipe: ScorerRecipe, folder: str, seed: int) -> Stage:
    """Copy a scorer that is trained already, its aspects weighed as the recipe says.

    A temperature is fitted on the dev split where it has none.
    """
    inputs: dict[str, Any] = {"trained": models.fingerprint(folder), "kind": recipe.kind}
    if recipe.aspects:
        inputs["aspects"] = to_dict(recipe.aspects)
    stage = run.stage(f"scorers/{name}-{seed}", "scorer", **inputs)
    if stage.done:
        return stage
    with Meter() as meter:
        scorer = load_scorer(folder).to(models.device())
        if scorer.kind != recipe.kind:
            raise UserError(
                f"scorers.{name}.trained: {folder} is a {scorer.kind} model; "
                f"set kind to {scorer.kind}"
            )
        if recipe.aspects:
            scorer.weigh(recipe.aspects)
        scorer.name = f"scorers.{name} ({folder})"
        remark = ""
        if scorer.temperature is None:
            calibration = _calibration(run, scorer, name)
            scorer.temperature = calibration.temperature
            remark = calibration.remark
        once(lambda: _copied(scorer, folder, stage.folder))
    stage.finish(
        curve=[],
        cost=meter.cost(),
        ledger=Ledger().to_dict(),
        temperature=scorer.temperature,
        temperature_remark=remark,
    )
    return stage


def answers(run: Run, name: str, seed: int) -> str:
    """Return a hash of what determines the answers of scorer `name`: equal ones answer alike."""
    config = run.recipe.scorers[name]
    if isinstance(config, Panel):
        return fingerprint(config.fingerprint(), [answers(run, of, seed) for of in config.of])
    if not isinstance(config, ScorerRecipe):
        return config.fingerprint()
    if config.trained is not None and not config.aspects:
        return answers_fingerprint(config.trained)
    return answers_fingerprint(scorer_stage(run, name, seed).folder / "model")


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
    compared: dict[str, list[ScoredComparison]] = {}
    with Meter() as meter:
        if run.held_out:
            scorer = scorer_of(run, name, seed)
            is_asked = isinstance(run.recipe.scorers[name], Judge)
            again = f"; delete {stage.folder} to ask again" if is_asked else ""
            for label, groups in run.held_out.items():
                progress = f"{name} on {label}"
                compared[label] = compare(scorer, groups, store=run.store, progress=progress)
                _say_unscored(run, f"{name} (seed {seed}) on {label}", compared[label], again)
    rows = {label: list(map(asdict, of_test)) for label, of_test in compared.items()}
    write_json(stage.folder / "comparisons.json", rows)
    temperature = trained.manifest["temperature"]
    figures = {}
    for label, of_test in compared.items():
        figures[label] = plain(measure(of_test, temperature))
    stage.finish(evaluations=figures, cost=meter.cost())
    return stage


def _say_unscored(run: Run, who: str, compared: Sequence[ScoredComparison], again: str) -> None:
    """Say how many comparisons a scorer says nothing of, where there are any, and how to ask again."""
    unscored = sum(not comparison.scored for comparison in compared)
    if unscored:
        run.say(
            f"{who}: {unscored} of {len(compared)} comparisons are unscored, and in no figure{again}"
        )


def measure(compared: Sequence[ScoredComparison], temperature: float | None = None) -> Evaluation:
    """Return every figure of a scorer with this temperature."""
    return evaluate_differences(compared, temperature=temperature)


def held_out_groups(
    groups: Sequence[Group], scorers: Iterable[str | Path]
) -> tuple[list[Group], TrainedOn]:
    """Return the groups whose prompts no scorer was trained on, and how many others there are.

    All groups are returned where no other is left.

    Args:
        scorers: their folders.

    Returns:
        The groups, and what the scorers were trained on; its `prompts` are groups.
    """
    trained: set[str] = set()
    known = True
    for folder in scorers:
        hashes = trained_prompts(user_path(folder))
        if hashes is None:
            known = False
        else:
            trained |= hashes
    new = [group for group in groups if trained.isdisjoint(prompt_hashes([group]))]
    trained_on = TrainedOn(
        known=known,
        prompts=len(groups) - len(new),
        left_out=0 < len(new) < len(groups),
    )
    return new or list(groups), trained_on
