"""A sweep: one recipe at every combination of values, with what combinations share made once.

Each combination is an ordinary recipe. Its stages lie in folders that are named by what they are
made from, so that a combination finds what another has made: the data, scorers that its values
leave alone, the unweighted policy (which is also the point α = 0), the base model's samples.

As every stage does, a sweep goes on where it stopped; with another value it trains what is new.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rewarddiff import __version__
from rewarddiff.evaluation.intervals import seeds_interval
from rewarddiff.machine import Meter
from rewarddiff.outputs import run_folder_for
from rewarddiff.pipeline.axes import number
from rewarddiff.pipeline.combinations import Combination, Point, Sweep, plan
from rewarddiff.pipeline.data import Run, prepare
from rewarddiff.pipeline.policies import policy_stage
from rewarddiff.pipeline.recipe import BASE
from rewarddiff.pipeline.results import gather
from rewarddiff.pipeline.run import check_early, check_models, check_places, complete
from rewarddiff.pipeline.stage import Stage, write_json, write_results
from rewarddiff.processes import once, shared
from rewarddiff.report.sweep import render_sweep, terminal_sweep
from rewarddiff.report.values import duration
from rewarddiff.results import (
    HeldAgainst,
    Interval,
    PolicyResult,
    Results,
    ScorerResult,
    SweepAxis,
    SweepCombination,
    SweepGap,
    SweepPoint,
    SweepResults,
    SweepScorer,
    plain,
)
from rewarddiff.writing import console, counted, say

KEY_LENGTH = 12
"""Characters of a stage's key that its folder is named by."""


@shared()
def sweep_recipe(recipe: str | Path | Mapping[str, Any], overrides: Sequence[str]) -> Path:
    """Carry out a sweep and return its folder.

    Writes `sweep.json`, `sweep.md`, `sweep.html`, and `combinations/LABEL/results.json`; prints
    the table. See `combinations.plan` for the overrides.
    """
    sweep = plan(recipe, overrides)
    say(*sizes(sweep))
    with run_folder_for(sweep.folder):
        content = _carry_out(sweep)
    console().print(terminal_sweep(content))
    return sweep.folder


def sizes(sweep: Sweep) -> list[str]:
    """Return how much there is to do, in two lines."""
    swept = ", ".join(f"{a.key} ({len(a.values)} values)" for a in sweep.axes if len(a.values) > 1)
    lines = [f"sweep of {swept}, in {sweep.folder}"]
    many = counted(len(sweep.combinations), "combination")
    points = sweep.points
    if not points:
        return [*lines, f"{many}: no policies, scorers alone"]
    trainings = len(sweep.trainings)
    trained = [point for point in points if point.recipe.elsewhere is None]
    alike = ""
    repeated = len(trained) - trainings
    if repeated:
        are = "is" if repeated == 1 else "are"
        alike = f" ({repeated} of {len(trained)} points {are} the same as another)"
    seeds = len(sweep.combinations[0].recipe.seeds)
    lines.append(
        f"{many}, {counted(trainings, 'policy')}{alike}, over all seeds {trainings * seeds} to train"
    )
    return lines


def sweep_points(recipe: str | Path | Mapping[str, Any], overrides: Sequence[str]) -> list[str]:
    """Return what a sweep would do, without doing it: its size, then a line for each point."""
    sweep = plan(recipe, overrides)
    lines = sizes(sweep)
    names: dict[str, str] = {}
    for point in sweep.points:
        settings = [f"{sweep.labels[key]}={value}" for key, value in point.settings.items()]
        name = " ".join([point.policy, *settings])
        first = names.setdefault(sweep.training_of(point), name)
        remark = ""
        if point.recipe.elsewhere is not None:
            remark = f"  (trained elsewhere: {point.recipe.elsewhere})"
        elif first != name:
            remark = f"  (the same as {first})"
        lines.append(f"  {name}{remark}")
    return lines


# --- carrying out --------------------------------------------------------------------------------


@dataclass
class SharingRun(Run):
    """A run whose stages lie in folders named by what they are made from, for other runs to find."""

    def stage(self, folder: str, name: str, **inputs: Any) -> Stage:
        key = Stage.key_of(name, {"data": self.data, **inputs})[:KEY_LENGTH]
        keyed = once(lambda: _keyed(self.output / folder, key))
        return super().stage(keyed.relative_to(self.output).as_posix(), name, **inputs)


def _keyed(place: Path, key: str) -> Path:
    """Return the folder of a stage with this key, under whichever name it was first asked for."""
    made = sorted(place.parent.glob(f"*-{key}"))
    return made[0] if made else place.with_name(f"{place.name}-{key}")


def _carry_out(sweep: Sweep) -> SweepResults:
    """Do all the work, write the results, and return the content of `sweep.json`."""
    with Meter() as meter:
        runs = _prepared(sweep)
        for run in runs:
            once(partial(check_early, run))
        estimate = _Estimate(sweep)
        results = [
            _results(run, combination, sweep, estimate)
            for run, combination in zip(runs, sweep.combinations, strict=True)
        ]
        points = [_point(point, sweep, runs, results) for point in sweep.points]
        scorers = _scorers(sweep, results)
    content = SweepResults(
        name=sweep.name,
        version=__version__,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        seconds=meter.seconds,
        axes=tuple(
            SweepAxis(axis.key, sweep.labels[axis.key], tuple(map(number, axis.values)))
            for axis in sweep.swept
        ),
        seeds=sweep.combinations[0].recipe.seeds,
        combinations=tuple(
            SweepCombination(f"combinations/{c.label}", _numbers(c.settings))
            for c in sweep.combinations
        ),
        points=tuple(points),
        scorers=tuple(scorers),
    )
    write_json(sweep.folder / "sweep.json", plain(content))
    once(lambda: render_sweep(content, sweep.folder))
    return content


