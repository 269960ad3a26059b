"""Objectives that use by how much a response is better: as an offset, a target, a soft label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from rewarddiff import losses
from rewarddiff.config import at_least, checked, positive
from rewarddiff.policies.objectives.batch import Batch, Column, Terms


@checked
@dataclass(frozen=True, kw_only=True)
class ODPO(Terms):
    """DPO with an offset of α·log Δ: the stronger the preference, the wider the margin (arXiv
    2402.10571)."""

    name: Literal["odpo"] = "odpo"
    beta: float = 0.1
    alpha: float = 1.0
    columns: ClassVar[frozenset[Column]] = frozenset({"reference", "strength"})
    positive_strength: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "beta")
        at_least(self, 0, "alpha")

    def losses(self, batch: Batch) -> Tensor:
        return losses.odpo(batch.h, batch.known(batch.strength), beta=self.beta, alpha=self.alpha)


@checked
@dataclass(frozen=True, kw_only=True)
class RPO(Terms):
    """βh drawn to η·Δ: squared, or by the KL of either direction (arXiv 2502.00203)."""

    name: Literal["rpo"] = "rpo"
    beta: float = 0.2
    eta: float = 1.0
    kind: Literal["sq", "bwd", "fwd"] = "sq"
    columns: ClassVar[frozenset[Column]] = frozenset({"reference", "strength"})

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "beta", "eta")

    def losses(self, batch: Batch) -> Tensor:
        return losses.rpo(
            batch.h, batch.known(batch.strength), beta=self.beta, eta=self.eta, kind=self.kind
        )


@checked
@dataclass(frozen=True, kw_only=True)
class MMPO(Terms):
    """DPO with the soft label σ(γΔ) (arXiv 2410.03145)."""

    name: Literal["mmpo"] = "mmpo"
    beta: float = 0.1
    gamma: float = 1.0
    columns: ClassVar[frozenset[Column]] = frozenset({"reference", "strength"})

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "beta", "gamma")

    def losses(self, batch: Batch) -> Tensor:
        return losses.mmpo(batch.h, batch.known(batch.strength), beta=self.beta, gamma=self.gamma)


@checked
@dataclass(frozen=True, kw_only=True)
class RDPO(Terms):
    """DPO with an offset of (β/β1)·Δ (arXiv 2602.00603)."""

    name: Literal["rdpo"] = "rdpo"
    beta: float = 0.1
    beta1: float = 1.0
    columns: ClassVar[frozenset[Column]] = frozenset({"reference", "strength"})

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "beta", "beta1")

    def losses(self, batch: Batch) -> Tensor:
        return losses.rdpo(batch.h, batch.known(batch.strength), beta=self.beta, beta1=self.beta1)


@checked
@dataclass(frozen=True, kw_only=True)
class MLRDPO(Terms):
    """DPO, and beside it the regression of βh on Δ: the likelihood of label and rating together
    (arXiv 2602.00603).

    With a `beta1` its ranking term has RDPO's offset.
    """

    name: Literal["ml-rdpo"] = "ml-rdpo"
    beta: float = 0.1
    variance: float = 1.0
    beta1: float | None = None
    columns: ClassVar[frozenset[Column]] = frozenset({"reference", "strength"})

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "beta", "beta1", "variance")

    def losses(self, batch: Batch) -> Tensor:
        offset = {} if self.beta1 is None else {"beta1": self.beta1}
        return losses.ml_rdpo(
            batch.h, batch.known(batch.strength), beta=self.beta, variance=self.variance, **offset
        )


@checked
@dataclass(frozen=True, kw_only=True)
class UniDPO(Terms):
    """DPO weighted by strength (quality) and by what is left to learn (focal), with an anchored
    likelihood term.

    arXiv 2506.10054.
    """

    name: Literal["uni-dpo"] = "uni-dpo"
    beta: float = 2.0
    eta: float = 0.1
    gamma: float = 1.0
    tau: float = 0.8
    nll: float = 0.01
    anchored: bool = True
    per_token: bool = True
    columns: ClassVar[frozenset[Column]] = frozenset({"reference", "strength"})

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "beta", "eta")
        at_least(self, 0, "gamma")

    def losses(self, batch: Batch) -> Tensor:
        margin = self.beta * (batch.mean[batch.chosen] - batch.mean[batch.rejected])
        quality = losses.uni_dpo_quality(batch.known(batch.strength), eta=self.eta)
        performance = losses.uni_dpo_performance(margin, gamma=self.gamma, tau=self.tau)
        return quality * performance * losses.sigmoid(batch.h, beta=self.beta)
