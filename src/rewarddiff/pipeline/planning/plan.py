"""A plan: every stage of a recipe with what it takes, in the order in which they run."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewarddiff.config import load_recipe
from rewarddiff.data import Groups, load_groups, split
from rewarddiff.data.thinning import thin
from rewarddiff.pipeline.data import content_by_split
from rewarddiff.pipeline.planning.costs import Planned
from rewarddiff.pipeline.planning.machines import Device, gpus, this_machine
from rewarddiff.pipeline.planning.stages import Planner
from rewarddiff.pipeline.recipe import DataConfig, Recipe
from rewarddiff.processes import processes


@dataclass(frozen=True)
class Plan:
    """What a recipe takes.

    Attributes:
        name: of the recipe.
        device: what it is planned for.
        stages: in their order.
        prompts: of the data. sampled: how many of a split were tokenised at most; None: all.
    """

    name: str
    device: Device
    stages: tuple[Planned, ...]
    prompts: int
    sampled: int | None

    @property
    def left(self) -> list[Planned]:
        """The stages that are not done yet."""
        return [stage for stage in self.stages if not stage.done]


def plan_recipe(
    recipe: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    gpu: str | None = None,
    count: int = 1,
) -> Plan:
    """Return what a recipe takes on this machine, or on GPUs of a kind; nothing is trained or written.

    Raises:
        UserError: the recipe, its data or a model cannot be read, or there is no such GPU.
    """
    config = load_recipe(recipe, list(overrides), Recipe)
    config.check()
    device = this_machine(processes=processes().num_processes) if gpu is None else gpus(gpu, count)
    groups = _groups(config.data)
    splits = split(groups, config.data.splits, config.data.seed)
    tests = {name: _test(config.data, path) for name, path in config.data.tests.items()}
    identity = content_by_split(splits)
    planner = Planner(config, splits, tests, device, folder=config.folder, data=identity)
    stages = tuple(planner.stages())
    return Plan(config.name, device, stages, len(groups), planner.sampled)


def _groups(data: DataConfig) -> Groups:
    """Return the groups of a recipe's data, in a file that goes with them."""
    groups = load_groups(
        data.path,
        format=data.format,
        split=data.split,
        columns=data.columns,
        limit=data.limit,
        max_drop=data.max_drop,
    )
    most = data.max_comparisons
    if most is None:
        return groups
    folder = tempfile.TemporaryDirectory(prefix="rewarddiff-", ignore_cleanup_errors=True)
    thinned = (thin(group, most, data.seed) for group in groups)
    file = Path(folder.name) / "thin.arrow"
    Groups.write(thinned, file)
    return Groups.open(file, keep=folder)


def _test(data: DataConfig, path: str) -> Groups:
    return load_groups(path, columns=data.columns, strict=False, max_drop=data.max_drop)
