"""Objectives on whole lists, and on single responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from rewarddiff import losses
from rewarddiff.config import at_least, checked, positive
from rewarddiff.policies.objectives.batch import Batch, Column, Context, Probe, Terms


@checked
@dataclass(frozen=True, kw_only=True)
class RRHF(Terms):
    """A hinge on every pair of a list, and the likelihood of its best response (arXiv 2304.05302).

    With `reduction` sum (the paper) a list counts by its pairs, with mean every list alike.
    """

    name: Literal["rrhf"] = "rrhf"
    reduction: Literal["sum", "mean"] = "sum"
    nll: float = 1.0
    nll_reduction: Literal["mean", "sum"] = "sum"
    columns: ClassVar[frozenset[Column]] = frozenset()
    whole_lists: ClassVar[bool] = True

    def losses(self, batch: Batch) -> Tensor:
        return losses.hinge(batch.mean[batch.chosen], batch.mean[batch.rejected])

    def weights(self, batch: Batch) -> Tensor:
        return batch.coefficients if self.reduction == "sum" else batch.coefficients * batch.share


@checked
@dataclass(frozen=True, kw_only=True)
class PRO(Terms):
    """Each response against all below it, at temperatures set by how far below they are (arXiv
    2306.17492).

    A step's coefficient is the mean of those of the comparisons in which its response is the better
    one.
    """

    name: Literal["pro"] = "pro"
    nll: float = 0.05
    columns: ClassVar[frozenset[Column]] = frozenset({"scores"})
    whole_lists: ClassVar[bool] = True

    def losses(self, batch: Batch) -> Tensor:
        return torch.cat([losses.pro(batch.mean[places], scores) for places, scores in batch.lists])

    def weights(self, batch: Batch) -> Tensor:
        size = len(batch.policy)
        total = torch.zeros(size, dtype=batch.coefficients.dtype, device=batch.policy.device)
        count = total.index_add(0, batch.chosen, torch.ones_like(batch.coefficients))
        total = total.index_add(0, batch.chosen, batch.coefficients)
        steps = torch.cat([places[_steps(scores)] for places, scores in batch.lists])
        return torch.where(count[steps] > 0, total[steps] / count[steps].clamp(min=1), 1.0)


@checked
@dataclass(frozen=True, kw_only=True)
class KTO(Terms):
    """Single responses, desirable or not, against what the policy moved on the whole (arXiv
    2402.01306).

    A pair is two of them, both with its coefficient. z0 is read on mismatched responses of the
    global batch.
    """

    name: Literal["kto"] = "kto"
    beta: float = 0.1
    desirable_weight: float = 1.0
    undesirable_weight: float = 1.0
    columns: ClassVar[frozenset[Column]] = frozenset({"reference", "mismatch", "labels"})
    probes: ClassVar[Probe | None] = "mismatch"

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "beta")
        at_least(self, 0, "desirable_weight", "undesirable_weight")

    def begin(
        self, probed: Sequence[Sequence[float]], state: dict[str, float], training: bool
    ) -> Context:
        values = torch.tensor([value for own in probed for value in own], dtype=torch.float64)
        return Context(kl=float(losses.kl_estimate(values)))

    def losses(self, batch: Batch) -> Tensor:
        places, desirable, _ = batch.singles
        return losses.kto(
            batch.ratio[places],
            desirable,
            kl=torch.tensor(
                batch.context.kl or 0.0, dtype=batch.policy.dtype, device=batch.policy.device
            ),
            beta=self.beta,
            desirable_weight=self.desirable_weight,
            undesirable_weight=self.undesirable_weight,
        )

    def weights(self, batch: Batch) -> Tensor:
        return batch.singles[2]

    def liked(self, batch: Batch) -> Tensor:
        places, desirable, _ = batch.singles
        return places[desirable]


def _steps(scores: Tensor) -> Tensor:
    """The responses that have another below them, best first: those `losses.pro` gives a value
    for."""
    order = scores.argsort(descending=True, stable=True)
    return order[scores[order] > scores.min()]
