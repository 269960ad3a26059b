"""What scorers state of the comparisons of a split: the stage that asks, and what it has kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rewarddiff.differences import Differences, Pair, by_group, joined
from rewarddiff.machine import Meter
from rewarddiff.pipeline.data import Run, comparisons
from rewarddiff.pipeline.scorers import scorer_of, scorer_stage
from rewarddiff.pipeline.stage import Stage, write_array
from rewarddiff.records import Group
from rewarddiff.scorers.protocol import Orders


@dataclass(frozen=True)
class Part:
    """Groups whose comparisons are trained on or measured: a split, or an ordered one.

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
        order = "" if self.order is None else f"-as-{self.order}"
        return split + order

    @property
    def pairs(self) -> list[list[Pair]]:
        """(chosen, rejected) of every comparison of each group."""
        return [[(c.chosen, c.rejected) for c in comparisons(group)] for group in self.groups]


def differences_stage(run: Run, name: str, seed: int, orders: Orders, part: Part) -> Stage:
    """Ask a scorer for d(x, chosen, rejected) of every comparison; keep it by head."""
    scorer = scorer_stage(run, name, seed)
    made_from = {"scorer": scorer.key, "orders": orders, "split": part.name, "kept": "by head"}
    if part.key is not None:
        made_from["order"] = part.key
    stage = run.stage(
        f"differences/{name}-{orders}-{seed}{part.suffix}", "differences", **made_from
    )
    if not stage.done:
        loaded = scorer_of(run, name, seed)
        with Meter() as meter:
            stated = joined(
                loaded.differences(
                    part.groups,
                    part.pairs,
                    orders=orders,
                    store=run.store,
                    progress=f"differences by {name}",
                )
            )
            write_array(stage.folder / f"{part.name}.npy", stated.by_head)
        stage.finish(cost=meter.cost(), weights=stated.weights, ensemble=stated.ensemble)
    return stage


def read_differences(stage: Stage, part: Part) -> list[Differences]:
    """Return what a stage kept of each group: of two orders read, their mean."""
    by_head = np.load(stage.folder / f"{part.name}.npy", allow_pickle=False)
    weights = tuple(stage.manifest["weights"])
    differences = []
    sizes = map(len, part.pairs)
    for pairs, values in zip(part.pairs, by_group(by_head, sizes), strict=True):
        ensemble = stage.manifest["ensemble"]
        differences.append(Differences(tuple(pairs), values, weights=weights, ensemble=ensemble))
    return differences
