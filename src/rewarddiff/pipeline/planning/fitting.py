"""Refusing what cannot fit, before anything is trained."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

from rewarddiff.errors import UserError
from rewarddiff.footprint import memory
from rewarddiff.footprint.memory import Memory, Pass
from rewarddiff.footprint.refusing import CLEARLY, SWITCH, gib
from rewarddiff.footprint.shapes import Shape, Unplannable, shape_of
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.pipeline.data import Run
from rewarddiff.pipeline.planning.costs import way_of
from rewarddiff.pipeline.planning.machines import Device, this_machine
from rewarddiff.pipeline.planning.stages import Planner
from rewarddiff.pipeline.recipe import Recipe
from rewarddiff.policies.policy import LoraConfig
from rewarddiff.processes import processes

LOOKED_AT = 64
"""Prompts that are tokenised to find the largest forward pass."""

FEWEST = 256
"""Tokens of a forward pass below which nothing is advised."""


class Training(NamedTuple):
    """What one training's memory hangs on.

    Attributes:
        key: where the recipe speaks of it.
    """

    key: str
    shape: Shape
    train: TrainConfig
    lora: LoraConfig | None
    predicts: bool

    @property
    def owner(self) -> tuple[str, str]:
        """Return `scorers` or `policies`, and the name there."""
        kind, _, name = self.key.partition(".")
        return kind, name

    def peak(self, device: Device, tokens: float, passes: float = 2.0) -> Memory:
        """Return the peak of passes of so many tokens, each read with its logits where there are any."""
        way = way_of(self.shape, self.train, self.lora, device)
        # Only encoders keep scores of attention; of their rows few are longer than 512 tokens.
        one = Pass(tokens, tokens if self.predicts else 0.0, tokens * min(tokens, 512))
        return memory.training(self.shape, one, way, passes=passes)


def check_fits(run: Run) -> None:
    """Refuse a run with a training that clearly has no room on this machine.

    Texts are tokenised only where passes of `microbatch_tokens` would not fit.

    Raises:
        UserError: names the training, what it needs, what there is, and what would need less.
    """
    if os.environ.get(SWITCH) == "ignore":
        return
    device = this_machine(processes=processes().num_processes, measured=False)
    free = device.memory
    if free is None:
        return
    large = {}
    for training in trainings(run.recipe):
        expected = training.peak(device, training.train.pass_tokens)
        if expected.total > CLEARLY * free:
            large[training.key] = training
    if not large:
        return
    planner = Planner(
        run.recipe, run.splits, run.tests, device, folder=run.output, data=run.data, most=LOOKED_AT
    )
    for planned in planner.trainings():
        if planned.trains not in large or planned.memory is None or planned.done:
            continue
        if planned.memory.total > CLEARLY * free:
            raise UserError(refusal(large[planned.trains], planned.memory, device))


def trainings(recipe: Recipe) -> Iterator[Training]:
    """Yield the trainings of a recipe, without those of models that cannot be planned."""
    for name, scorer in recipe.scorer_models.items():
        if scorer.trained is None:
            with suppress(Unplannable):
                shape = shape_of(scorer.backbone)
                yield Training(f"scorers.{name}", shape, scorer.train, None, False)
    for name, policy in recipe.trained_here.items():
        with suppress(Unplannable):
            shape = shape_of(str(recipe.model))
            yield Training(f"policies.{name}", shape, policy.train, policy.lora, True)


def refusal(training: Training, peak: Memory, device: Device) -> str:
    """Return why a training has no room, and what would need less, in one line."""
    return (
        f"{training.key}: training it is planned to take {taken(peak, device)}; "
        f"{mend(training, device)}, or set {SWITCH}=ignore to try anyway"
    )


def taken(peak: Memory, device: Device) -> str:
    """Return what a peak takes, by its parts, and what there is."""
    free = device.memory or 0.0
    parts = ", ".join(f"{name} {gib(value)}" for name, value in peak.parts.items() if value)
    return f"{gib(peak.total)} GiB at its peak ({parts}), and {gib(free)} GiB are free on {device.name}"


def mend(training: Training, device: Device) -> str:
    """Return the smallest change that lets a training fit: first what changes no result."""
    free = device.memory or 0.0
    tokens = training.train.pass_tokens
    while tokens > FEWEST:
        tokens //= 2
        if training.peak(device, tokens).total <= free:
            return f"set {training.key}.train.microbatch_tokens={tokens}"
    small = replace(training.train, microbatch_tokens=tokens, gradient_checkpointing=True)
    checkpointed = training._replace(train=small)
    settings = f"{training.key}.train.gradient_checkpointing=true"
    if checkpointed.peak(device, training.train.pass_tokens).total <= free:
        return f"set {settings}"
    settings += f" and {training.key}.train.microbatch_tokens={tokens}"
    if checkpointed.peak(device, tokens).total <= free:
        return f"set {settings}"
    in_fewer_bits = _in_fewer_bits(checkpointed, device, tokens)
    if in_fewer_bits:
        return f"set {settings}, {in_fewer_bits}"
    adapted = checkpointed._replace(lora=training.lora or LoraConfig())
    if training.predicts and adapted.peak(device, tokens).total <= free:
        return f"train adapters ({training.key}.lora={{}}), with {settings}"
    model = "model" if training.predicts else f"{training.key}.backbone"
    return f"name a smaller {model}, or divide it over GPUs with {training.key}.train.sharding=fsdp"


def _in_fewer_bits(training: Training, device: Device, tokens: int) -> str:
    """Return the settings by which a training fits that holds its weights in bf16; none where it does not."""
    train = training.train
    if training.lora is not None or train.precision != "bf16" or train.sharding != "none":
        return ""
    settings = []
    for key, value in (("weights", "bf16"), ("optimizer", "adamw_8bit")):
        options: dict[str, Any] = {key: value}
        train = replace(train, **options)
        settings.append(f"{training.key}.train.{key}={value}")
        if training._replace(train=train).peak(device, tokens).total <= (device.memory or 0.0):
            return " and ".join(settings)
    return ""
