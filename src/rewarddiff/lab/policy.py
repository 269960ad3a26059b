"""A policy small enough to be solved: log π(y|x) = θ·φ(x, y) − log Z(x), the reference uniform.

It is trained with the project's own loss and coefficients; many weightings of the same comparisons
at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from rewarddiff.coefficients import CoefficientConfig, weigh
from rewarddiff.config import at_least, positive
from rewarddiff.differences import Differences
from rewarddiff.lab.world import Array, Sample
from rewarddiff.losses import pairwise, strength
from rewarddiff.losses.reduce import weighted_sum

Objective = Literal["dpo", "mmpo", "rdpo", "rpo"]


@dataclass(frozen=True)
class Training:
    """How long and how far.

    Attributes:
        beta: of DPO.
        steps: of gradient descent on all comparisons, each weighting at the largest rate that is
            stable for it. Where few comparisons are left without a contradiction there is no
            optimum, and this is where it stops.
        kl: nats per prompt from the reference at which policies are compared: by what they learned,
            not by how far they went. The weights' scale, which is a learning rate in disguise, has
            no part in it.
    """

    beta: float = 0.1
    steps: int = 100
    kl: float = 0.5

    def __post_init__(self) -> None:
        positive(self, "beta", "kl")
        at_least(self, 1, "steps")


@dataclass(frozen=True)
class Method:
    """What is made of the comparisons of a sample.

    Attributes:
        differences: oriented by the label, (pairs,).
        weight: coefficients from them; None: every comparison at 1.
        objective: dpo leaves strengths alone; mmpo takes them as soft labels, rdpo as offsets, rpo
            as targets of βh.
    """

    differences: Array
    weight: CoefficientConfig | None = None
    objective: Objective = "dpo"


def gains(sample: Sample, methods: Sequence[Method], training: Training) -> Array:
    """Return what every method's policy gains in expected true reward over the reference, (methods,)."""
    theta = train(sample, methods, training)
    _, gain = _judged(sample, _scaled(sample, theta, training.kl))
    return gain


def train(sample: Sample, methods: Sequence[Method], training: Training) -> Array:
    """Return θ of every method, (methods, features)."""
    gap = torch.tensor(sample.chosen - sample.rejected)
    columns = [weights_and_signs(method) for method in methods]
    weights = torch.tensor(np.stack([weight for weight, _ in columns]))
    signs = torch.tensor(np.stack([sign for _, sign in columns]))
    strengths = torch.tensor(np.stack([method.differences for method in methods])) * signs
    rows: dict[Objective, list[int]] = {}
    for row, method in enumerate(methods):
        rows.setdefault(method.objective, []).append(row)
    rate = _stable_rate(methods, weights, gap, training.beta)
    theta = torch.zeros(len(methods), gap.shape[1], dtype=torch.float64, requires_grad=True)
    for _ in range(training.steps):
        h = signs * (theta @ gap.T)
        total = torch.zeros((), dtype=torch.float64)
        for objective, place in rows.items():
            values = _losses(
                objective, h[place].reshape(-1), strengths[place].reshape(-1), training.beta
            )
            total = total + weighted_sum(values, weights[place].reshape(-1), signed=True)
        (slope,) = torch.autograd.grad(total / len(gap), theta)
        with torch.no_grad():
            theta -= rate * slope
    solution: Array = theta.detach().numpy()
    return solution


def _stable_rate(
    methods: Sequence[Method], weights: torch.Tensor, gap: torch.Tensor, beta: float
) -> torch.Tensor:
    """Return one over the largest curvature of every method's loss, (methods, 1)."""
    # −log σ(βh) has a second derivative of at most β²/4 in h, (βh − Δ)² one of 2β².
    bend = (
        torch.tensor([2.0 if method.objective == "rpo" else 0.25 for method in methods]) * beta**2
    )
    curvature = torch.einsum("mn,nf,ng->mfg", weights.abs(), gap, gap) / len(gap)
    curvature = curvature * bend[:, None, None]
    steepest: torch.Tensor = torch.linalg.eigvalsh(curvature)[:, -1:]
    return 1 / steepest


def _losses(objective: str, h: torch.Tensor, strengths: torch.Tensor, beta: float) -> torch.Tensor:
    match objective:
        case "mmpo":
            return strength.mmpo(h, strengths, beta=beta, gamma=1.0)
        case "rdpo":
            return strength.rdpo(h, strengths, beta=beta, beta1=beta)
        case "rpo":
            return strength.rpo(h, strengths, beta=beta, eta=1.0, kind="sq")
    return pairwise.dpo(h, beta=beta)


def weights_and_signs(method: Method) -> tuple[Array, Array]:
    """Return weights, and −1 where the label is turned."""
    if method.weight is None:
        return np.ones_like(method.differences), np.ones_like(method.differences)
    result = weigh([Differences.of(method.differences)], method.weight)
    (weights,), (flip,), (keep,) = result.weights, result.flip, result.keep
    return weights * keep, np.where(flip, -1.0, 1.0)


def _judged(sample: Sample, theta: Array) -> tuple[Array, Array]:
    """Return KL(π‖ρ) in nats and the gain in expected true reward, means over held-out prompts."""
    logits = np.einsum("prf,mf->mpr", sample.held_out, theta)
    logits -= logits.max(-1, keepdims=True)
    shares = np.exp(logits)
    shares /= shares.sum(-1, keepdims=True)
    # 0·log 0 is 0.
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(shares > 0, shares * np.log(shares * shares.shape[-1]), 0.0)
    gain = (shares * sample.rewards).sum(-1) - sample.rewards.mean(-1)
    return terms.sum(-1).mean(-1), gain.mean(-1)


def _scaled(sample: Sample, theta: Array, kl: float) -> Array:
    """Return the same directions, as far from the reference as `kl` says, by bisection.

    One that learned nothing stays at the reference.
    """
    norms = np.linalg.norm(theta, axis=1, keepdims=True)
    direction = theta / np.where(norms > 0, norms, 1)
    low = np.zeros(len(theta))
    high = np.full(len(theta), 1e3)
    for _ in range(40):
        middle = (low + high) / 2
        distance, _gain = _judged(sample, direction * middle[:, None])
        near = distance < kl
        low = np.where(near, middle, low)
        high = np.where(near, high, middle)
    return direction * low[:, None]
