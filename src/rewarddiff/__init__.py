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
    from rewarddiff.pipeline.commands import evaluate, run_recipe, train_policy, train_scorer
    from rewarddiff.records import Comparison, Group, Message
    from rewarddiff.scorers.build import load_scorer, save_scorer
    from rewarddiff.scorers.config import OdinConfig, ScorerConfig
    from rewarddiff.scorers.losses import (
        BatchMargin,
        BradleyTerry,
        Margin,
        Ordinal,
        Scaled,
        Soft,
        Ties,
    )
    from rewarddiff.training.objective import TrainConfig
    from rewarddiff.training.objectives import (
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
    from rewarddiff.training.policy import LoraConfig, PolicyConfig
    from rewarddiff.training.sft import SFTConfig

__version__ = "0.1.0"

_HOMES = {
    "BatchMargin": ("scorers.losses", "BatchMargin"),
    "BetaDPO": ("training.objectives", "BetaDPO"),
    "BradleyTerry": ("scorers.losses", "BradleyTerry"),
    "CoefficientConfig": ("coefficients", "CoefficientConfig"),
    "Comparison": ("records", "Comparison"),
    "DPO": ("training.objectives", "DPO"),
    "Group": ("records", "Group"),
    "Groups": ("data", "Groups"),
    "IPO": ("training.objectives", "IPO"),
    "KTO": ("training.objectives", "KTO"),
    "Ledger": ("data", "Ledger"),
    "LengthConfig": ("encoding", "LengthConfig"),
    "LoraConfig": ("training.policy", "LoraConfig"),
    "MLRDPO": ("training.objectives", "MLRDPO"),
    "MMPO": ("training.objectives", "MMPO"),
    "Margin": ("scorers.losses", "Margin"),
    "Message": ("records", "Message"),
    "ODPO": ("training.objectives", "ODPO"),
    "ORPO": ("training.objectives", "ORPO"),
    "OdinConfig": ("scorers.config", "OdinConfig"),
    "Ordinal": ("scorers.losses", "Ordinal"),
    "PRO": ("training.objectives", "PRO"),
    "PolicyConfig": ("training.policy", "PolicyConfig"),
    "RDPO": ("training.objectives", "RDPO"),
    "RPO": ("training.objectives", "RPO"),
    "RRHF": ("training.objectives", "RRHF"),
    "Robust": ("training.objectives", "Robust"),
    "SFTConfig": ("training.sft", "SFTConfig"),
    "SLiC": ("training.objectives", "SLiC"),
    "Scaled": ("scorers.losses", "Scaled"),
    "ScorerConfig": ("scorers.config", "ScorerConfig"),
    "SimPO": ("training.objectives", "SimPO"),
    "Soft": ("scorers.losses", "Soft"),
    "Ties": ("scorers.losses", "Ties"),
    "TrainConfig": ("training.objective", "TrainConfig"),
    "TrainingError": ("errors", "TrainingError"),
    "UniDPO": ("training.objectives", "UniDPO"),
    "UserError": ("errors", "UserError"),
    "WPO": ("training.objectives", "WPO"),
    "evaluate": ("pipeline.commands", "evaluate"),
    "load_groups": ("data", "load_groups"),
    "load_scorer": ("scorers.build", "load_scorer"),
    "run_recipe": ("pipeline.commands", "run_recipe"),
    "save_scorer": ("scorers.build", "save_scorer"),
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