def _prepared(sweep: Sweep) -> list[Run]:
    """Return a run for each combination; data that several ask for is read once."""
    runs: list[Run] = []
    for combination in sweep.combinations:
        recipe = combination.recipe
        check_places(recipe, sweep.folder)
        once(partial(check_models, recipe))
        with_the_data = [run for run in runs if run.recipe.data == recipe.data]
        if with_the_data:
            runs.append(replace(with_the_data[0], recipe=recipe, stages={}))
        else:
            store = runs[0].store if runs else None
            runs.append(prepare(recipe, sweep.folder, kind=SharingRun, store=store))
    return runs


def _results(run: Run, combination: Combination, sweep: Sweep, estimate: _Estimate) -> Results:
    """Carry out one combination, and write its `results.json`."""
    if len(sweep.combinations) > 1:
        say(combination.label)
    with Meter() as meter:
        complete(run, estimate)
        results = once(lambda: gather(run))
    results = replace(results, seconds=meter.seconds)
    folder = sweep.folder / "combinations" / combination.label
    write_results(folder, results)
    return results


class _Estimate:
    """Says once, after the first training, how long the others will take."""

    def __init__(self, sweep: Sweep) -> None:
        seeds = len(sweep.combinations[0].recipe.seeds)
        self.left = seeds * len(sweep.trainings)
        self.began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.seen: set[str] = set()
        self.said = False

    def __call__(self, stage: Stage) -> None:
        """Take notice of a policy that is there, trained now or before."""
        if stage.key in self.seen:
            return
        self.seen.add(stage.key)
        self.left -= 1
        was_trained_now = stage.manifest["created"] >= self.began
        if was_trained_now and self.left > 0 and not self.said:
            self.said = True
            seconds = stage.manifest["cost"]["seconds"]
            say(
                f"that training took {duration(seconds)}; {self.left} more: "
                f"about {duration(self.left * seconds)}, without scorers and samples"
            )


# --- results -------------------------------------------------------------------------------------


def _point(
    point: Point, sweep: Sweep, runs: Sequence[Run], results: Sequence[Results]
) -> SweepPoint:
    """Return a point's dev loss, its rewards, and its gaps to its baseline and to its controls."""
    place = sweep.combinations.index(point.combination)
    run, own = runs[place], results[place]
    rewards = [line.rewards for line in own.summary.policies if line.name == point.policy]
    baseline = BASE if point.baseline is None else point.baseline
    return SweepPoint(
        policy=point.policy,
        settings=_numbers(point.settings),
        models=tuple(_models(point, run)),
        objective=None if point.recipe.elsewhere else point.recipe.method,
        control=point.control,
        dev_loss=_dev_loss(own.policies, point.policy),
        rewards=rewards[0] if rewards else {},
        baseline=None if baseline == point.policy else _held_against(own, point.policy, baseline),
        controls=tuple(_held_against(own, point.policy, name) for name in point.controls),
    )


def _models(point: Point, run: Run) -> Iterator[str]:
    """Yield the policy of each seed in the sweep's folder, or the one that was trained elsewhere."""
    if point.recipe.elsewhere is not None:
        yield point.recipe.elsewhere
        return
    for seed in run.recipe.seeds:
        yield f"policies/{policy_stage(run, point.policy, seed).folder.name}/model"


def _held_against(results: Results, policy: str, other: str) -> HeldAgainst:
    """Return the gaps of a policy to another by scorer, over all seeds."""
    lines = [c for c in results.contrasts if (c.a, c.b, c.seed) == (policy, other, "all")]
    return HeldAgainst(
        policy=other,
        gaps={line.scorer: SweepGap(line.mean_gap, line.used_in_training) for line in lines},
        unequal=lines[0].unequal if lines else (),
    )


def _scorers(sweep: Sweep, results: Sequence[Results]) -> list[SweepScorer]:
    """Return each scorer's figures at every setting of the keys that are not of policies."""
    rows: dict[tuple[str, str], SweepScorer] = {}
    for combination, own in zip(sweep.combinations, results, strict=True):
        settings = {k: v for k, v in combination.settings.items() if k not in sweep.concerned}
        for line in own.summary.scorers:
            row = SweepScorer(_numbers(settings), _dev_loss(own.scorers, line.name), line)
            rows.setdefault((line.name, json.dumps(settings)), row)
    return list(rows.values())


def _dev_loss(trained: Sequence[ScorerResult | PolicyResult], name: str) -> Interval | None:
    """Return the dev loss at the end of training, over seeds.

    Of a difference model it is the main term, which regularisers have no part in.
    """
    ends = []
    for result in trained:
        dev_lines = [line for line in result.curve if line["split"] == "dev"]
        if result.name == name and result.curve:
            if not dev_lines:
                return None
            ends.append(dev_lines[-1].get("main", dev_lines[-1]["loss"]))
    return seeds_interval(ends) if ends else None


def _numbers(settings: Mapping[str, str]) -> dict[str, float | str]:
    return {key: number(value) for key, value in settings.items()}
