"""One module for each way to ask: its request, the work in it, and its answer.

own       /score and /compare
openrlhf  /get_reward
vllm      /classify
slime     /reward
"""

from __future__ import annotations

from rewarddiff.serve.protocols.base import Protocol
from rewarddiff.serve.protocols.compare import Compare
from rewarddiff.serve.protocols.openrlhf import OpenRLHF
from rewarddiff.serve.protocols.score import Score
from rewarddiff.serve.protocols.slime import Slime
from rewarddiff.serve.protocols.vllm import VLLM

PROTOCOLS: tuple[type[Protocol], ...] = (Score, Compare, OpenRLHF, VLLM, Slime)

__all__ = ["PROTOCOLS", "Protocol"]
