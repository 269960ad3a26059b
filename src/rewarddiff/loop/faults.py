"""Numbers that are not finite: whose they are, and the end of training before they are used."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rewarddiff.errors import TrainingError
from rewarddiff.loop import sharding
from rewarddiff.loop.objective import LossOutput
from rewarddiff.loop.prepared import Prepared
from rewarddiff.processes import from_every_process


class Faults:
    """The first number of a step, or of a dev set, that is not finite; all processes stop at it together.

    Args:
        name: of the training.
    """

    def __init__(self, prepared: Prepared, name: str) -> None:
        self._prepared = prepared
        self._name = name
        self._first = ""

    def look_at_loss(self, output: LossOutput, items: Sequence[Any], what: str = "items") -> None:
        """Remember the losses of items where they are not finite."""
        if output.fault:
            self._note(f"{output.fault} on {what} {named(self._culprits(items))}")

    def look_at_gradient(self, norm: float, items: Sequence[Any]) -> None:
        """Remember the gradient's norm of a global batch where it is not finite, and no loss has told why."""
        if not math.isfinite(norm) and not self._first:
            self._note(f"gradient norm {norm} on items {named(self._culprits_of_gradient(items))}")

    def _note(self, fault: str) -> None:
        if not self._first:
            self._first = fault

    def stop_at_first(self, where: str) -> None:
        """Raise a TrainingError in every process if any of them has met a fault."""
        for fault in from_every_process(self._first):
            if fault:
                raise TrainingError(f"{self._name}: {fault} {where}")

    def _culprits(self, items: Sequence[Any]) -> Sequence[Any]:
        """Return the items whose losses are not finite by themselves either; all where that tells nothing."""
        prepared = self._prepared
        if prepared.divided:  # no process reads anything alone
            return items
        with torch.no_grad():
            return [i for i in items if prepared.loss(prepared.unwrapped, [i]).fault] or items

    def _culprits_of_gradient(self, items: Sequence[Any]) -> Sequence[Any]:
        """Return the items whose gradients are not finite by themselves either, see `_culprits`."""
        prepared = self._prepared
        if prepared.divided:
            return items
        culprits = []
        for item in items:
            prepared.optimizer.zero_grad()
            prepared.loss(prepared.unwrapped, [item]).loss.backward()
            gradients = [p.grad for p in prepared.unwrapped.parameters() if p.grad is not None]
            if not _norm(gradients).isfinite():
                culprits.append(item)
        return culprits or items

    def look_at_start(self) -> None:
        """Raise a TrainingError unless all weights are finite, also those that are not trained."""
        if not _all_finite(self._prepared.objective.module.parameters()):
            raise TrainingError(
                f"{self._name}: the weights that training starts from are not finite: the model's file "
                "is damaged, or an earlier training diverged; choose another model"
            )

    def look_at_weights(self, step: int) -> None:
        """Raise a TrainingError unless all trained weights are finite.

        The last update is looked at by no loss.
        """
        parameters = self._prepared.objective.module.parameters()
        if not _all_finite(p for p in parameters if p.requires_grad):
            raise TrainingError(
                f"{self._name}: the weights are not finite after step {step}: training diverged, "
                "and they are not saved; a lower lr may help"
            )


def named(items: Sequence[Any]) -> str:
    """Return the names of the first three items, and how many more there are."""
    names = ", ".join(str(getattr(item, "id", item)) for item in items[:3])
    return names if len(items) <= 3 else f"{names} and {len(items) - 3} more"


def _all_finite(parameters: Iterable[nn.Parameter]) -> bool:
    """Return whether weights are finite; of divided ones all processes ask together."""
    # Quantised weights are whole numbers.
    weights = [p.detach() for p in parameters if p.is_floating_point()]
    return bool(sharding.whole(_norm(weights)).isfinite())


def _norm(tensors: Sequence[Tensor]) -> Tensor:
    return torch.nn.utils.get_total_norm(tensors)
