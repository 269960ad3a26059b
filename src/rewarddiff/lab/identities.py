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

from dataclasses import dataclass

import numpy as np
import torch

from rewarddiff.coefficients import CoefficientConfig, Negative, coefficients
from rewarddiff.losses import sigmoid, weighted_sum

TREATMENTS: tuple[Negative, ...] = ("abs", "floor", "clip", "signed")
FLOOR, BETA = 0.25, 0.1


@dataclass(frozen=True)
class Identity:
    """What was derived beside what came out.

    Attributes:
        cases: what it was tried on, the value derived, the value found.
        holds: false where it is what one might think, and is not so.
    """

    key: str
    title: str
    cases: tuple[tuple[str, float, float], ...]
    holds: bool = True


def weights(treatment: Negative, d: float = 1.0) -> tuple[float, float]:
    """Coefficients of a comparison the scorer agrees with, and of one it contradicts."""
    found = coefficients(
        [d, -d], CoefficientConfig(alpha=1.0, negative=treatment, floor=FLOOR)
    ).weights
    return float(found[0]), float(found[1])


def trained(p: float, w: tuple[float, float], steps: int = 400) -> float:
    """σ(βh) where gradient descent ends; the policy starts at the reference, h = 0.

    A negative weight leaves the loss without a minimum: there it is plain descent, after these
    steps.
    """
    h = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    bounded = min(w) >= 0
    optimizer: torch.optim.Optimizer = torch.optim.SGD([h], lr=1 / BETA**2)
    if bounded:
        optimizer = torch.optim.LBFGS(
            [h],
            line_search_fn="strong_wolfe",
            max_iter=steps,
            tolerance_grad=1e-12,
            tolerance_change=0.0,
        )
    c = torch.tensor([p * w[0], (1 - p) * w[1]], dtype=torch.float64)

    def closure() -> float:
        optimizer.zero_grad()
        loss = weighted_sum(sigmoid(torch.cat([h, -h]), beta=BETA), c, signed=True)
        loss.backward()
        return float(loss.detach())

    for _ in range(1 if bounded else steps):
        optimizer.step(closure)
    return float(torch.sigmoid(BETA * h.detach()))


def derived(p: float, w: tuple[float, float]) -> float:
    """w₁p / (w₁p + w₂(1−p)); 1 (unbounded h) where the weight of the others is not positive."""
    return 1.0 if w[1] <= 0 else w[0] * p / (w[0] * p + w[1] * (1 - p))


def contrast(
    p: float, q: float, c0: float, c1: float, draws: int = 1_000_000, seed: int = 0
) -> float:
    """Mean gap of misread rewards of a response and a baseline."""
    luck = np.random.default_rng(seed)

    def read(success: float) -> float:
        true = luck.random(draws) < success
        wrong = luck.random(draws) < np.where(true, c1, c0)
        return float((true ^ wrong).mean())

    return read(p) - read(q)


def product(p: float, q: float, *, conditional: bool) -> float:
    """Pr(r ≠ b)·(2·Pr(r = 1 | r ≠ b) − 1) of a response's and a baseline's true rewards, or Pr(r =
    1) unconditioned."""
    apart = p * (1 - q) + q * (1 - p)
    return apart * (2 * (p * (1 - q) / apart if conditional else p) - 1)


def identities() -> list[Identity]:
    """All of them, simulated."""
    optimum = [
        (f"{treatment}, p = {p:g}", derived(p, w), trained(p, w))
        for treatment in TREATMENTS
        for w in [weights(treatment)]
        for p in (0.6, 0.8)
    ]
    noise = [
        (
            f"p = {p:g}, q = {q:g}, c₀ = {c0:g}, c₁ = {c1:g}",
            (1 - c0 - c1) * (p - q),
            contrast(p, q, c0, c1),
        )
        for p, q, c0, c1 in (
            (0.7, 0.5, 0.0, 0.0),
            (0.7, 0.5, 0.1, 0.3),
            (0.2, 0.6, 0.25, 0.05),
            (0.9, 0.1, 0.4, 0.6),
        )
    ]
    pairs, misread = ((0.7, 0.5), (0.2, 0.6), (0.9, 0.8)), (0.1, 0.3)
    found = [contrast(p, q, *misread) for p, q in pairs]
    factors, loose = (
        [
            (
                f"p = {p:g}, q = {q:g}",
                (1 - sum(misread)) * product(p, q, conditional=conditional),
                gap,
            )
            for (p, q), gap in zip(pairs, found, strict=True)
        ]
        for conditional in (True, False)
    )
    return [
        Identity(
            "optimum",
            "Weights alike for both outcomes keep the optimum p, others move it",
            (*optimum,),
        ),
        Identity("contrast", "Noise shrinks a contrastive reward by 1 − c₀ − c₁", (*noise,)),
        Identity(
            "factors",
            "… times how often the two differ, times who succeeds where they do",
            (*factors,),
        ),
        Identity("loose", "Without that condition it is another number", (*loose,), holds=False),
    ]
