"""Reward training in TRL with coefficients, against TRL itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from datasets import Dataset
from trl import RewardTrainer
from trl_examples import COEFFICIENTS, Make, logged, rows, weights

from rewarddiff.errors import UserError
from rewarddiff.integrations.trl import WeightedRewardTrainer


def with_margins(data: list[dict[str, Any]]) -> list[dict[str, Any]]:
    margins = (0.0, 0.5, 1.0, 2.0)
    return [{**row, "margin": margin} for row, margin in zip(data, margins, strict=True)]


@pytest.mark.parametrize("center", [None, 0.1])
def test_coefficients_of_one_are_trl_to_the_bit(reward: Make, center: float | None) -> None:
    settings = {
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "center_rewards_coefficient": center,
        "eval_strategy": "steps",
        "eval_steps": 1,
    }
    data = with_margins(rows((1.0,) * 4))
    weighted = reward(WeightedRewardTrainer, data, eval_dataset=Dataset.from_list(data), **settings)
    bare = with_margins(rows(None))
    plain = reward(RewardTrainer, bare, eval_dataset=Dataset.from_list(bare), **settings)
    weighted.train()
    plain.train()
    theirs = weights(plain)
    for name, value in weights(weighted).items():
        assert torch.equal(value, theirs[name]), name
    for key in ("loss", "eval_loss", "accuracy", "margin"):
        assert len(logged(plain, key)) == 3
        assert logged(weighted, key) == logged(plain, key)
    assert logged(weighted, "coefficient/mean") == [1.0] * 3


def loss_and_gradient(trainer: Any) -> tuple[float, torch.Tensor]:
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    return loss.item(), torch.cat([p.grad.flatten() for p in trainer.model.parameters()])


def test_a_loss_is_the_sum_of_weighted_losses_over_the_count(reward: Make) -> None:
    """Against TRL's own loss of each pair alone: Σᵢ cᵢ·lᵢ / n, in float64."""
    value, gradient = loss_and_gradient(reward(WeightedRewardTrainer, with_margins(rows())))
    expected_value = 0.0
    expected_gradient = torch.zeros_like(gradient)
    for row, coefficient in zip(with_margins(rows(None)), COEFFICIENTS, strict=True):
        alone, gradient_alone = loss_and_gradient(reward(RewardTrainer, [row]))
        expected_value += coefficient * alone / 4
        expected_gradient += coefficient * gradient_alone / 4
    assert value == pytest.approx(expected_value, rel=1e-6)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-6, atol=1e-6)
    assert gradient.abs().max() > 0.01


def test_a_pair_of_coefficient_0_teaches_nothing(reward: Make) -> None:
    data = rows((0.0, 1.0, 0.0, 1.0))
    for row in data[::2]:
        row["chosen"] += " changed"
    with_changes = loss_and_gradient(reward(WeightedRewardTrainer, data))
    without = loss_and_gradient(reward(WeightedRewardTrainer, rows((0.0, 1.0, 0.0, 1.0))))
    assert with_changes[0] == pytest.approx(without[0], rel=1e-6)
    torch.testing.assert_close(with_changes[1], without[1], rtol=1e-6, atol=1e-8)


def test_data_without_the_column_is_refused(reward: Make) -> None:
    with pytest.raises(UserError, match="train_dataset: no column coefficient"):
        reward(WeightedRewardTrainer, rows(None))
