"""What a ranking by fewer comparisons costs in quality: designs and methods side by side, on lists
of known order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import numpy as np

from rewarddiff import models
from rewarddiff.config import load_recipe
from rewarddiff.data import Ledger, load_groups
from rewarddiff.designs import DesignConfig
from rewarddiff.errors import UserError
from rewarddiff.evaluation.metrics import SHARE, two_way_bootstrap
from rewarddiff.outputs import file_for
from rewarddiff.paths import user_path
from rewarddiff.pipeline.data import file_made_of, prepare, print_losses
from rewarddiff.pipeline.recipe import Recipe
from rewarddiff.pipeline.results import read_results
from rewarddiff.pipeline.scorers import held_out_groups
from rewarddiff.pipeline.stage import write_json
from rewarddiff.rankings import Method
from rewarddiff.records import Group
from rewarddiff.scorers.neural.build import load_scorer
from rewarddiff.scorers.ranking import DesignFigures, compare_designs
from rewarddiff.store import Store


def designs_stage(
    scorers: Sequence[str | Path],
    data: str | Path,
    budgets: Sequence[int] = (),
    *,
    limit: int | None = None,
    output: Path | None = None,
    **reading: Any,
) -> dict[str, Any]:
    """Measure all designs by the methods that suit them, and a reward model by its scores; with
    `output`, as JSON too.

    Correlations are with the scores of `all`. Lists whose prompts a scorer was trained on are left
    out, unless there are no others.

    Args:
        scorers: of one kind, trained with several seeds: figures are means over them, intervals
            over them and groups; each has designs drawn by a seed of its own.
        budgets: comparisons of a list, further designs.
        limit: at most so many groups. reading: see `load_groups`.

    Raises:
        UserError: no list with a known order; a budget that cannot join a list's responses.
    """
    name = str(scorers[0]) if len(scorers) == 1 else f"{scorers[0]} and {len(scorers) - 1} more"
    path = None if output is None else user_path(output)
    with nullcontext() if path is None else file_made_of(data, path, reading.get("split")):
        ledger = Ledger()
        groups = load_groups(data, ledger=ledger, **reading)
        print_losses(ledger)
        return _figures({name: scorers}, groups, str(data), budgets, limit, path)


def designs_of_run(
    run: str | Path,
    budgets: Sequence[int] = (),
    *,
    limit: int | None = None,
    output: Path | None = None,
) -> dict[str, Any]:
    """The same for all scorers of a finished run, over its seeds and on its own test split.

    Raises:
        UserError: no run, no scorers, no test split; and as `designs_stage`.
    """
    folder = user_path(run)
    recipe = load_recipe(read_results(folder)["recipe"], [], Recipe)
    if not recipe.scorers or not recipe.data.splits.get("test"):
        raise UserError(
            f"{folder}: the run has no {'test split' if recipe.scorers else 'scorers'}; name SCORER and DATA"
        )
    path = None if output is None else user_path(output)
    with nullcontext() if path is None else file_for(path):
        return _of_run(recipe, folder, budgets, limit, path)


def _of_run(
    recipe: Recipe, folder: Path, budgets: Sequence[int], limit: int | None, output: Path | None
) -> dict[str, Any]:
    made = prepare(recipe, folder, again=True)
    scorers = {
        name: [folder / "scorers" / f"{name}-{seed}" / "model" for seed in recipe.seeds]
        for name in recipe.scorers
    }
    return _figures(scorers, made.splits["test"], str(folder), budgets, limit, output, made.store)


def _figures(
    scorers: Mapping[str, Sequence[str | Path]],
    data: Iterable[Group],
    name: str,
    budgets: Sequence[int],
    limit: int | None,
    output: Path | None,
    store: Store | None = None,
) -> dict[str, Any]:
    ordered = list(
        islice((g for g in data if any(not c.tie for c in g.known_comparisons())), limit)
    )
    groups, trained_on = held_out_groups(
        ordered, [path for seeds in scorers.values() for path in seeds]
    )
    if not groups:
        raise UserError(
            f"{name}: no list has a known order; give its responses scores, ranks or comparisons"
        )
    rows = []
    for scorer, seeds in scorers.items():
        runs = [_measured(path, groups, budgets, seed, store) for seed, path in enumerate(seeds)]
        rows += [{"scorer": scorer, **_row(own)} for own in zip(*runs, strict=True)]
    sizes = [len(group.responses) for group in groups]
    found = {
        "schema": 1,
        "data": name,
        "seeds": max(map(len, scorers.values())),
        "groups": len(groups),
        "trained_on": trained_on,
        "responses": {"mean": float(np.mean(sizes)), "least": min(sizes), "most": max(sizes)},
        "rows": rows,
    }
    if output is not None:
        write_json(output, found)
    return found


def _measured(
    scorer: str | Path,
    groups: Sequence[Group],
    budgets: Sequence[int],
    seed: int,
    store: Store | None,
) -> list[DesignFigures]:
    loaded = load_scorer(user_path(scorer)).to(models.device())
    methods: tuple[Method, ...] = get_args(Method)
    every = DesignConfig("all", seed=seed)
    designs = [
        DesignConfig("both"),
        every,
        *(DesignConfig("budget", n, seed) for n in budgets),
        DesignConfig("anchor", seed=seed),
    ]
    if loaded.kind == "reward":  # every design comes to the same
        designs, methods = [every], ("potentials",)
    progress = f"comparisons by {scorer}"
    return compare_designs(
        loaded, groups, designs, methods, reference=every, store=store, progress=progress
    )


def _row(runs: Sequence[DesignFigures]) -> dict[str, Any]:
    """A design by a method: means over the seeds."""
    first = runs[0]
    means = {
        key: float(np.mean([getattr(run, key) for run in runs]))
        for key in ("tokens", "uncertainty", "inconsistency", "cyclic", "spearman", "kendall")
    }
    return {
        "design": asdict(first.design),
        "method": first.method,
        "readings": first.readings / max(1, first.groups),
        **means,
        "accuracy": asdict(
            two_way_bootstrap([run.right for run in runs], first.asked, bounds=SHARE)
        ),
    }
