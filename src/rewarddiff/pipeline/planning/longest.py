"""Refusing a row that has no room by itself, before anything is trained, though the rest of the data has."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rewarddiff.data import Ledger
from rewarddiff.data.groups import text_bytes
from rewarddiff.encoding import LengthConfig
from rewarddiff.errors import UserError
from rewarddiff.footprint.memory import Memory, Pass, Way, evaluating, training
from rewarddiff.footprint.refusing import CLEARLY, SWITCH
from rewarddiff.footprint.refusing import refusal as reading_refusal
from rewarddiff.footprint.shapes import Shape, Unplannable, shape_of
from rewarddiff.pipeline.data import Run
from rewarddiff.pipeline.planning import amounts
from rewarddiff.pipeline.planning.costs import way_of
from rewarddiff.pipeline.planning.fitting import Training, taken, trainings
from rewarddiff.pipeline.planning.machines import Device, this_machine
from rewarddiff.pipeline.planning.stages import Planner
from rewarddiff.pipeline.recipe import Recipe
from rewarddiff.policies.alignment import parts_of
from rewarddiff.policies.items import Pairs
from rewarddiff.policies.online.config import OnlineConfig
from rewarddiff.policies.online.semi_config import SemiOnlineConfig
from rewarddiff.policies.policy import PolicyConfig
from rewarddiff.processes import processes
from rewarddiff.records import Group
from rewarddiff.scorers.neural.config import ScorerConfig

LONGEST = 32
"""Rows of the longest texts whose tokens are counted."""

CONFIG = "config"
"""What Python calls the settings of a training."""

FRAME = 256
"""Tokens that a template and labels may add to those of a row's texts, of which none is longer than a byte's."""

READ_OFTEN = 32
"""How many tokens of an item there are at most to a byte of its row: joint texts are read pair by pair, both ways."""


class Row(NamedTuple):
    """A row as a training reads it.

    Attributes:
        source: file and row. one: its largest forward pass.
    """

    source: str
    one: Pass


Rows = Callable[[Sequence[Group]], Iterator[Row]]
"""What yields each group with the passes that a training reads it in."""

PeakOf = Callable[[Shape, Pass, Way], Memory]
"""What gives the peak of a pass: learning from it, or reading it alone."""

Pairing = Callable[[Sequence[Group]], Iterator[tuple[Group, Pairs]]]
"""What yields each group with the comparisons that a policy learns of it."""


def check_longest(run: Run) -> None:
    """Refuse a training with a row of the training or the dev split that takes more than all free memory.

    Where usual passes are planned to take more than that, and are let through, so is such a row. A scorer's
    training is refused as well where a row that it is to be measured on has no room to be read.
    Texts are tokenised only where a token for every byte would have no room.

    Raises:
        UserError: names the row, its tokens, what they take, what there is, and what would need less.
    """
    for one in trainings(run.recipe):
        rows = _rows_of_recipe(run.recipe, one)
        dev = () if _is_online(run.recipe, one) else run.splits.get("dev", ())
        refusal = _refusal(one, rows, run.splits["train"], dev)
        refusal = refusal or _refusal_of_tests(run, one)
        if refusal and not _is_done(run, one):
            raise UserError(refusal)


def check_scorers_rows(
    config: ScorerConfig, train: Sequence[Group], dev: Sequence[Group] = ()
) -> None:
    """Do what `check_longest` does for one scorer that Python trains."""
    with suppress(Unplannable):
        one = Training(CONFIG, shape_of(config.backbone), config.train, None, False)
        refusal = _refusal(one, _rows_of_scorer(config, one), train, dev)
        if refusal:
            raise UserError(refusal)


def check_policys_rows(
    model: str | Path,
    config: PolicyConfig,
    lengths: LengthConfig,
    train: Sequence[Group],
    pairing: Pairing,
) -> None:
    """Do what `check_longest` does for one policy that Python trains."""
    with suppress(Unplannable):
        one = Training(CONFIG, shape_of(str(model)), config.train, config.lora, True)
        rows = _rows_of_policy(str(model), config, lengths, pairing, one)
        refusal = _refusal(one, rows, train)
        if refusal:
            raise UserError(refusal)


def check_onlines_rows(
    model: str | Path,
    config: OnlineConfig | SemiOnlineConfig,
    lengths: LengthConfig,
    prompts: Sequence[Group],
) -> None:
    """Do what `check_longest` does for one policy that Python trains on its own samples."""
    with suppress(Unplannable):
        one = Training(CONFIG, shape_of(str(model)), config.train, config.lora, True)
        rows = _rows_of_prompts(str(model), config.max_new_tokens, lengths)
        refusal = _refusal(one, rows, prompts)
        if refusal:
            raise UserError(refusal)


def _refusal(one: Training, rows: Rows, train: Sequence[Group], dev: Sequence[Group] = ()) -> str:
    """Return why the first row that has no room has none; empty where all have."""
    device = this_machine(processes=processes().num_processes, measured=False)
    if os.environ.get(SWITCH) == "ignore" or device.memory is None:
        return ""
    clearly_more = CLEARLY * device.memory
    usual_has_room = one.peak(device, one.train.pass_tokens).total <= device.memory
    of_training = device.memory if usual_has_room else clearly_more
    if one.train.eval_every is None:
        dev = ()
    # What is read alone is planned less exactly.
    for groups, peak_of, room in ((train, training, of_training), (dev, evaluating, clearly_more)):
        sizes = text_bytes(groups)
        most = float(sizes.max(initial=0)) * (1 if one.predicts else READ_OFTEN)
        if one.peak(device, most).total <= room:
            continue
        longest = [groups[place] for place in np.argsort(-sizes)[:LONGEST].tolist()]
        for row in rows(longest):
            peak = _peak(one, row.one, device, peak_of)
            if peak.total > room:
                return _told(one, row, peak, device, peak_of)
    return ""


def _refusal_of_tests(run: Run, one: Training) -> str:
    """Return why a row that a scorer is measured on has no room to be read on a CPU; empty where all have."""
    kind, name = one.owner
    if kind != "scorers" or this_machine(measured=False).is_gpu:
        return ""
    for groups in run.held_out.values():
        sizes = text_bytes(groups)
        most = int(sizes.max(initial=0)) + FRAME
        if not reading_refusal(one.shape, most, "", one.key):
            continue
        longest = [groups[place] for place in np.argsort(-sizes)[:LONGEST].tolist()]
        for group, tokens in _readings(run.recipe.scorer_models[name].own, one, longest):
            refusal = reading_refusal(one.shape, tokens, group.source or group.id, one.key)
            if refusal:
                return refusal
    return ""


def _readings(
    config: ScorerConfig, one: Training, groups: Sequence[Group]
) -> Iterator[tuple[Group, int]]:
    """Yield each group with the tokens of every text that a scorer reads of it."""
    counting = amounts.counting(config, config.backbone, encoder=one.shape.encoder)
    texts = counting.module.texts
    for group in groups:
        page = texts.page(group)
        pairs = [(pair.chosen, pair.rejected) for pair in group.known_comparisons()]
        alone = [(response,) for response in range(len(group.responses))]
        for shown in alone if config.reads_apart else pairs:
            yield group, sum(map(len, texts.reading(page, *shown)))


def _is_done(run: Run, one: Training) -> bool:
    device = this_machine(processes=processes().num_processes, measured=False)
    planner = Planner(
        run.recipe, run.splits, run.tests, device, folder=run.output, data=run.data, most=1
    )
    return any(planned.trains == one.key and planned.done for planned in planner.trainings())


def _is_online(recipe: Recipe, one: Training) -> bool:
    kind, name = one.owner
    return kind == "policies" and recipe.policies[name].online is not None


def _rows_of_recipe(recipe: Recipe, one: Training) -> Rows:
    kind, name = one.owner
    if kind == "scorers":
        return _rows_of_scorer(recipe.scorer_models[name].own, one)
    policy = recipe.policies[name]
    if policy.online is not None:
        return _rows_of_prompts(str(recipe.model), policy.online.max_new_tokens, recipe.lengths)
    pairing = partial(amounts.with_pairs, policy)
    return _rows_of_policy(str(recipe.model), policy, recipe.lengths, pairing, one)


def _rows_of_scorer(config: ScorerConfig, one: Training) -> Rows:
    def rows(groups: Sequence[Group]) -> Iterator[Row]:
        counting = amounts.counting(config, config.backbone, encoder=one.shape.encoder)
        for group in groups:
            for tokens, attended in amounts.passes(counting, [group]):
                yield Row(group.source or group.id, Pass(tokens, attended=attended))

    return rows


def _rows_of_policy(
    model: str, config: PolicyConfig, lengths: LengthConfig, pairing: Pairing, one: Training
) -> Rows:
    def rows(groups: Sequence[Group]) -> Iterator[Row]:
        encoder = amounts.encoder_of(model, lengths)
        for group, pairs in pairing(groups):
            for item in config.objective.stream([(group, pairs)], encoder, Ledger()):
                trees = [item.tree]
                if processes().num_processes == 1 and len(item.tree) > one.train.pass_tokens:
                    trees = list(parts_of(item.tree, one.train.pass_tokens))
                tree = max(trees, key=len)
                predicted = len(tree) - len(tree.nodes[0].tokens)
                one_pass = Pass(len(tree), predicted, amounts.attended_in(tree))
                yield Row(group.source or group.id, one_pass)

    return rows


def _rows_of_prompts(model: str, new_tokens: int, lengths: LengthConfig) -> Rows:
    """Return what yields prompts alone: the responses that a policy draws are as long as it is told."""

    def rows(groups: Sequence[Group]) -> Iterator[Row]:
        encoder = amounts.encoder_of(model, lengths)
        for group, refused in encoder.refusals(groups):
            if refused is None:
                tokens = len(encoder.fitting(group.prompt, new_tokens))
                yield Row(group.source or group.id, Pass(tokens, attended=tokens**2 / 2))

    return rows


def _peak(one: Training, read: Pass, device: Device, peak_of: PeakOf) -> Memory:
    way = way_of(one.shape, one.train, one.lora, device)
    return peak_of(one.shape, read, way)


def _told(one: Training, row: Row, peak: Memory, device: Device, peak_of: PeakOf) -> str:
    return (
        f"{row.source}: training by {one.key} reads {row.one.tokens:,.0f} tokens of it at once, which is "
        f"planned to take {taken(peak, device)}; {_mend(one, row, device, peak_of)}, leave the row out, "
        f"or set {SWITCH}=ignore to try anyway"
    )


def _mend(one: Training, row: Row, device: Device, peak_of: PeakOf) -> str:
    """Return what would let the row fit: checkpointing, which changes no result, or shorter texts."""
    free = device.memory or 0.0
    if not one.train.gradient_checkpointing:
        checkpointed = one._replace(train=replace(one.train, gradient_checkpointing=True))
        if _peak(checkpointed, row.one, device, peak_of).total <= free:
            return f"set {one.key}.train.gradient_checkpointing=true"
    fitting = 0.0
    for share in np.linspace(0.9, 0.1, 9):
        read = Pass(share * row.one.tokens, share * row.one.predicted, share**2 * row.one.attended)
        if _peak(one, read, device, peak_of).total <= free:
            fitting = float(read.tokens)
            break
    lengths = "lengths" if one.predicts else f"{one.key}.lengths"
    limit = f"{lengths}.max_prompt and {lengths}.max_response"
    is_prompt_alone = one.predicts and not row.one.predicted
    if is_prompt_alone:
        limit = "max_prompt" if one.key == CONFIG else "lengths.max_prompt"
    if not fitting:
        return f"cut texts with {limit}"
    return f"cut texts to about {fitting:,.0f} tokens with {limit}"
