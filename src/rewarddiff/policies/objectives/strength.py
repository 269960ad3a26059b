"""Objectives that use by how much a response is better: as an offset, a target, a soft label."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from rewarddiff.config import checked
from rewarddiff.losses import pairwise, strength
from rewarddiff.losses import weights as loss_weights
from rewarddiff.policies.alignment import AlignmentConfig
from rewarddiff.policies.batch import Batch


@dataclass(frozen=True, kw_only=True)
class StrengthObjective(AlignmentConfig):
    """An objective that reads strengths beside log-ratios."""

    columns = frozenset({"reference", "strength"})


@checked
@dataclass(frozen=True, kw_only=True)
class ODPO(StrengthObjective):
    """DPO with an offset of α·log Δ: the stronger, the wider the margin (arXiv 2402.10571)."""

    name: Literal["odpo"] = "odpo"
    beta: float = 0.1
    alpha: float = 1.0
    positive_strength = True
    above_zero = ("beta",)
    at_least_zero = ("alpha",)

    def losses(self, batch: Batch) -> Tensor:
        return strength.odpo(batch.h, batch.strength, beta=self.beta, alpha=self.alpha)


@checked
@dataclass(frozen=True, kw_only=True)
class RPO(StrengthObjective):
    """βh drawn to η·Δ: squared, or by the KL of either direction (arXiv 2502.00203)."""

    name: Literal["rpo"] = "rpo"
    beta: float = 0.2
    eta: float = 1.0
    kind: strength.Divergence = "sq"
    above_zero = ("beta", "eta")

    def losses(self, batch: Batch) -> Tensor:
        return strength.rpo(batch.h, batch.strength, beta=self.beta, eta=self.eta, kind=self.kind)


@checked
@dataclass(frozen=True, kw_only=True)
class MMPO(StrengthObjective):
    """DPO with the soft label σ(γΔ) (arXiv 2410.03145)."""

    name: Literal["mmpo"] = "mmpo"
    beta: float = 0.1
    gamma: float = 1.0
    above_zero = ("beta", "gamma")

    def losses(self, batch: Batch) -> Tensor:
        return strength.mmpo(batch.h, batch.strength, beta=self.beta, gamma=self.gamma)


@checked
@dataclass(frozen=True, kw_only=True)
class RDPO(StrengthObjective):
    """DPO with an offset of (β/β1)·Δ (arXiv 2602.00603)."""

    name: Literal["rdpo"] = "rdpo"
    beta: float = 0.1
    beta1: float = 1.0
    above_zero = ("beta", "beta1")

    def losses(self, batch: Batch) -> Tensor:
        return strength.rdpo(batch.h, batch.strength, beta=self.beta, beta1=self.beta1)


@checked
@dataclass(frozen=True, kw_only=True)
class MLRDPO(StrengthObjective):
    """DPO and the regression of βh on Δ: likelihood of label and rating (arXiv 2602.00603).

    With a `beta1` its ranking term has RDPO's offset.
    """

    name: Literal["ml-rdpo"] = "ml-rdpo"
    beta: float = 0.1
    variance: float = 1.0
    beta1: float | None = None
    above_zero = ("beta", "beta1", "variance")

    def losses(self, batch: Batch) -> Tensor:
        beta1 = math.inf if self.beta1 is None else self.beta1
        return strength.ml_rdpo(
            batch.h, batch.strength, beta=self.beta, variance=self.variance, beta1=beta1
        )


@checked
@dataclass(frozen=True, kw_only=True)
class UniDPO(StrengthObjective):
    """DPO weighted by strength (quality) and by what is left to learn (arXiv 2506.10054).

    An anchored likelihood term stands beside it.
    """

    name: Literal["uni-dpo"] = "uni-dpo"
    beta: float = 2.0
    eta: float = 0.1
    gamma: float = 1.0
    tau: float = 0.8
    nll: float = 0.01
    anchored: bool = True
    per_token: bool = True
    above_zero = ("beta", "eta")
    at_least_zero = ("gamma",)

    def losses(self, batch: Batch) -> Tensor:
        margin = self.beta * (batch.mean[batch.chosen] - batch.mean[batch.rejected])
        quality = loss_weights.uni_dpo_quality(batch.strength, eta=self.eta)
        performance = loss_weights.uni_dpo_performance(margin, gamma=self.gamma, tau=self.tau)
        return quality * performance * pairwise.dpo(batch.h, beta=self.beta)
