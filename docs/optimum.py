"""Does weighting move the optimum? A policy over two responses, trained to convergence with each treatment of Δ.

People prefer the first response with probability p. A scorer says the first is better by d whoever won, so the
difference oriented by the label is Δ = +d for those who chose it and −d for the others. The tabular policy that
minimises E[c(Δ)·(−log σ(βh))] is found by gradient descent on the project's own loss and coefficients, and set beside
σ(βh) = w₁p / (w₁p + w₂(1−p)), which setting the derivative to zero gives; w₁ = c(d), w₂ = c(−d).

    python docs/optimum.py     # writes docs/images/optimum.svg
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from rewarddiff.coefficients import CoefficientConfig, Negative, coefficients
from rewarddiff.losses import sigmoid, weighted_sum

TREATMENTS: tuple[Negative, ...] = ("abs", "floor", "clip", "signed")
SHARES = np.linspace(0.55, 0.95, 9)
FLOOR, BETA = 0.25, 0.1


def weights(treatment: Negative, d: float = 1.0) -> tuple[float, float]:
    """Coefficients of a comparison the scorer agrees with, and of one it contradicts."""
    found = coefficients([d, -d], CoefficientConfig(alpha=1.0, negative=treatment, floor=FLOOR)).weights
    return float(found[0]), float(found[1])


def trained(p: float, w: tuple[float, float], steps: int = 400) -> float:
    """σ(βh) where gradient descent ends; the policy starts at the reference, h = 0."""
    h = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [h], line_search_fn="strong_wolfe", max_iter=steps, tolerance_grad=1e-12, tolerance_change=0.0
    )
    c = torch.tensor([p * w[0], (1 - p) * w[1]], dtype=torch.float64)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = weighted_sum(sigmoid(torch.cat([h, -h]), beta=BETA), c, signed=True)
        loss.backward()
        return loss

    optimizer.step(closure)
    return float(torch.sigmoid(BETA * h.detach()))


def derived(p: float, w: tuple[float, float]) -> float:
    """w₁p / (w₁p + w₂(1−p)); 1 (unbounded h) where the weight of the others is not positive."""
    return 1.0 if w[1] <= 0 else w[0] * p / (w[0] * p + w[1] * (1 - p))


def main() -> None:
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(5.2, 3.6), layout="constrained")
    axes.plot(SHARES, SHARES, color="0.8", linewidth=6, label="unweighted optimum: p")
    for treatment, mark in zip(TREATMENTS[:3], "os^", strict=True):
        w = weights(treatment)
        axes.plot(SHARES, [derived(p, w) for p in SHARES], color="0.3", linewidth=0.8)
        shown = [min(trained(p, w), 1.0) for p in SHARES]
        axes.plot(SHARES, shown, mark, markersize=5, label=f"{treatment}: weights {w[0]:g} and {w[1]:g}")
    axes.set_xlabel("people who prefer the first response, p")
    axes.set_ylabel("learned preference σ(βh)")
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(Path(__file__).parent / "images" / "optimum.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
