"""rewarddiff: align language models with how much one answer beats another.

The public face, loaded on first use (importing this package loads neither torch nor transformers):

    load_groups, split           read preference data of any supported format; split it by prompt
    train_scorer, load_scorer    learn strengths: a reward model or a difference model
    evaluate                     every figure of a scorer on labelled data
    weigh                        differences → one coefficient per comparison
    train_policy                 DPO, or another objective, with those coefficients
    run_recipe                   the whole pipeline, as `rewarddiff run`

Configs stand beside what they configure: `ScorerConfig(loss=Margin())`,
`PolicyConfig(objective=SimPO(beta=2.0))`, or by name, `PolicyConfig(objective="simpo")`. The
equations themselves are functions in `rewarddiff.losses`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rewarddiff import losses
    from rewarddiff.coefficients import CoefficientConfig
    from rewarddiff.coefficients import coefficients as weigh
    from rewarddiff.data import Groups, Ledger, load_groups, split
    from rewarddiff.encoding import LengthConfig
    from rewarddiff.errors import TrainingError, UserError
    from rewarddiff.loop.objective import TrainConfig
    from rewarddiff.pipeline.commands import evaluate, run_recipe, train_policy, train_scorer
    from rewarddiff.policies.objectives import (
        DPO,
        IPO,
        KTO,
        MLRDPO,
        MMPO,
        ODPO,
        ORPO,
        PRO,
        RDPO,
        RPO,
        RRHF,
        WPO,
        BetaDPO,
        Robust,
        SimPO,
        SLiC,
        UniDPO,
    )
    from rewarddiff.policies.policy import LoraConfig, PolicyConfig
    from rewarddiff.policies.sft import SFTConfig
    from rewarddiff.records import Comparison, Group, Message
    from rewarddiff.scorers.neural.build import load_scorer, save_scorer
    from rewarddiff.scorers.neural.config import OdinConfig, ScorerConfig
    from rewarddiff.scorers.neural.losses import (
        BatchMargin,
        BradleyTerry,
        Margin,
        Ordinal,
        Scaled,
        Soft,
        Ties,
    )

__version__ = "0.1.0"

_HOMES = {
    "BatchMargin": ("scorers.neural.losses", "BatchMargin"),
    "BetaDPO": ("policies.objectives", "BetaDPO"),
    "BradleyTerry": ("scorers.neural.losses", "BradleyTerry"),
    "CoefficientConfig": ("coefficients", "CoefficientConfig"),
    "Comparison": ("records", "Comparison"),
    "DPO": ("policies.objectives", "DPO"),
    "Group": ("records", "Group"),
    "Groups": ("data", "Groups"),
    "IPO": ("policies.objectives", "IPO"),
    "KTO": ("policies.objectives", "KTO"),
    "Ledger": ("data", "Ledger"),
    "LengthConfig": ("encoding", "LengthConfig"),
    "LoraConfig": ("policies.policy", "LoraConfig"),
    "MLRDPO": ("policies.objectives", "MLRDPO"),
    "MMPO": ("policies.objectives", "MMPO"),
    "Margin": ("scorers.neural.losses", "Margin"),
    "Message": ("records", "Message"),
    "ODPO": ("policies.objectives", "ODPO"),
    "ORPO": ("policies.objectives", "ORPO"),
    "OdinConfig": ("scorers.neural.config", "OdinConfig"),
    "Ordinal": ("scorers.neural.losses", "Ordinal"),
    "PRO": ("policies.objectives", "PRO"),
    "PolicyConfig": ("policies.policy", "PolicyConfig"),
    "RDPO": ("policies.objectives", "RDPO"),
    "RPO": ("policies.objectives", "RPO"),
    "RRHF": ("policies.objectives", "RRHF"),
    "Robust": ("policies.objectives", "Robust"),
    "SFTConfig": ("policies.sft", "SFTConfig"),
    "SLiC": ("policies.objectives", "SLiC"),
    "Scaled": ("scorers.neural.losses", "Scaled"),
    "ScorerConfig": ("scorers.neural.config", "ScorerConfig"),
    "SimPO": ("policies.objectives", "SimPO"),
    "Soft": ("scorers.neural.losses", "Soft"),
    "Ties": ("scorers.neural.losses", "Ties"),
    "TrainConfig": ("loop.objective", "TrainConfig"),
    "TrainingError": ("errors", "TrainingError"),
    "UniDPO": ("policies.objectives", "UniDPO"),
    "UserError": ("errors", "UserError"),
    "WPO": ("policies.objectives", "WPO"),
    "evaluate": ("pipeline.commands", "evaluate"),
    "load_groups": ("data", "load_groups"),
    "load_scorer": ("scorers.neural.build", "load_scorer"),
    "run_recipe": ("pipeline.commands", "run_recipe"),
    "save_scorer": ("scorers.neural.build", "save_scorer"),
    "split": ("data", "split"),
    "train_policy": ("pipeline.commands", "train_policy"),
    "train_scorer": ("pipeline.commands", "train_scorer"),
    "weigh": ("coefficients", "coefficients"),
}
"""Where each name lives: its module, and what it is called there."""

__all__ = [
    "DPO",
    "IPO",
    "KTO",
    "MLRDPO",
    "MMPO",
    "ODPO",
    "ORPO",
    "PRO",
    "RDPO",
    "RPO",
    "RRHF",
    "WPO",
    "BatchMargin",
    "BetaDPO",
    "BradleyTerry",
    "CoefficientConfig",
    "Comparison",
    "Group",
    "Groups",
    "Ledger",
    "LengthConfig",
    "LoraConfig",
    "Margin",
    "Message",
    "OdinConfig",
    "Ordinal",
    "PolicyConfig",
    "Robust",
    "SFTConfig",
    "SLiC",
    "Scaled",
    "ScorerConfig",
    "SimPO",
    "Soft",
    "Ties",
    "TrainConfig",
    "TrainingError",
    "UniDPO",
    "UserError",
    "evaluate",
    "load_groups",
    "load_scorer",
    "losses",
    "run_recipe",
    "save_scorer",
    "split",
    "train_policy",
    "train_scorer",
    "weigh",
]


def __getattr__(name: str) -> Any:
    if name == "losses":
        return importlib.import_module("rewarddiff.losses")
    if name not in _HOMES:
        raise AttributeError(f"module 'rewarddiff' has no attribute '{name}'")
    module, attribute = _HOMES[name]
    value = getattr(importlib.import_module(f"rewarddiff.{module}"), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
