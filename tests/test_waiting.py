"""A forward pass launches its work on a device and asks for no number: nothing is waited for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from preference_examples import made
from test_forward import DEPTH_FIRST, make
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from rewarddiff.forward import LogProbs, Trunk, node_sums, switch_dropout_off
from rewarddiff.policies.alignment import AlignmentConfig
from rewarddiff.policies.objectives.lists import RRHF
from rewarddiff.policies.objectives.pairs import DPO, SimPO

ASKS = (
    Tensor.item,
    Tensor.tolist,
    Tensor.numpy,
    Tensor.cpu,
    Tensor.__bool__,
    Tensor.__int__,
    Tensor.__float__,
    Tensor.__index__,
)
"""What brings a number to the host."""

OPERATORS = ("_local_scalar_dense", "nonzero", "masked_select")
"""What does so inside of torch; an index of booleans is a `nonzero`."""


class Functions(TorchFunctionMode):
    def __init__(self, asked: list[str]) -> None:
        super().__init__()
        self.asked = asked

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function in ASKS:
            self.asked.append(function.__name__)
        return function(*args, **(kwargs or {}))


class Operators(TorchDispatchMode):
    def __init__(self, asked: list[str]) -> None:
        super().__init__()
        self.asked = asked

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = function.overloadpacket.__name__
        if name in OPERATORS:
            self.asked.append(name)
        if name == "index":
            self.asked += [
                name for index in args[1] if index is not None and index.dtype == torch.bool
            ]
        return function(*args, **(kwargs or {}))


def asked_by(function: Any) -> list[str]:
    asked: list[str] = []
    with Functions(asked), Operators(asked):
        function()
    return asked


def test_what_is_looked_for_is_found() -> None:
    values = torch.tensor([1.0, -1.0])
    assert asked_by(lambda: values.sum().item())
    assert asked_by(lambda: bool((values > 0).any()))
    assert asked_by(lambda: values[values > 0])
    assert asked_by(lambda: values.tolist())
    assert asked_by(lambda: int(values[0]))
    assert not asked_by(lambda: values[torch.tensor([1])].sum())


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2"])
@pytest.mark.parametrize("collision", [False, True])
def test_log_probabilities_of_trees_wait_for_nothing(name: str, collision: bool) -> None:
    policy = LogProbs(make(name))
    switch_dropout_off(policy.model)

    def run() -> None:
        packed = policy.pack(DEPTH_FIRST)
        node_sums(packed, policy(packed, collision=collision))

    assert asked_by(run) == []


def test_states_of_trees_wait_for_nothing() -> None:
    model = make("mistral")
    trunk = Trunk(model.model)
    switch_dropout_off(model)
    assert asked_by(lambda: trunk(trunk.pack(DEPTH_FIRST))) == []


@pytest.mark.parametrize("objective", [DPO(), SimPO(), RRHF()])
def test_a_loss_waits_for_its_coefficients_and_once_for_all_metrics(
    objective: AlignmentConfig,
) -> None:
    policy = LogProbs(make("llama"))
    switch_dropout_off(policy.model)
    items = [replace(item, reference=(-1.0,) * len(item.tree.leaves())) for item in made(4)]
    aligned = objective.over(policy)
    asked = asked_by(lambda: aligned.loss(policy, items))
    assert asked == ["__bool__", "_local_scalar_dense", "tolist"]
