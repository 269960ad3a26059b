"""What a ranking by fewer comparisons costs in quality, on lists of known order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
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
from rewarddiff.evaluation.intervals import SHARE, two_way_bootstrap
from rewarddiff.outputs import file_for
from rewarddiff.paths import user_path
from rewarddiff.pipeline.data import file_made_of, prepare, print_losses
from rewarddiff.pipeline.recipe import Recipe
from rewarddiff.pipeline.scorers import held_out_groups
from rewarddiff.pipeline.stage import write_json
from rewarddiff.rankings import Method
from rewarddiff.records import Group
from rewarddiff.results import DesignResults, DesignRow, ListSizes, plain, read_results
from rewarddiff.scorers.design_figures import DesignFigures, compare_designs
from rewarddiff.scorers.neural.build import load_scorer
from rewarddiff.store import Store


def designs_stage(
    scorers: Sequence[str | Path],
    data: str | Path,
    budgets: Sequence[int] = (),
    *,
    limit: int | None = None,
    output: Path | None = None,
    **reading: Any,
) -> DesignResults:
    """Measure all designs by the methods that suit them, and a reward model by its scores.

    Correlations are with the scores of `all`. Lists whose prompts a scorer was trained on are left
    out, unless there are no others.

    Args:
        scorers: of one kind, trained with several seeds: figures are means over them, intervals
            over them and groups; each has designs drawn by a seed of its own.
        budgets: comparisons of a list, further designs.
        limit: at most so many groups.
        output: a JSON file for the figures.
        reading: see `load_groups`.

    Raises:
        UserError: no list with a known order; a budget that cannot join a list's responses.
    """
    name = str(scorers[0])
    if len(scorers) > 1:
        name += f" and {len(scorers) - 1} more"

    place: AbstractContextManager[None] = nullcontext()
    if output is not None:
        output = user_path(output)
        place = file_made_of(data, output, reading.get("split"))
    with place:
        ledger = Ledger()
        groups = load_groups(data, ledger=ledger, **reading)
        print_losses(ledger)
        return _figures({name: scorers}, groups, str(data), budgets, limit, output)


def designs_of_run(
    run: str | Path,
    budgets: Sequence[int] = (),
    *,
    limit: int | None = None,
    output: Path | None = None,
) -> DesignResults:
    """Measure them for the models among a finished run's scorers, on its own test split.

    Figures are over the run's seeds.

    Raises:
        UserError: no run, no scorers, no test split; and as `designs_stage`.
    """
    folder = user_path(run)
    settings = read_results(folder).recipe
    if settings is None:
        raise UserError(f"{folder}: holds an evaluation and no run; name SCORER and DATA")
    recipe = load_recipe(settings, [], Recipe)
    if not recipe.scorer_models:
        raise UserError(f"{folder}: the run has no scorers; name SCORER and DATA")
    if not recipe.data.splits.get("test"):
        raise UserError(f"{folder}: the run has no test split; name SCORER and DATA")
    place: AbstractContextManager[None] = nullcontext()
    if output is not None:
        output = user_path(output)
        place = file_for(output)
    with place:
        run_again = prepare(recipe, folder, again=True)
        groups = run_again.splits["test"]
        scorers = {
            name: [folder / "scorers" / f"{name}-{seed}" / "model" for seed in recipe.seeds]
            for name in recipe.scorer_models
        }
        return _figures(scorers, groups, str(folder), budgets, limit, output, store=run_again.store)


def _figures(
    scorers: Mapping[str, Sequence[str | Path]],
    data: Iterable[Group],
    name: str,
    budgets: Sequence[int],
    limit: int | None,
    output: Path | None,
    store: Store | None = None,
) -> DesignResults:
    ordered = (group for group in data if _has_order(group))
    folders = [folder for seeds in scorers.values() for folder in seeds]
    groups, trained_on = held_out_groups(list(islice(ordered, limit)), folders)
    if not groups:
        raise UserError(
            f"{name}: no list has a known order; give its responses scores, ranks or comparisons"
        )
    rows = []
    for scorer, seeds in scorers.items():
        by_seed = [
            _measured(folder, groups, budgets, seed, store) for seed, folder in enumerate(seeds)
        ]
        rows += [_row(scorer, of_design) for of_design in zip(*by_seed, strict=True)]
    sizes = [len(group.responses) for group in groups]
    results = DesignResults(
        data=name,
        seeds=max(map(len, scorers.values())),
        groups=len(groups),
        trained_on=trained_on,
        responses=ListSizes(float(np.mean(sizes)), min(sizes), max(sizes)),
        rows=tuple(rows),
    )
    if output is not None:
        write_json(output, plain(results))
    return results


def _has_order(group: Group) -> bool:
    return any(not comparison.tie for comparison in group.known_comparisons())


def _measured(
    scorer: str | Path,
    groups: Sequence[Group],
    budgets: Sequence[int],
    seed: int,
    store: Store | None,
) -> list[DesignFigures]:
    loaded = load_scorer(user_path(scorer)).to(models.device())
    methods: tuple[Method, ...] = get_args(Method)
    every_pair = DesignConfig("all", seed=seed)
    designs = [DesignConfig("both"), every_pair]
    designs += [DesignConfig("budget", n, seed) for n in budgets]
    designs.append(DesignConfig("anchor", seed=seed))
    if loaded.kind == "reward":  # every design comes to the same
        designs = [every_pair]
        methods = ("potentials",)
    return compare_designs(
        loaded,
        groups,
        designs,
        methods,
        reference=every_pair,
        store=store,
        progress=f"comparisons by {scorer}",
    )


def _row(scorer: str, by_seed: Sequence[DesignFigures]) -> DesignRow:
    first = by_seed[0]
    right = [figures.right for figures in by_seed]
    return DesignRow(
        scorer=scorer,
        design=asdict(first.design),
        method=first.method,
        readings=first.readings / max(1, first.groups),
        tokens=float(np.mean([figures.tokens for figures in by_seed])),
        uncertainty=float(np.mean([figures.uncertainty for figures in by_seed])),
        inconsistency=float(np.mean([figures.inconsistency for figures in by_seed])),
        cyclic=float(np.mean([figures.cyclic for figures in by_seed])),
        spearman=float(np.mean([figures.spearman for figures in by_seed])),
        kendall=float(np.mean([figures.kendall for figures in by_seed])),
        accuracy=two_way_bootstrap(right, first.asked, bounds=SHARE),
    )
