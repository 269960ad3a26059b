"""Policy objectives: small frozen configs, each with its own loss; a recipe names one of them."""

from rewarddiff.policies.objectives.batch import Batch, Context, Terms
from rewarddiff.policies.objectives.lists import KTO, PRO, RRHF
from rewarddiff.policies.objectives.pairs import DPO, IPO, ORPO, WPO, BetaDPO, Robust, SimPO, SLiC
from rewarddiff.policies.objectives.strength import MLRDPO, MMPO, ODPO, RDPO, RPO, UniDPO

PairObjective = (
    DPO
    | Robust
    | IPO
    | SimPO
    | ORPO
    | SLiC
    | WPO
    | BetaDPO
    | ODPO
    | RPO
    | MMPO
    | RDPO
    | MLRDPO
    | UniDPO
)
PolicyObjective = PairObjective | RRHF | PRO | KTO

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
    "Batch",
    "BetaDPO",
    "Context",
    "PairObjective",
    "PolicyObjective",
    "Robust",
    "SLiC",
    "SimPO",
    "Terms",
    "UniDPO",
]
