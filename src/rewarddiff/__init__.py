"""rewarddiff: align language models with how much one answer beats another.

The public face, loaded on first use (importing this package loads neither torch nor transformers):

    load_groups, split           read preference data of any supported format; split it by prompt
    train_scorer, load_scorer    learn strengths: a reward model or a difference model
    evaluate                     every figure of a scorer on labelled data
    weigh                        differences → one coefficient per comparison
    score, weigh_dataset         files of any size: rows with scores, pairs with coefficients
    train_policy                 DPO, or another objective, with those coefficients
    train_online                 PPO and its relatives, or pairs, on the policy's own samples
    run_recipe                   the whole pipeline, as `rewarddiff run`

Configs stand beside what they configure: `ScorerConfig(loss=Margin())`,
`PolicyConfig(objective=SimPO(beta=2.0))`, or by name, `PolicyConfig(objective="simpo")`. The
equations themselves are functions in `rewarddiff.losses`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rewarddiff.policies.names import OBJECTIVES
from rewarddiff.version import __version__ as __version__

if TYPE_CHECKING:
    from rewarddiff import losses
    from rewarddiff.coefficients import CoefficientConfig, weigh
    from rewarddiff.data import Groups, Ledger, load_groups, split
    from rewarddiff.differences import Differences
    from rewarddiff.encoding import LengthConfig
    from rewarddiff.errors import TrainingError, UserError
    from rewarddiff.loop.objective import TrainConfig
    from rewarddiff.pipeline.commands import evaluate, run_recipe, train_policy, train_scorer
    from rewarddiff.pipeline.online import train_online
    from rewarddiff.pipeline.scoring import WeighConfig, score, weigh_dataset
    from rewarddiff.policies.objectives.lists import KTO, PRO, RRHF
    from rewarddiff.policies.objectives.pairs import (
        DPO,
        IPO,
        ORPO,
        WPO,
        BetaDPO,
        Robust,
        SimPO,
        SLiC,
    )
    from rewarddiff.policies.objectives.sft import SFTConfig
    from rewarddiff.policies.objectives.strength import MLRDPO, MMPO, ODPO, RDPO, RPO, UniDPO
    from rewarddiff.policies.online.config import OnlineConfig, StoredConfig
    from rewarddiff.policies.online.estimators import AdvantageConfig
    from rewarddiff.policies.online.group_rewards import RewardConfig, RewardFunctions
    from rewarddiff.policies.online.kl import KLConfig
    from rewarddiff.policies.online.semi_config import SemiOnlineConfig
    from rewarddiff.policies.policy import LoraConfig, PolicyConfig
    from rewarddiff.records import Comparison, Group, Message
    from rewarddiff.rewards import ScaleConfig
    from rewarddiff.scorers.neural.build import load_scorer, save_scorer
    from rewarddiff.scorers.neural.config import General, Last, OdinConfig, ScorerConfig, Segments
    from rewarddiff.scorers.neural.losses import (
        BatchMargin,
        BradleyTerry,
        Margin,
        Ordinal,
        Scaled,
        Soft,
        Ties,
    )

_HOMES: dict[str, tuple[str, ...]] = {
    "coefficients": ("CoefficientConfig", "weigh"),
    "data": ("Groups", "Ledger", "load_groups", "split"),
    "differences": ("Differences",),
    "encoding": ("LengthConfig",),
    "errors": ("TrainingError", "UserError"),
    "loop.objective": ("TrainConfig",),
    "pipeline.commands": ("evaluate", "run_recipe", "train_policy", "train_scorer"),
    "pipeline.online": ("train_online",),
    "pipeline.scoring": ("WeighConfig", "score", "weigh_dataset"),
    "policies.online.config": ("OnlineConfig", "StoredConfig"),
    "policies.online.estimators": ("AdvantageConfig",),
    "policies.online.group_rewards": ("RewardConfig", "RewardFunctions"),
    "policies.online.kl": ("KLConfig",),
    "policies.online.semi_config": ("SemiOnlineConfig",),
    "policies.policy": ("LoraConfig", "PolicyConfig"),
    "records": ("Comparison", "Group", "Message"),
    "rewards": ("ScaleConfig",),
    "scorers.neural.build": ("load_scorer", "save_scorer"),
    "scorers.neural.config": ("General", "Last", "OdinConfig", "ScorerConfig", "Segments"),
    "scorers.neural.losses": (
        "BatchMargin", "BradleyTerry", "Margin", "Ordinal", "Scaled", "Soft", "Ties",
    ),
}  # fmt: skip
"""Modules, and the names that live there."""

for _entry in OBJECTIVES.values():
    _module = f"policies.objectives.{_entry.module}"
    _HOMES[_module] = (*_HOMES.get(_module, ()), _entry.config)

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
    "AdvantageConfig",
    "BatchMargin",
    "BetaDPO",
    "BradleyTerry",
    "CoefficientConfig",
    "Comparison",
    "Differences",
    "General",
    "Group",
    "Groups",
    "KLConfig",
    "Last",
    "Ledger",
    "LengthConfig",
    "LoraConfig",
    "Margin",
    "Message",
    "OdinConfig",
    "OnlineConfig",
    "Ordinal",
    "PolicyConfig",
    "RewardConfig",
    "RewardFunctions",
    "Robust",
    "SFTConfig",
    "SLiC",
    "ScaleConfig",
    "Scaled",
    "ScorerConfig",
    "Segments",
    "SemiOnlineConfig",
    "SimPO",
    "Soft",
    "StoredConfig",
    "Ties",
    "TrainConfig",
    "TrainingError",
    "UniDPO",
    "UserError",
    "WeighConfig",
    "evaluate",
    "load_groups",
    "load_scorer",
    "losses",
    "run_recipe",
    "save_scorer",
    "score",
    "split",
    "train_online",
    "train_policy",
    "train_scorer",
    "weigh",
    "weigh_dataset",
]


def __getattr__(name: str) -> Any:
    if name == "losses":
        return importlib.import_module("rewarddiff.losses")
    for module, names in _HOMES.items():
        if name in names:
            value = getattr(importlib.import_module(f"rewarddiff.{module}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'rewarddiff' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
