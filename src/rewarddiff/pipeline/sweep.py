"""A sweep: the product of all values of all keys, with what its points share made once.

What is shared, and by what:

- Keys of policies (`coefficient.alpha`, `policies.dpo.train.lr`) make points that are policies of
  one run. The run has its data, scorers, differences, reference log-probabilities and the base
  model's samples once for all of them, since that is how every run treats its policies.
- Keys of the recipe (`scorers.difference.duplication`, `data.limit`) make runs of their own, in
  `runs/`. They keep one store of readings, reference log-probabilities and samples together; and a
  stage that one of them has made from the same inputs (a scorer that the key does not touch, the
  unweighted policy, the base model's samples) is linked into the others.
- Points that come to the same policy are trained once: α = 0 is the unweighted policy, whatever the
control.

As every stage does, a sweep goes on where it stopped; with another value it trains what is new.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rewarddiff import __version__, files
from rewarddiff.errors import UserError
from rewarddiff.evaluation.intervals import seeds_interval
from rewarddiff.machine import Meter
from rewarddiff.outputs import run_folder_for
from rewarddiff.pipeline.commands import report_stage
from rewarddiff.pipeline.data import Run, prepare
from rewarddiff.pipeline.points import Point, Sweep, Variant, number, plan
from rewarddiff.pipeline.results import gather
from rewarddiff.pipeline.run import check_early, check_places, complete
from rewarddiff.pipeline.stage import Stage, write_json
from rewarddiff.report.scorer_statements import scorer_notes
from rewarddiff.report.sweep import render_sweep, terminal_sweep
from rewarddiff.report.values import duration
from rewarddiff.results import RESULTS, PolicyResult, Results, ScorerResult, plain
from rewarddiff.store import Store
from rewarddiff.writing import console, say


def sweep_recipe(recipe: str | Path | Mapping[str, Any], overrides: Sequence[str]) -> Path:
    """Carry out a sweep; write `sweep.json`, `sweep.md` and `sweep.html`, print the table, and
    return the folder.

    Every run of it has its own `results.json` and `report.html`. See `points.plan` for the
    overrides.
    """
    sweep = plan(recipe, overrides)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("a sweep is run by one process so far; start it without a launcher")
    say(*sizes(sweep))
    with ExitStack() as held:
        for folder in dict.fromkeys(
            [sweep.folder, *(variant.folder for variant in sweep.variants)]
        ):
            held.enter_context(run_folder_for(folder))
        content = _carry_out(sweep)
    console().print(terminal_sweep(content))
    return sweep.folder


def _carry_out(sweep: Sweep) -> dict[str, Any]:
    """Do all the work, write the results, and return the content of `sweep.json`."""
    with Meter() as meter:
        runs = [_prepared(variant, sweep) for variant in sweep.variants]
        for run in runs:
            check_early(run)
        told = _estimate(sweep)
        results = [_results(run, v, told) for run, v in zip(runs, sweep.variants, strict=True)]
    write_json(sweep.folder / "sweep.json", {**_content(sweep, results), "seconds": meter.seconds})
    content: dict[str, Any] = json.loads((sweep.folder / "sweep.json").read_text())
    render_sweep(content, sweep.folder)
    return content


def sizes(sweep: Sweep) -> list[str]:
    """How much there is to do."""
    swept = ", ".join(f"{a.key} ({len(a.values)} values)" for a in sweep.axes if len(a.values) > 1)
    folders = sweep.trainings()
    missing = sum(not _there(folder) for folder in folders)
    points = sum(len(variant.points) for variant in sweep.variants)
    policies = sum(len(variant.recipe.policies) for variant in sweep.variants)
    same = (
        f" ({points - policies} of {points} points are the same as another)"
        if points > policies
        else ""
    )
    runs = f" in {len(sweep.variants)} runs" if len(sweep.variants) > 1 else ""
    size = f"{policies} policies{runs}{same}, over all seeds {len(folders)} to train, {missing} of them not trained yet"
    return [
        f"sweep of {swept}, in {sweep.folder}",
        size if policies else f"no policies{runs}, scorers alone",
    ]


def sweep_points(recipe: str | Path | Mapping[str, Any], overrides: Sequence[str]) -> list[str]:
    """What a sweep would do, without doing it: its size, then a line for each point with its
    folder."""
    sweep = plan(recipe, overrides)
    rows = []
    for variant in sweep.variants:
        for point in variant.points:
            settings = {**variant.settings, **point.settings}
            shown = [
                point.policy,
                *(f"{sweep.labels[key]}={value}" for key, value in settings.items()),
            ]
            folder = (variant.folder / "policies" / point.name).relative_to(sweep.folder)
            rows.append((" ".join(shown), folder.as_posix()))
    wide = max((len(shown) for shown, _ in rows), default=0)
    return [*sizes(sweep), *(f"  {shown:<{wide}}  {folder}-SEED" for shown, folder in rows)]


# --- carrying out ---------------------------------------------------------------------------------------------------


@dataclass
class SharingRun(Run):
    """A run that takes a stage from a run beside it, where that has made it from the same inputs.

    Its files are hard links, so they take no room; a stage is never changed in place, only made
    anew.
    """

    beside: tuple[Path, ...] = ()

    def stage(self, folder: str, name: str, **inputs: Any) -> Stage:
        stage = super().stage(folder, name, **inputs)
        for other in () if stage.done else self.beside:
            if Stage.complete(other / folder, stage.key):
                fresh = files.begin(stage.folder)
                shutil.copytree(other / folder, fresh, copy_function=files.link, dirs_exist_ok=True)
                files.replace(fresh, stage.folder)
                return super().stage(folder, name, **inputs)
        return stage


def _prepared(variant: Variant, sweep: Sweep) -> SharingRun:
    """A run with its data read, beside the others."""
    folder = variant.folder
    check_places(variant.recipe, folder)
    if variant.label and not (own := folder / "store.sqlite").is_symlink():
        Store(sweep.folder / "store.sqlite").close()
        own.symlink_to(os.path.relpath(sweep.folder / "store.sqlite", folder))
    others = tuple(other.folder for other in sweep.variants if other is not variant)
    return SharingRun(**vars(prepare(variant.recipe, folder)), beside=others)


def _results(run: Run, variant: Variant, trained: Callable[[Stage], None]) -> Results:
    """All stages of one run, its `results.json` and its page."""
    if variant.label:
        say(f"run {variant.label}")
    with Meter() as meter:
        results = gather(complete(run, trained), variant.pairs)
    # Of the many comparisons of points sweep.html makes one picture; here they would be too many to
    # read.
    first = "A run of a sweep: its policies are points, which sweep.html sums up."
    results = replace(
        results,
        command="sweep",
        notes=(first, *scorer_notes(results).values()),
        seconds=meter.seconds,
    )
    write_json(run.output / RESULTS, plain(results))
    report_stage(run.output)
    return results


def _estimate(sweep: Sweep) -> Callable[[Stage], None]:
    """Says once, after the first training, how long the others will take."""
    began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    told = False

    def trained(stage: Stage) -> None:
        nonlocal told
        missing = sum(not _there(folder) for folder in sweep.trainings())
        if missing and not told and stage.manifest["created"] >= began:
            told, one = True, stage.manifest["cost"]["seconds"]
            rest = f"{missing} more: about {duration(missing * one)}"
            say(f"that training took {duration(one)}; {rest}, without scorers and samples")

    return trained


def _there(folder: Path) -> bool:
    return (folder / "manifest.json").exists()


# --- results --------------------------------------------------------------------------------------------------------


def _content(sweep: Sweep, results: Sequence[Results]) -> dict[str, Any]:
    """The content of sweep.json; figures are those of the runs' results.json."""
    both = list(zip(sweep.variants, results, strict=True))
    return {
        "schema": 1,
        "name": sweep.name,
        "version": __version__,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "axes": [
            {"key": a.key, "label": sweep.labels[a.key], "values": [number(v) for v in a.values]}
            for a in sweep.axes
            if a.spans
        ],
        "seeds": sweep.variants[0].recipe.seeds,
        "runs": [
            {
                "folder": variant.folder.relative_to(sweep.folder).as_posix(),
                "settings": _told(variant.settings),
            }
            for variant in sweep.variants
        ],
        "points": [
            _point(point, variant, own) for variant, own in both for point in variant.points
        ],
        "scorers": [
            {
                "settings": _told(variant.settings),
                "dev_loss": _dev_loss(own.scorers, line.name),
                **plain(line),
            }
            for variant, own in both
            for line in own.summary.scorers
        ],
    }


