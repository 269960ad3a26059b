"""Advantages: by hand on three tokens, identities, and faults that are known of other trainers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rewarddiff.policies.online.advantages import (
    gae,
    grpo,
    reinforce,
    rloo,
    standardised,
    token_rewards,
    whiten,
)

DOUBLE = torch.float64


def row(*values: float) -> Tensor:
    return torch.tensor([values], dtype=DOUBLE)


def ragged(seed: int = 0, responses: int = 5, tokens: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    """Rewards and values with garbage in masked places, and a mask with holes."""
    draw = torch.Generator().manual_seed(seed)
    rewards, values = torch.randn(2, responses, tokens, generator=draw, dtype=DOUBLE)
    mask = torch.rand(responses, tokens, generator=draw) > 0.3
    mask[:, 0] = True
    return rewards.masked_fill(~mask, 1e6), values.masked_fill(~mask, -1e6), mask


# Rewards of tokens.


def test_token_rewards_by_hand() -> None:
    # β = ½: −½·k_t at each of the two tokens, and the score 10 at the second.
    rewards = token_rewards(
        torch.tensor([10.0]),
        torch.tensor([[True, True, False]]),
        kl=torch.tensor([[1.0, -4.0, 100.0]]),
        kl_coef=0.5,
    )
    assert rewards.tolist() == [[-0.5, 12.0, 0.0]]


def test_the_score_stands_on_the_last_token_and_not_on_the_pad_behind_it() -> None:
    # A known fault: the score on the slot after the end, where no token learns from it. The mask
    # says what a token is, so it is no matter that the pad may be the end token. The third response
    # has what a tool wrote in its middle, the last one was left out.
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]], dtype=torch.bool)
    rewards = token_rewards(torch.tensor([1.0, 2.0, 3.0, math.nan]), mask)
    assert rewards.tolist() == [[0, 0, 0, 1], [0, 2, 0, 0], [0, 0, 3, 0], [0, 0, 0, 0]]


def test_rewards_of_tokens_add_up_to_the_score_less_the_kl() -> None:
    kl, _, mask = ragged()
    scores = torch.arange(5, dtype=DOUBLE)
    totals = token_rewards(scores, mask, kl=kl, kl_coef=0.3).sum(-1)
    torch.testing.assert_close(totals, scores - 0.3 * torch.where(mask, kl, 0.0).sum(-1))


# GAE.

REWARDS, VALUES = row(1, 0, 4), row(2, 3, 5)
THREE = torch.tensor([[True, True, True]])


def test_gae_by_hand_on_three_tokens() -> None:
    # γ = ½: δ_2 = 4 − 5 = −1, δ_1 = 0 + 2.5 − 3 = −0.5, δ_0 = 1 + 1.5 − 2 = 0.5. γλ = ¼:
    # A_2 = −1, A_1 = −0.5 − 0.25 = −0.75, A_0 = 0.5 − 0.1875 = 0.3125. Returns add V.
    advantages, returns = gae(REWARDS, VALUES, THREE, gamma=0.5, lam=0.5)
    assert advantages.tolist() == [[0.3125, -0.75, -1.0]]
    assert returns.tolist() == [[2.3125, 2.25, 4.0]]


def test_lambda_0_is_the_td_error() -> None:
    advantages, _ = gae(REWARDS, VALUES, THREE, gamma=1.0, lam=0.0)
    # 1 + 3 − 2, 0 + 5 − 3, 4 − 5
    assert advantages.tolist() == [[2.0, 2.0, -1.0]]


def test_lambda_1_is_the_reward_to_go_less_v() -> None:
    advantages, returns = gae(REWARDS, VALUES, THREE, gamma=1.0, lam=1.0)
    assert returns.tolist() == [[5.0, 4.0, 4.0]]
    assert advantages.tolist() == [[3.0, 1.0, -1.0]]


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (0.99, 0.0), (0.7, 1.0)])
def test_gae_is_the_weighted_sum_of_td_errors(gamma: float, lam: float) -> None:
    # A_t = Σ_l (γλ)^l δ_{t+l} (Eq. 16), on each response's own tokens pushed together: what is
    # masked, also in the middle, is not there.
    rewards, values, mask = ragged()
    advantages, returns = gae(rewards, values, mask, gamma=gamma, lam=lam)
    for i in range(len(mask)):
        r, v = rewards[i, mask[i]], values[i, mask[i]]
        td_errors = r + gamma * torch.cat([v[1:], torch.zeros(1, dtype=DOUBLE)]) - v
        steps = torch.arange(len(v))
        ahead = steps.unsqueeze(0) - steps.unsqueeze(1)
        weights = torch.where(ahead >= 0, (gamma * lam) ** ahead.clamp(min=0).double(), 0.0)
        expected = weights @ td_errors
        torch.testing.assert_close(advantages[i, mask[i]], expected)
        torch.testing.assert_close(returns[i, mask[i]], expected + v)
    assert bool((advantages[~mask] == 0).all() and (returns[~mask] == 0).all())


def test_a_value_head_that_is_right_leaves_no_advantage() -> None:
    # V_t = Σ of γ^l r_{t+l}: every TD error is 0, for any λ.
    rewards, _, mask = ragged()
    values = gae(rewards, torch.zeros_like(rewards), mask, gamma=0.9, lam=1.0)[1]
    advantages, _ = gae(rewards, values, mask, gamma=0.9, lam=0.4)
    torch.testing.assert_close(advantages, torch.zeros_like(advantages))


def test_responses_do_not_meet() -> None:
    rewards, values, mask = ragged()
    together = gae(rewards, values, mask)[0]
    for i in range(len(mask)):
        alone = gae(rewards[i : i + 1], values[i : i + 1], mask[i : i + 1])[0]
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=0)


def test_gae_refuses_what_is_not_finite_on_a_token_only() -> None:
    assert gae(row(1, math.nan), row(0, math.inf), torch.tensor([[True, False]]))[0].tolist() == [
        [1.0, 0.0]
    ]
    with pytest.raises(ValueError, match="finite where mask is true"):
        gae(row(math.nan), row(0), torch.tensor([[True]]))
    with pytest.raises(ValueError, match="boolean"):
        gae(row(1), row(0), torch.tensor([[1]]))
    with pytest.raises(ValueError, match="lam must"):
        gae(row(1), row(0), torch.tensor([[True]]), lam=1.5)


def test_no_gradient_goes_through_an_advantage() -> None:
    values = row(0, 1).requires_grad_()
    advantages, returns = gae(row(0, 1), values, torch.tensor([[True, True]]))
    assert not advantages.requires_grad
    assert not returns.requires_grad


# Advantages of groups.

GROUPS = torch.tensor([[1.0, 2.0, 6.0], [0.0, 0.0, 0.0]], dtype=DOUBLE)


def test_group_estimators_by_hand() -> None:
    # Means of the others: 4, 3.5, 1.5; of the group 3; of the batch 1.5. Std with n − 1: √7.
    assert rloo(GROUPS).tolist() == [[-3.0, -1.5, 4.5], [0, 0, 0]]
    assert reinforce(GROUPS).tolist() == [[-0.5, 0.5, 4.5], [-1.5, -1.5, -1.5]]
    assert grpo(GROUPS, scale_rewards="none").tolist() == [[-2, -1, 3], [0, 0, 0]]
    scaled = grpo(GROUPS)[0].tolist()
    assert scaled == pytest.approx([a / (math.sqrt(7) + 1e-4) for a in (-2, -1, 3)])


def test_grpo_over_the_batch_by_hand() -> None:
    # 1, 2, 6, 0, 0, 0: mean 1.5, squares 41 − 6·2.25 = 27.5, over 5: 5.5.
    scaled = grpo(GROUPS, scale_rewards="batch")[0].tolist()
    assert scaled == pytest.approx([a / (math.sqrt(5.5) + 1e-4) for a in (-2, -1, 3)])


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=8))
def test_rloo_is_grpo_without_scale_times_n_over_n_minus_1(rewards: list[float]) -> None:
    # r_i − (Σ − r_i)/(n − 1) = n/(n − 1)·(r_i − Σ/n)
    group, n = row(*rewards), len(rewards)
    torch.testing.assert_close(rloo(group), grpo(group, scale_rewards="none") * n / (n - 1))


@pytest.mark.parametrize("estimator", [rloo, grpo, reinforce])
def test_a_response_without_a_reward_moves_nothing(estimator) -> None:  # type: ignore[no-untyped-def]
    # The others get what they would get without it, and it gets 0: not what a reward of 0 gets.
    with_hole = estimator(row(1.0, math.nan, 5.0, math.inf, 9.0))
    without = estimator(row(1.0, 5.0, 9.0))
    assert with_hole[0, [1, 3]].tolist() == [0, 0]
    torch.testing.assert_close(with_hole[:, [0, 2, 4]], without)


@pytest.mark.parametrize("estimator", [rloo, grpo])
def test_groups_that_teach_nothing(estimator) -> None:  # type: ignore[no-untyped-def]
    for group in (row(3.0), row(math.nan, math.nan), row(2.0, math.nan), row(4.0, 4.0, 4.0)):
        assert bool((estimator(group) == 0).all())


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=8))
def test_advantages_of_a_group_add_up_to_nothing(rewards: list[float]) -> None:
    for advantages in (rloo(row(*rewards)), grpo(row(*rewards)), reinforce(row(*rewards))):
        assert advantages.sum().item() == pytest.approx(0, abs=1e-8)


def test_rloo_is_unbiased_and_a_baseline_with_oneself_in_it_shrinks() -> None:
    # A policy of one logit, π(1) = p, r = the token. ∇ E[r] = p(1 − p). All pairs of draws:
    # RLOO's mean gradient is that, GRPO's without scale (n − 1)/n of it.
    p = 0.3
    chances, scores = (1 - p, p), (-p, 1 - p)  # of 0 and 1: π, and ∇ log π
    means = {"rloo": 0.0, "grpo": 0.0}
    for a in (0, 1):
        for b in (0, 1):
            group = row(float(a), float(b))
            grad_logps = row(scores[a], scores[b])
            weight = chances[a] * chances[b]
            means["rloo"] += weight * (rloo(group) * grad_logps).mean().item()
            unscaled = grpo(group, scale_rewards="none")
            means["grpo"] += weight * (unscaled * grad_logps).mean().item()
    assert means["rloo"] == pytest.approx(p * (1 - p))
    assert means["grpo"] == pytest.approx(p * (1 - p) / 2)


# Whitening.


def test_whitening_removes_the_mean() -> None:
    # A known fault is a whitening that adds the mean where it should be removed.
    values = torch.tensor([[100.0, 104.0, 9e9], [102.0, 9e9, 9e9]], dtype=DOUBLE)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    whitened = whiten(values, mask)
    # 100, 104, 102: mean 102, variance (4 + 4)/2 = 4: −1, 1, 0.
    torch.testing.assert_close(
        whitened, torch.tensor([[-1.0, 1.0, 0], [0, 0, 0]], dtype=DOUBLE), atol=1e-8, rtol=0
    )
    kept = whiten(values, mask, shift_mean=False)
    torch.testing.assert_close(
        kept, torch.tensor([[101.0, 103.0, 0], [102, 0, 0]], dtype=DOUBLE), atol=1e-8, rtol=0
    )


@pytest.mark.parametrize("shift_mean", [True, False])
def test_whitened_moments(shift_mean: bool) -> None:
    values, _, mask = ragged()
    whitened = whiten(values + 3.0, mask, shift_mean=shift_mean)[mask]
    mean = 0.0 if shift_mean else (values + 3.0)[mask].mean().item()
    assert whitened.mean().item() == pytest.approx(mean, abs=1e-12)
    assert whitened.std().item() == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("tokens", [0, 1])
def test_whitening_of_next_to_nothing(tokens: int) -> None:
    mask = torch.arange(3) < tokens
    assert whiten(torch.tensor([7.0, 8.0, 9.0]), mask).tolist() == [0, 0, 0]


def test_standardised_by_hand() -> None:
    # −1, 1 and a response without a reward: mean 0, std with n − 1 √2.
    given_rewards = torch.tensor([[True, True, False]])
    values = standardised(row(-1.0, 1.0, 0.0), given_rewards)
    each = 1 / (math.sqrt(2) + 1e-4)
    assert values.tolist() == [pytest.approx([-each, each, 0])]


# Shapes.


def test_shapes_are_checked() -> None:
    column, mask = torch.zeros(3, 1), torch.ones(3, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"scores \(3, 1\)"):
        token_rewards(column, mask)
    with pytest.raises(ValueError, match=r"kl \(3, 1\)"):
        token_rewards(torch.zeros(3), mask, kl=column)
    with pytest.raises(ValueError, match=r"\(3, 1\)"):
        gae(torch.zeros(3, 2), column, mask)
    for estimator in (rloo, grpo):
        with pytest.raises(ValueError, match="num_generations"):
            estimator(torch.zeros(3))
    with pytest.raises(ValueError, match="group, batch or none"):
        grpo(GROUPS, scale_rewards="std")  # type: ignore[arg-type]
