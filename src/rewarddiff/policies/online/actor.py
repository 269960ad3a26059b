"""The policy in training, with a value head on the same reading of the trees."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from rewarddiff import files
from rewarddiff.errors import UserError
from rewarddiff.forward import LogProbs
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.trees import Packed

VALUE_HEAD = "value_head.safetensors"
"""A value head beside its policy."""


class Reading(NamedTuple):
    """What one forward pass says of every response token.

    Attributes:
        logps: log π, nats, (tokens,).
        values: V before the token is drawn, in the unit of the rewards, (tokens,); None where there
            is no value head.
    """

    logps: Tensor
    values: Tensor | None


class Actor(nn.Module):
    """A policy, and a linear value head on the states that predict its tokens.

    The head starts at 0: before anything is learned, all values are 0.

    Args:
        temperature: what logits are divided by.
        with_values: have a value head.
        value_head: a file of one that it starts as; None: it starts at 0.

    Raises:
        UserError: a value head on a model whose states are not known to give its logits, or a file
            that holds none for this model.
    """

    def __init__(
        self,
        policy: LogProbs,
        *,
        temperature: float = 1.0,
        with_values: bool = False,
        value_head: Path | None = None,
    ) -> None:
        super().__init__()
        self.policy = policy
        self.temperature = temperature
        self.value_head: nn.Linear | None = None
        if not with_values:
            return
        inner = policy.trunk.inner
        if not policy.knows_head:
            raise UserError(
                f"estimator gae: {type(inner).__name__} makes its logits in a way not known here, so "
                "no value head can be put beside them; use reinforce, rloo or grpo"
            )
        dtype = torch.promote_types(inner.dtype, torch.float32)
        size = inner.config.get_text_config().hidden_size
        head = nn.Linear(size, 1, dtype=dtype, device=inner.device)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        if value_head is not None:
            load_value_head(head, value_head)
        self.value_head = head

    def forward(self, packed: Packed) -> Reading:
        if self.value_head is None:
            return Reading(self.policy(packed, temperature=self.temperature), None)
        states = self.policy.states(packed)
        logps = self.policy.of_states(states, packed, temperature=self.temperature)
        with torch.autocast(states.device.type, enabled=False):
            values = self.value_head(states.to(self.value_head.weight.dtype))[:, 0]
        return Reading(logps, values)

    def parameter_groups(self, config: TrainConfig) -> list[dict[str, Any]]:
        """Return the body's parameters for AdamW, and the head's with a rate of their own."""
        body = [p for p in self.policy.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [{"params": body, "lr": config.lr}]
        if self.value_head is not None:
            head_lr = config.lr if config.head_lr is None else config.head_lr
            groups.append({"params": list(self.value_head.parameters()), "lr": head_lr})
        return groups


def save_value_head(head: nn.Linear, path: Path) -> None:
    """Write a value head to a file, whole or not at all."""
    weights = {name: tensor.detach().cpu() for name, tensor in head.state_dict().items()}
    files.write_bytes(path, save(weights))


def load_value_head(head: nn.Linear, path: Path) -> None:
    """Make a value head what a file says.

    Raises:
        UserError: there is no such file, or it holds no value head of this size.
    """
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"value_head: {path} cannot be read ({error}); name a file that save_value_head wrote"
        ) from error
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    expected = {name: tuple(tensor.shape) for name, tensor in head.state_dict().items()}
    if shapes != expected:
        raise UserError(
            f"value_head: {path} holds {shapes}, and this model's head is {expected}; name the "
            "head of a model of this size, or leave it out"
        )
    head.load_state_dict(weights)
