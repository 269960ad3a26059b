"""torchrl is the referee of GAE."""

import pytest
import torch

from rewarddiff.policies.online.advantages import gae

functional = pytest.importorskip(
    "torchrl.objectives.value.functional", reason="torchrl is not installed"
)


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.75), (0.875, 0.5), (1.0, 1.0), (0.75, 0.0)])
def test_gae_is_that_of_torchrl(gamma: float, lam: float) -> None:
    # torchrl takes γ and λ to float32: these numbers are exact there.
    draw = torch.Generator().manual_seed(0)
    rewards, values = torch.randn(2, 7, 9, generator=draw, dtype=torch.float64)
    lengths = torch.randint(1, 10, (7, 1), generator=draw)
    mask = torch.arange(9) < lengths
    is_last = (torch.arange(9) == lengths - 1)[..., None]
    next_values = torch.cat([values[:, 1:], torch.zeros(7, 1, dtype=torch.float64)], dim=1)
    theirs = functional.generalized_advantage_estimate(
        gamma, lam, values[..., None], next_values[..., None], rewards[..., None], is_last, is_last
    )
    ours = gae(rewards, values, mask, gamma=gamma, lam=lam)
    for our_part, their_part in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our_part[mask], their_part[..., 0][mask])
