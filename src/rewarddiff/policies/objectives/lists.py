"""Objectives on whole lists, and on single responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from rewarddiff.config import checked
from rewarddiff.losses import listwise, pairwise, pointwise
from rewarddiff.policies.alignment import AlignmentConfig
from rewarddiff.policies.batch import Batch, Context
from rewarddiff.policies.items import PreferenceItem


@checked
@dataclass(frozen=True, kw_only=True)
class RRHF(AlignmentConfig):
    """A hinge on every pair of a list, and the likelihood of its best response (arXiv 2304.05302).

    With `reduction` sum (the paper) a list counts by its pairs, with mean every list alike.
    """

    name: Literal["rrhf"] = "rrhf"
    reduction: Literal["sum", "mean"] = "sum"
    nll: float = 1.0
    nll_reduction: Literal["mean", "sum"] = "sum"
    columns = frozenset()
    whole_lists = True

    def losses(self, batch: Batch) -> Tensor:
        return pairwise.hinge(batch.mean[batch.chosen], batch.mean[batch.rejected])

    def weights(self, batch: Batch) -> Tensor:
        if self.reduction == "sum":
            return batch.coefficients
        return batch.coefficients * batch.share


@checked
@dataclass(frozen=True, kw_only=True)
class PRO(AlignmentConfig):
    """Rank each response above all worse ones, a larger gap in score more (arXiv 2306.17492).

    A step's coefficient is the mean of those of the comparisons in which its response is the better
    one.
    """

    name: Literal["pro"] = "pro"
    nll: float = 0.05
    columns = frozenset({"scores"})
    whole_lists = True

    def losses(self, batch: Batch) -> Tensor:
        by_list = [listwise.pro(batch.mean[places], scores) for places, scores in batch.lists]
        return torch.cat(by_list)

    def weights(self, batch: Batch) -> Tensor:
        zeros = torch.zeros_like(batch.lengths)
        wins = zeros.index_add(0, batch.chosen, torch.ones_like(batch.coefficients))
        coefficient_sums = zeros.index_add(0, batch.chosen, batch.coefficients)
        means = coefficient_sums / wins.clamp(min=1)  # no 0/0 where a response wins nothing
        means = torch.where(wins > 0, means, 1.0)  # a step without a comparison counts once
        steps = [places[listwise.pro_steps(scores)] for places, scores in batch.lists]
        return means[torch.cat(steps)]


@checked
@dataclass(frozen=True, kw_only=True)
class KTO(AlignmentConfig):
    """Raise desirable single responses and lower the others, against z0 (arXiv 2402.01306).

    A pair is two of them, both with its coefficient. z0 is how far the policy has moved on
    the whole, read on mismatched responses of the global batch.
    """

    name: Literal["kto"] = "kto"
    beta: float = 0.1
    desirable_weight: float = 1.0
    undesirable_weight: float = 1.0
    columns = frozenset({"reference", "mismatch", "labels"})
    probes = "mismatch"
    above_zero = ("beta",)
    at_least_zero = ("desirable_weight", "undesirable_weight")

    def count(self, item: PreferenceItem) -> float:
        return 2 * len(item.comparisons) + len(item.labels)

    def begin(
        self, probed: Sequence[Sequence[float]], state: dict[str, float], training: bool
    ) -> Context:
        # One number is probed of each item: the log-ratio of its mismatched response.
        log_ratios = torch.tensor([numbers[0] for numbers in probed], dtype=torch.float64)
        return Context({"kl": float(pointwise.kl_estimate(log_ratios))})

    def losses(self, batch: Batch) -> Tensor:
        singles = batch.singles
        return pointwise.kto(
            batch.ratio[singles.places],
            singles.desirable,
            kl=batch.policy.new_tensor(batch.context.values["kl"]),
            beta=self.beta,
            desirable_weight=self.desirable_weight,
            undesirable_weight=self.undesirable_weight,
        )

    def weights(self, batch: Batch) -> Tensor:
        return batch.singles.coefficients

    def liked(self, batch: Batch) -> Tensor:
        return batch.singles.places[batch.singles.desirable]
