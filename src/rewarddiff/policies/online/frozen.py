"""The reference of a policy in training: its base without adapters, or a copy of it as it started."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from typing import Any

from torch import Tensor

from rewarddiff.forward import LogProbs, switch_dropout_off
from rewarddiff.trees import Packed


class Frozen:
    """What a policy was when this was made.

    Args:
        policy: it is copied, unless it has adapters that can be switched off.
    """

    def __init__(self, policy: LogProbs) -> None:
        self._has_adapters = hasattr(policy.model, "disable_adapter")
        self._policy = policy
        if not self._has_adapters:
            self._policy = copy.deepcopy(policy).requires_grad_(False)
            switch_dropout_off(self._policy)

    def logps(self, packed: Packed, *, temperature: float = 1.0) -> Tensor:
        """Return log ρ of every response token, nats, (tokens,)."""
        self._policy.to(packed.input_ids.device)
        model: Any = self._policy.model
        adapter_off = model.disable_adapter() if self._has_adapters else nullcontext()
        with adapter_off:
            logps: Tensor = self._policy(packed, temperature=temperature)
        return logps
