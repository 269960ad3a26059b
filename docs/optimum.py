"""Does weighting move the optimum? The figure of docs/papers.md; the question and its answer are in
`lab.identities`.

python docs/optimum.py     # writes docs/images/optimum.svg
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rewarddiff.lab.identities import TREATMENTS, derived, trained, weights

SHARES = np.linspace(0.55, 0.95, 9)


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
        axes.plot(
            SHARES, shown, mark, markersize=5, label=f"{treatment}: weights {w[0]:g} and {w[1]:g}"
        )
    axes.set_xlabel("people who prefer the first response, p")
    axes.set_ylabel("learned preference σ(βh)")
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(Path(__file__).parent / "images" / "optimum.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
