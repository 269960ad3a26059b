"""Two statements that can be derived, and what comes out when they are simulated.

Does weighting move the optimum? People prefer the first response with probability p. A scorer says
the first is better by d whoever won, so the difference oriented by the label is Δ = +d for those
who chose it and −d for the others. The tabular policy that minimises E[c(Δ)·(−log σ(βh))] is found
by gradient descent on the project's own loss and coefficients, and set beside σ(βh) = w₁p / (w₁p +
w₂(1−p)), which setting the derivative to zero gives; w₁ = c(d), w₂ = c(−d).

What does noise do to a contrastive reward (arXiv 2403.07708)? A reward of 0 or 1 is misread with
probability c₀ where it is truly 0 and c₁ where it is 1: the expected gap between a response that
succeeds with probability p and a baseline that does with q shrinks by the factor 1 − c₀ − c₁,
whatever p and q are. The gap p − q is how often the two differ, times how much more often the
response than the baseline is the one that succeeded where they do. That condition is needed: with
how often the response succeeds in general in its place the product is another number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from rewarddiff.coefficients import CoefficientConfig, Negative, weigh
from rewarddiff.differences import Differences
from rewarddiff.losses.pairwise import dpo
from rewarddiff.losses.reduce import weighted_sum

TREATMENTS: tuple[Negative, ...] = ("abs", "floor", "clip", "signed")
FLOOR = 0.25
BETA = 0.1

Case = tuple[str, float, float]
"""What a statement was tried on, the value derived, the value that came out."""


@dataclass(frozen=True)
class Identity:
    """What was derived beside what came out.

    Attributes:
        holds: false where it is what one might think, and is not so.
    """

    key: str
    title: str
    cases: tuple[Case, ...]
    holds: bool = True


def weights(treatment: Negative, d: float = 1.0) -> tuple[float, float]:
    """Return coefficients of a comparison the scorer agrees with, and of one it contradicts."""
    config = CoefficientConfig(alpha=1.0, negative=treatment, floor=FLOOR)
    (pair,) = weigh([Differences.of([d, -d])], config).weights
    agreed, contradicted = pair.tolist()
    return agreed, contradicted


def trained(p: float, w: tuple[float, float], steps: int = 400) -> float:
    """Return σ(βh) where gradient descent ends; the policy starts at the reference, h = 0.

    A negative weight leaves the loss without a minimum: there it is plain descent, after these
    steps.
    """
    h = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    c = torch.tensor([p * w[0], (1 - p) * w[1]], dtype=torch.float64)

    def closure() -> float:
        h.grad = None
        loss = weighted_sum(dpo(torch.cat([h, -h]), beta=BETA), c, signed=True)
        loss.backward()
        return float(loss.detach())

    if min(w) < 0:
        descent = torch.optim.SGD([h], lr=1 / BETA**2)
        for _ in range(steps):
            descent.step(closure)
    else:
        newton = torch.optim.LBFGS(
            [h],
            line_search_fn="strong_wolfe",
            max_iter=steps,
            tolerance_grad=1e-12,
            tolerance_change=0.0,
        )
        newton.step(closure)
    return float(torch.sigmoid(BETA * h.detach()))


def derived(p: float, w: tuple[float, float]) -> float:
    """Return w₁p / (w₁p + w₂(1−p)); 1 (h without bound) where w₂ is not positive."""
    if w[1] <= 0:
        return 1.0
    return w[0] * p / (w[0] * p + w[1] * (1 - p))


def contrast(p: float, q: float, c0: float, c1: float, draws: int = 1_000_000) -> float:
    """Return the mean gap of misread rewards of a response and a baseline."""
    generator = np.random.default_rng(0)

    def mean_reward(success: float) -> float:
        true = generator.random(draws) < success
        misread = generator.random(draws) < np.where(true, c1, c0)
        return float((true ^ misread).mean())

    return mean_reward(p) - mean_reward(q)


def product(p: float, q: float, *, conditional: bool) -> float:
    """Return Pr(r ≠ b)·(2·Pr(r = 1 | r ≠ b) − 1) of true rewards r and b, or Pr(r = 1) in it.

    Args:
        p, q: how often the response, the baseline succeeds.
    """
    differ = p * (1 - q) + q * (1 - p)
    success = p * (1 - q) / differ if conditional else p
    return differ * (2 * success - 1)


def identities() -> list[Identity]:
    """Return all of them, simulated."""
    return [
        Identity(
            "optimum",
            "Weights alike for both outcomes keep the optimum p, others move it",
            tuple(_optima()),
        ),
        Identity(
            "contrast", "Noise shrinks a contrastive reward by 1 − c₀ − c₁", tuple(_contrasts())
        ),
        Identity(
            "factors",
            "The gap: how often response and baseline differ, times which of the two then succeeds",
            tuple(_products(conditional=True)),
        ),
        Identity(
            "loose",
            "With how often the response succeeds at all, in place of where they differ, the product is not the gap",
            tuple(_products(conditional=False)),
            holds=False,
        ),
    ]


def _optima() -> Iterator[Case]:
    for treatment in TREATMENTS:
        w = weights(treatment)
        for p in (0.6, 0.8):
            yield f"{treatment}, p = {p:g}", derived(p, w), trained(p, w)


def _contrasts() -> Iterator[Case]:
    for p, q, c0, c1 in (
        (0.7, 0.5, 0.0, 0.0),
        (0.7, 0.5, 0.1, 0.3),
        (0.2, 0.6, 0.25, 0.05),
        (0.9, 0.1, 0.4, 0.6),
    ):
        name = f"p = {p:g}, q = {q:g}, c₀ = {c0:g}, c₁ = {c1:g}"
        yield name, (1 - c0 - c1) * (p - q), contrast(p, q, c0, c1)


def _products(*, conditional: bool) -> Iterator[Case]:
    c0, c1 = 0.1, 0.3
    for p, q in ((0.7, 0.5), (0.2, 0.6), (0.9, 0.8)):
        gap = (1 - c0 - c1) * product(p, q, conditional=conditional)
        yield f"p = {p:g}, q = {q:g}", gap, contrast(p, q, c0, c1)
