"""Losses as equations: pure functions on tensors, one value per comparison, never reduced and never
weighted.

Only `reduce.weighted_sum` multiplies losses by coefficients and sums them. The functions of
`weights` are no losses: they give constants to multiply into one.
"""

from rewarddiff.losses.likelihood import sft
from rewarddiff.losses.listwise import pro
from rewarddiff.losses.pairwise import (
    dpo,
    hinge,
    ipo,
    log_ratios,
    orpo,
    robust,
    sigmoid,
    simpo,
    slic,
)
from rewarddiff.losses.pointwise import anchored_nll, kl_estimate, kto
from rewarddiff.losses.reduce import weighted_sum
from rewarddiff.losses.scoring import bradley_terry, difference, duplication, general_gap, reverse
from rewarddiff.losses.strength import ml_rdpo, mmpo, odpo, rdpo, rpo
from rewarddiff.losses.weights import (
    dynamic_beta,
    gaussian_keep,
    uni_dpo_performance,
    uni_dpo_quality,
    wpo,
)

__all__ = [
    "anchored_nll",
    "bradley_terry",
    "difference",
    "dpo",
    "duplication",
    "dynamic_beta",
    "gaussian_keep",
    "general_gap",
    "hinge",
    "ipo",
    "kl_estimate",
    "kto",
    "log_ratios",
    "ml_rdpo",
    "mmpo",
    "odpo",
    "orpo",
    "pro",
    "rdpo",
    "reverse",
    "robust",
    "rpo",
    "sft",
    "sigmoid",
    "simpo",
    "slic",
    "uni_dpo_performance",
    "uni_dpo_quality",
    "weighted_sum",
    "wpo",
]