def _told(settings: Mapping[str, str]) -> dict[str, float | str]:
    return {key: number(value) for key, value in settings.items()}


def _point(point: Point, variant: Variant, results: Results) -> dict[str, Any]:
    """A point's dev loss, rewards, and gaps to its baseline and to its controls."""
    policy = variant.recipe.policies[point.name]
    names = {
        other.name: other.policy for other in variant.points if other.control not in (None, "none")
    }
    rewards = [plain(p)["rewards"] for p in results.summary.policies if p.name == point.name]
    return {
        "policy": point.policy,
        "settings": _told({**variant.settings, **point.settings}),
        "run": f"runs/{variant.label}" if variant.label else ".",
        "name": point.name,
        "objective": policy.objective.name,
        "control": point.control,
        "against": point.against,
        "dev_loss": _dev_loss(results.policies, point.name),
        "rewards": rewards[0] if rewards else {},
        **_held_against(results, point.name, point.against),
        "controls": [
            {"policy": names[c], "name": c, **_held_against(results, point.name, c)}
            for c in point.controls
        ],
    }


def _dev_loss(
    trained: Sequence[ScorerResult] | Sequence[PolicyResult], name: str
) -> dict[str, Any] | None:
    """Over seeds, at the end of training; of a difference model its main term, which regularisers
    have no part in."""
    losses = []
    for result in trained:
        if result.name == name and result.curve:
            dev = [line for line in result.curve if line["split"] == "dev"]
            if not dev:
                return None
            losses.append(dev[-1].get("main", dev[-1]["loss"]))
    if not losses:
        return None
    interval: dict[str, Any] = plain(seeds_interval(losses))
    return interval


def _held_against(results: Results, a: str, b: str) -> dict[str, Any]:
    """Gaps by scorer, mean reward of a less that of b, over all seeds; and in what the two were
    trained unequally.

    There are none where the two are the same.
    """
    lines = [plain(c) for c in results.contrasts if (c.a, c.b, c.seed) == (a, b, "all")]
    gaps = {
        c["scorer"]: {**c["mean_gap"], "used_in_training": c["used_in_training"]} for c in lines
    }
    return {"gaps": gaps, "unequal": lines[0]["unequal"] if lines else []}
