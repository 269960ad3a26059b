"""Every policy objective by name: where its config is, and what it is. Imports nothing heavy.

A line here makes an objective known to recipes, to the command line and to Python.
"""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """An objective's config.

    Attributes:
        module: in `rewarddiff.policies.objectives`.
        config: the class there.
        summary: what it is, in a few words.
    """

    module: str
    config: str
    summary: str


OBJECTIVES = {
    "sft": Entry("sft", "SFTConfig", "fine-tuning on the best response"),
    "dpo": Entry("pairs", "DPO", "direct preference optimisation, with label_smoothing cDPO"),
    "robust": Entry("pairs", "Robust", "DPO where labels are wrong with a known probability"),
    "ipo": Entry("pairs", "IPO", "log-ratios drawn to a fixed difference"),
    "simpo": Entry("pairs", "SimPO", "mean log-probabilities and a margin, without a reference"),
    "orpo": Entry("pairs", "ORPO", "likelihood and the log odds ratio, without a reference"),
    "slic": Entry("pairs", "SLiC", "a hinge and likelihood, without a reference"),
    "wpo": Entry("pairs", "WPO", "DPO weighted by how likely the policy writes the pair"),
    "beta-dpo": Entry("pairs", "BetaDPO", "DPO whose β follows the batch"),
    "odpo": Entry("strength", "ODPO", "DPO with an offset of α·log Δ"),
    "rpo": Entry("strength", "RPO", "DPO's reward difference drawn to η·Δ"),
    "mmpo": Entry("strength", "MMPO", "DPO with soft labels σ(γΔ)"),
    "rdpo": Entry("strength", "RDPO", "DPO with an offset of (β/β1)·Δ"),
    "ml-rdpo": Entry("strength", "MLRDPO", "DPO and the regression of βh on Δ"),
    "uni-dpo": Entry("strength", "UniDPO", "DPO weighted by strength and by what is left to learn"),
    "rrhf": Entry("lists", "RRHF", "a hinge on every pair of a list"),
    "pro": Entry("lists", "PRO", "each response of a list against all below it"),
    "kto": Entry("lists", "KTO", "single responses, desirable or not"),
}
