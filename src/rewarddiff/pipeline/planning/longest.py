"""Refusing a row that has no room by itself, before anything is trained, though the rest of the data has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from rewarddiff.data import Groups, Ledger
from rewarddiff.errors import UserError
from rewarddiff.pipeline.data import Run
from rewarddiff.pipeline.planning import amounts
from rewarddiff.pipeline.planning.costs import way_of
from rewarddiff.pipeline.planning.fitting import CLEARLY, SWITCH, Training, taken, trainings
from rewarddiff.pipeline.planning.machines import Device, this_machine
from rewarddiff.pipeline.planning.memory import Memory, Pass, training
from rewarddiff.pipeline.planning.stages import Planner
from rewarddiff.pipeline.recipe import Recipe
from rewarddiff.policies.alignment import parts_of
from rewarddiff.processes import processes

LONGEST = 32
"""Rows of the longest texts whose tokens are counted."""

READ_OFTEN = 32
"""How many tokens of an item there are at most to a byte of its row: joint texts are read pair by pair, both ways."""


class Row(NamedTuple):
    """A row as a training reads it.

    Attributes:
        source: file and row. one: its largest forward pass.
    """

    source: str
    one: Pass


def check_longest(run: Run) -> None:
    """Refuse a training with a row that takes more than all free memory.

    Where usual passes are planned to take more than that, and are let through, so is such a row.
    Texts are tokenised only where a token for every byte would have no room.

    Raises:
        UserError: names the row, its tokens, what they take, what there is, and what would need less.
    """
    device = this_machine(processes=processes().num_processes, measured=False)
    if os.environ.get(SWITCH) == "ignore" or device.memory is None:
        return
    groups = run.splits["train"]
    sizes = groups.text_bytes()
    longest = groups.select(np.argsort(-sizes)[:LONGEST].tolist())
    for one in trainings(run.recipe):
        most = float(sizes.max(initial=0)) * (1 if one.predicts else READ_OFTEN)
        room = device.memory
        if one.peak(device, one.train.pass_tokens).total > room:
            room *= CLEARLY
        if one.peak(device, most).total <= room:
            continue
        for row in _rows(run.recipe, one, longest):
            peak = _peak(one, row.one, device)
            if peak.total > room and not _is_done(run, one, device):
                raise UserError(_refusal(one, row, peak, device))


def _is_done(run: Run, one: Training, device: Device) -> bool:
    planner = Planner(
        run.recipe, run.splits, run.tests, device, folder=run.output, data=run.data, most=1
    )
    return any(planned.trains == one.key and planned.done for planned in planner.trainings())


def _rows(recipe: Recipe, one: Training, groups: Groups) -> Iterator[Row]:
    """Yield each group with the largest pass that reads it."""
    kind, _, name = one.key.partition(".")
    if kind == "scorers":
        config = recipe.scorer_models[name]
        counting = amounts.counting(config.own, config.backbone, encoder=one.shape.encoder)
        for place in range(len(groups)):
            amount = amounts.of_scorer(counting, groups[place : place + 1], 1)
            passes = zip(amount.sizes, amount.attended, strict=True)
            for tokens, attended in passes:
                yield Row(groups[place].source, Pass(tokens, attended=attended))
        return
    policy = recipe.policies[name]
    if policy.online is not None:  # its responses are as long as it is told
        return
    encoder = amounts.encoder_of(str(recipe.model), recipe.lengths)
    for group, pairs in amounts.with_pairs(policy, groups):
        for item in policy.objective.stream([(group, pairs)], encoder, Ledger()):
            trees = [item.tree]
            if processes().num_processes == 1 and len(item.tree) > one.train.pass_tokens:
                trees = list(parts_of(item.tree, one.train.pass_tokens))
            tree = max(trees, key=len)
            predicted = len(tree) - len(tree.nodes[0].tokens)
            yield Row(group.source, Pass(len(tree), predicted, amounts.attended_in(tree)))


def _peak(one: Training, read: Pass, device: Device) -> Memory:
    way = way_of(one.shape, one.train, one.lora, device)
    return training(one.shape, read, way)


def _refusal(one: Training, row: Row, peak: Memory, device: Device) -> str:
    return (
        f"{row.source}: {one.key} reads {row.one.tokens:,.0f} tokens of it at once, which is planned to "
        f"take {taken(peak, device)}; {_mend(one, row, device)}, leave the row out, or set "
        f"{SWITCH}=ignore to try anyway"
    )


def _mend(one: Training, row: Row, device: Device) -> str:
    """Return what would let the row fit: checkpointing, which changes no result, or shorter texts."""
    free = device.memory or 0.0
    if not one.train.gradient_checkpointing:
        checkpointed = one._replace(train=replace(one.train, gradient_checkpointing=True))
        if _peak(checkpointed, row.one, device).total <= free:
            return f"set {one.key}.train.gradient_checkpointing=true"
    fitting = 0.0
    for share in np.linspace(0.9, 0.1, 9):
        read = Pass(share * row.one.tokens, share * row.one.predicted, share**2 * row.one.attended)
        if _peak(one, read, device).total <= free:
            fitting = float(read.tokens)
            break
    lengths = "lengths" if one.predicts else f"{one.key}.lengths"
    limit = f"{lengths}.max_prompt and {lengths}.max_response"
    if not fitting:
        return f"cut texts with {limit}"
    return f"cut texts to about {fitting:,.0f} tokens with {limit}"
