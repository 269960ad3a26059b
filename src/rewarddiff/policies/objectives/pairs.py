"""Objectives on the order of a pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from rewarddiff.config import checked
from rewarddiff.differences import by_group
from rewarddiff.losses import pairwise
from rewarddiff.losses import weights as loss_weights
from rewarddiff.policies.alignment import AlignmentConfig
from rewarddiff.policies.batch import Batch, Context


@checked
@dataclass(frozen=True, kw_only=True)
class DPO(AlignmentConfig):
    """Direct preference optimisation; with label_smoothing cDPO (arXiv 2305.18290)."""

    name: Literal["dpo"] = "dpo"
    beta: float = 0.1
    label_smoothing: float = 0.0
    above_zero = ("beta",)

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_below_half(self.label_smoothing)

    def losses(self, batch: Batch) -> Tensor:
        return pairwise.dpo(batch.h, beta=self.beta, label_smoothing=self.label_smoothing)


@checked
@dataclass(frozen=True, kw_only=True)
class Robust(AlignmentConfig):
    """rDPO: DPO's loss of the true labels, of which a share ε is given wrong (arXiv 2403.00409)."""

    name: Literal["robust"] = "robust"
    beta: float = 0.1
    label_smoothing: float = 0.1
    above_zero = ("beta",)

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_below_half(self.label_smoothing)

    def losses(self, batch: Batch) -> Tensor:
        return pairwise.robust(batch.h, beta=self.beta, label_smoothing=self.label_smoothing)


@checked
@dataclass(frozen=True, kw_only=True)
class IPO(AlignmentConfig):
    """Identity preference optimisation on log-ratios per token (arXiv 2310.12036)."""

    name: Literal["ipo"] = "ipo"
    tau: float = 0.1
    per_token: bool = True
    above_zero = ("tau",)

    def losses(self, batch: Batch) -> Tensor:
        return pairwise.ipo(batch.h, tau=self.tau)


@checked
@dataclass(frozen=True, kw_only=True)
class SimPO(AlignmentConfig):
    """Mean log-probabilities for log-ratios, a margin of β·gamma_ratio (arXiv 2405.14734)."""

    name: Literal["simpo"] = "simpo"
    beta: float = 2.5
    gamma_ratio: float = 0.55
    columns = frozenset()
    above_zero = ("beta",)
    at_least_zero = ("gamma_ratio",)

    def losses(self, batch: Batch) -> Tensor:
        chosen, rejected = batch.mean[batch.chosen], batch.mean[batch.rejected]
        return pairwise.simpo(chosen, rejected, beta=self.beta, gamma=self.beta * self.gamma_ratio)


@checked
@dataclass(frozen=True, kw_only=True)
class ORPO(AlignmentConfig):
    """Likelihood of the chosen response plus λ times the log odds ratio (arXiv 2403.07691)."""

    name: Literal["orpo"] = "orpo"
    weight: float = 0.1
    columns = frozenset()
    at_least_zero = ("weight",)

    def losses(self, batch: Batch) -> Tensor:
        chosen, rejected = batch.mean[batch.chosen], batch.mean[batch.rejected]
        return pairwise.orpo(chosen, rejected, weight=self.weight)


@checked
@dataclass(frozen=True, kw_only=True)
class SLiC(AlignmentConfig):
    """A hinge on log-probabilities plus λ times the chosen one's likelihood (arXiv 2305.10425)."""

    name: Literal["slic"] = "slic"
    delta: float = 1.0
    weight: float = 0.1
    columns = frozenset()
    at_least_zero = ("delta", "weight")

    def losses(self, batch: Batch) -> Tensor:
        chosen, rejected = batch.policy[batch.chosen], batch.policy[batch.rejected]
        return pairwise.slic(chosen, rejected, delta=self.delta, weight=self.weight)


@checked
@dataclass(frozen=True, kw_only=True)
class WPO(DPO):
    """DPO, a pair weighted by how likely the policy is to write it itself (arXiv 2406.11827)."""

    name: Literal["wpo"] = "wpo"  # type: ignore[assignment]
    columns = frozenset({"reference", "collision"})

    def losses(self, batch: Batch) -> Tensor:
        log_weights = (batch.policy - batch.collision) / batch.lengths
        weights = loss_weights.wpo(log_weights[batch.chosen], log_weights[batch.rejected])
        return weights * super().losses(batch)


@checked
@dataclass(frozen=True, kw_only=True)
class BetaDPO(AlignmentConfig):
    """DPO whose β follows the global batch, its likeliest pairs alone (arXiv 2407.08639).

    Of a batch the likeliest share `keep` is trained on. M and the spread of h are running means
    over batches, with `momentum`.
    """

    name: Literal["beta-dpo"] = "beta-dpo"
    beta: float = 0.1
    alpha: float = 0.6
    keep: float = 0.8
    momentum: float = 0.9
    probes = "h"
    above_zero = ("beta", "keep")
    at_least_zero = ("alpha",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keep > 1 or not 0 <= self.momentum < 1:
            raise ValueError(
                f"keep is {self.keep}, should be at most 1; "
                f"momentum {self.momentum}, from 0 and below 1"
            )

    def begin(
        self, probed: Sequence[Sequence[float]], state: dict[str, float], training: bool
    ) -> Context:
        if not training:
            return Context({"beta": self.beta})
        sizes = [len(h_of_item) for h_of_item in probed]
        h = torch.tensor(
            [value for h_of_item in probed for value in h_of_item], dtype=torch.float64
        )
        self._follow(h, state)
        draws = torch.Generator().manual_seed(int(state["batches"]))
        std = max(state["std"], 1e-6)
        kept = loss_weights.gaussian_keep(
            h, mean=state["mean"], std=std, keep=self.keep, generator=draws
        )
        beta = loss_weights.dynamic_beta(
            h[kept], beta=self.beta, alpha=self.alpha, threshold=state["mean"]
        )
        # The loop divides by all pairs of the batch, the authors by those that are kept.
        factors = (kept * (len(h) / int(kept.sum()))).numpy()
        keep = tuple(tuple(of_item.tolist()) for of_item in by_group(factors, sizes))
        return Context({"beta": float(beta)}, keep)

    def _follow(self, h: Tensor, state: dict[str, float]) -> None:
        """Take the batch's mean and spread of h into the running ones."""
        mean = float(h.mean())
        std = float(h.std()) if len(h) > 1 else 0.0
        for name, value in (("mean", mean), ("std", std)):
            earlier = state.get(name, value)
            state[name] = self.momentum * earlier + (1 - self.momentum) * value
        state["batches"] = state.get("batches", 0) + 1

    def losses(self, batch: Batch) -> Tensor:
        return pairwise.dpo(batch.h, beta=batch.context.values["beta"])

    def weights(self, batch: Batch) -> Tensor:
        return batch.coefficients * batch.keep


def _require_below_half(label_smoothing: float) -> None:
    if not 0 <= label_smoothing < 0.5:
        raise ValueError(
            f"label_smoothing is {label_smoothing}, should be at least 0 and below 0.5"
        )
