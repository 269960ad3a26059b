"""Objectives on the order of a pair."""

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
class DPO(Terms):
    """Direct preference optimisation; with label_smoothing cDPO (arXiv 2305.18290)."""

    name: Literal["dpo"] = "dpo"
    beta: float = 0.1
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "beta")
        _share_below_half(self.label_smoothing)

    def losses(self, batch: Batch) -> Tensor:
        return losses.sigmoid(batch.h, beta=self.beta, label_smoothing=self.label_smoothing)


@checked
@dataclass(frozen=True, kw_only=True)
class Robust(Terms):
    """rDPO: DPO's loss of the true labels, where those given are wrong with probability ε (arXiv
    2403.00409)."""

    name: Literal["robust"] = "robust"
    beta: float = 0.1
    label_smoothing: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "beta")
        _share_below_half(self.label_smoothing)

    def losses(self, batch: Batch) -> Tensor:
        return losses.robust(batch.h, beta=self.beta, label_smoothing=self.label_smoothing)


@checked
@dataclass(frozen=True, kw_only=True)
class IPO(Terms):
    """Identity preference optimisation on log-ratios per token (arXiv 2310.12036)."""

    name: Literal["ipo"] = "ipo"
    tau: float = 0.1
    per_token: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "tau")

    def losses(self, batch: Batch) -> Tensor:
        return losses.ipo(batch.h, tau=self.tau)


@checked
@dataclass(frozen=True, kw_only=True)
class SimPO(Terms):
    """Mean log-probabilities instead of log-ratios, and a margin of β·gamma_ratio (arXiv
    2405.14734)."""

    name: Literal["simpo"] = "simpo"
    beta: float = 2.5
    gamma_ratio: float = 0.55
    columns: ClassVar[frozenset[Column]] = frozenset()

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "beta")
        at_least(self, 0, "gamma_ratio")

    def losses(self, batch: Batch) -> Tensor:
        chosen, rejected = batch.mean[batch.chosen], batch.mean[batch.rejected]
        return losses.simpo(chosen, rejected, beta=self.beta, gamma=self.beta * self.gamma_ratio)


@checked
@dataclass(frozen=True, kw_only=True)
class ORPO(Terms):
    """Likelihood of the chosen response plus λ times the log odds ratio (arXiv 2403.07691)."""

    name: Literal["orpo"] = "orpo"
    weight: float = 0.1
    columns: ClassVar[frozenset[Column]] = frozenset()

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 0, "weight")

    def losses(self, batch: Batch) -> Tensor:
        return losses.orpo(batch.mean[batch.chosen], batch.mean[batch.rejected], weight=self.weight)


@checked
@dataclass(frozen=True, kw_only=True)
class SLiC(Terms):
    """A hinge on log-probabilities plus λ times the likelihood of the chosen response (arXiv
    2305.10425)."""

    name: Literal["slic"] = "slic"
    delta: float = 1.0
    weight: float = 0.1
    columns: ClassVar[frozenset[Column]] = frozenset()

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 0, "delta", "weight")

    def losses(self, batch: Batch) -> Tensor:
        chosen, rejected = batch.policy[batch.chosen], batch.policy[batch.rejected]
        return losses.slic(chosen, rejected, chosen, delta=self.delta, weight=self.weight)


@checked
@dataclass(frozen=True, kw_only=True)
class WPO(DPO):
    """DPO, each pair weighted by how likely the policy is to have written it itself (arXiv
    2406.11827)."""

    name: Literal["wpo"] = "wpo"  # type: ignore[assignment]
    columns: ClassVar[frozenset[Column]] = frozenset({"reference", "collision"})

    def losses(self, batch: Batch) -> Tensor:
        own = (batch.policy - batch.known(batch.collision)) / batch.lengths
        return losses.wpo(own[batch.chosen], own[batch.rejected]) * super().losses(batch)


@checked
@dataclass(frozen=True, kw_only=True)
class BetaDPO(Terms):
    """DPO whose β follows the global batch, of which the likeliest share `keep` is trained on
    (arXiv 2407.08639).

    M and the spread of h are running means over batches, with `momentum`.
    """

    name: Literal["beta-dpo"] = "beta-dpo"
    beta: float = 0.1
    alpha: float = 0.6
    keep: float = 0.8
    momentum: float = 0.9
    columns: ClassVar[frozenset[Column]] = frozenset({"reference"})
    probes: ClassVar[Probe | None] = "h"

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "beta", "keep")
        at_least(self, 0, "alpha")
        if self.keep > 1 or not 0 <= self.momentum < 1:
            raise ValueError(
                f"keep is {self.keep}, should be at most 1; momentum {self.momentum}, from 0 and below 1"
            )

    def begin(
        self, probed: Sequence[Sequence[float]], state: dict[str, float], training: bool
    ) -> Context:
        h = torch.tensor([value for own in probed for value in own], dtype=torch.float64)
        if not training:
            return Context(beta=self.beta)
        spread = float(h.std()) if len(h) > 1 else 0.0
        for name, value in (("mean", float(h.mean())), ("std", spread)):
            state[name] = self.momentum * state.get(name, value) + (1 - self.momentum) * value
        state["batches"] = state.get("batches", 0) + 1
        draws = torch.Generator().manual_seed(int(state["batches"]))
        kept = losses.gaussian_keep(
            h, mean=state["mean"], std=max(state["std"], 1e-6), keep=self.keep, generator=draws
        )
        beta = losses.dynamic_beta(
            h[kept], beta=self.beta, alpha=self.alpha, threshold=state["mean"]
        )
        share = len(h) / int(kept.sum())  # the mean is over the pairs that are kept
        weights = (kept * share).tolist()
        places = iter(weights)
        return Context(
            beta=float(beta), keep=tuple(tuple(next(places) for _ in own) for own in probed)
        )

    def losses(self, batch: Batch) -> Tensor:
        return losses.sigmoid(batch.h, beta=batch.context.beta or self.beta)

    def weights(self, batch: Batch) -> Tensor:
        return batch.coefficients if batch.keep is None else batch.coefficients * batch.keep


def _share_below_half(value: float) -> None:
    if not 0 <= value < 0.5:
        raise ValueError(f"label_smoothing is {value}, should be at least 0 and below 0.5")
