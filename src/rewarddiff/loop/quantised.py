"""bitsandbytes' AdamW: moments in 8 bits, and moments that leave the GPU where its memory is short.

Of a moment, blocks of 256 numbers have a scale of their own, and each number the nearest of 256 on a curved scale.

Source: Dettmers et al. 2022, arXiv 2110.02861; paging Dettmers et al. 2023, arXiv 2305.14314, section 3. Its release
0.50.2 was read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from rewarddiff.loop.rounding import generator, stochastically


def quantised_adamw(
    groups: list[dict[str, Any]],
    *,
    lr: float,
    weight_decay: float = 0.0,
    eight_bits: bool,
    paged: bool = False,
    in_full: Sequence[Tensor] = (),
    seed: int = 0,
) -> Optimizer:
    """Return bitsandbytes' AdamW.

    Args:
        eight_bits: quantise moments; those of weights below 4096 numbers stay in float32.
        in_full: weights whose moments stay in float32 as well.
        seed: decides how weights in bfloat16 are rounded.
    """
    bits = 8 if eight_bits else 32
    optimizer: Optimizer = _kind()(
        groups, lr=lr, weight_decay=weight_decay, optim_bits=bits, is_paged=paged
    )
    settings: Any = optimizer
    settings.in_full = {id(weight) for weight in in_full}
    settings.seed = seed
    return optimizer


@cache
def _kind() -> Any:
    """Return the class; bitsandbytes is imported where it is asked for."""
    from bitsandbytes.optim import AdamW

    base: Any = AdamW

    class QuantisedAdamW(base):  # type: ignore[misc]
        """bitsandbytes' AdamW with this project's rounding and paging.

        Attributes:
            in_full: ids of weights whose moments are not quantised. bitsandbytes' own list of such
                weights is one for the whole process, and would reach into later trainings.
            seed: decides how weights in bfloat16 are rounded.
        """

        in_full: set[int]
        seed: int

        def get_config(self, gindex: int, pindex: int, group: dict[str, Any]) -> dict[str, Any]:
            config: dict[str, Any] = super().get_config(gindex, pindex, group)
            if id(group["params"][pindex]) in self.in_full:
                config["optim_bits"] = 32
            return config

        def update_step(
            self, group: dict[str, Any], p: nn.Parameter, gindex: int, pindex: int
        ) -> None:
            if p.dtype != torch.bfloat16:
                super().update_step(group, p, gindex, pindex)
                return
            draw = generator(p.device, self.seed, gindex, pindex, self.state[p]["step"])
            with _in_float32(p, draw):
                super().update_step(group, p, gindex, pindex)

        def load_state_dict(self, state_dict: dict[str, Any], move_to_device: bool = True) -> None:
            """Load a state; paged moments are paged again, and never all on the GPU."""
            super().load_state_dict(state_dict, move_to_device and not self.is_paged)
            if not self.is_paged:
                return
            for weight, state in self.state.items():
                for name in ("state1", "state2"):
                    paged = self.get_state_buffer(weight, dtype=state[name].dtype)
                    paged.copy_(state[name])
                    state[name] = paged

    return QuantisedAdamW


@contextmanager
def _in_float32(weight: nn.Parameter, draw: torch.Generator) -> Iterator[None]:
    """Make a weight and its gradient float32, and round the weight by chance afterwards."""
    held = weight.data
    gradient = weight.grad
    assert gradient is not None
    weight.grad = None  # which has to be of the weight's type
    weight.data = held.float()
    weight.grad = gradient.float()
    try:
        yield
        held.copy_(stochastically(weight.data, draw))
    finally:
        weight.grad = None
        weight.data = held
        weight.grad = gradient
