"""A look at the whole global batch before its losses, for objectives that ask for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from rewarddiff.errors import TrainingError
from rewarddiff.loop import sharding
from rewarddiff.loop.faults import named
from rewarddiff.loop.items import Picked
from rewarddiff.loop.objective import Probing
from rewarddiff.loop.passes import Items, Passes
from rewarddiff.loop.prepared import Prepared
from rewarddiff.processes import from_every_process


def show(
    prepared: Prepared,
    passes: Passes,
    batch: Sequence[int],
    shares: Sequence[Sequence[int]],
    items: Items,
    *,
    training: bool,
    name: str,
) -> None:
    """Show an objective that asks for it a global batch, or the dev set, with what it probes of each item.

    Args:
        batch: places among the items. shares: the same, by process.
        name: of the training.

    Raises:
        TrainingError: what is probed is not finite.
    """
    objective = prepared.objective
    if not isinstance(objective, Probing) or not objective.probes:
        return
    probed: dict[int, Any] = {}
    cuts, idle = passes.of(shares, items)
    with torch.no_grad(), prepared.accelerator.autocast(), sharding.read_only(prepared.module):
        for cut in cuts:
            values = objective.probe(prepared.unwrapped, [items[i] for i in cut])
            probed.update(zip(cut, values, strict=True))
        for _ in range(idle):
            objective.probe(prepared.unwrapped, [items[batch[0]]])
    for part in from_every_process(probed):
        probed |= part
    culprits = [items[i] for i in batch if not np.isfinite(probed[i]).all()]
    if culprits:
        raise TrainingError(
            f"{name}: what the batch is asked for before its losses is not finite on items "
            f"{named(culprits)}; stopped before the update"
        )
    objective.begin(Picked(items, batch), [probed[i] for i in batch], training=training)
