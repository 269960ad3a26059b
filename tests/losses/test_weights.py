"""Weights: values by hand, a uniform policy, frequencies of the draw, and TRL's WPO."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_pairwise import h_of, spread, trl_dpo
from torch import Tensor

from rewarddiff.losses.pairwise import dpo
from rewarddiff.losses.reduce import weighted_sum
from rewarddiff.losses.weights import (
    dynamic_beta,
    gaussian_keep,
    uni_dpo_performance,
    uni_dpo_quality,
    wpo,
)

LN3 = math.log(3)


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_wpo_by_hand() -> None:
    # −ln 2 and −ln 4 make ½·¼; a product above 1 is cut, also where it would overflow.
    log_weights = wpo(-vector(2, 0.5, 1).log(), vector(0.25, 1, math.e**2).log())
    torch.testing.assert_close(log_weights, vector(0.125, 1, 1))
    assert wpo(vector(1e3, -1e3), vector(1e3, -1e3)).tolist() == [1, 0]


def test_wpo_of_a_uniform_policy_is_one() -> None:
    # Of V tokens each has 1/V, and Σ 1/V² = 1/V: nothing is more the policy's own than anything
    # else.
    logps = torch.full((7,), 1 / 7, dtype=torch.float64).log()
    mean = (logps[3] - (2 * logps).logsumexp(0)).unsqueeze(0)
    assert wpo(mean, mean).item() == pytest.approx(1, rel=1e-12)


def test_wpo_equals_trl() -> None:
    # One token a response: log π(y) less log Σ_v π(v)², the latter above it, as TRL does not cut at
    # 1.
    policy, reference = (x / 100 for x in spread(64))
    policy.requires_grad_()
    sums = policy.detach() + torch.rand(128, generator=draw(), dtype=torch.float64)
    theirs = trl_dpo(policy, reference, sums, loss_types=["sigmoid"], beta=0.3, use_weighting=True)
    losses = dpo(h_of(policy, reference), beta=0.3)
    ours = weighted_sum(losses, wpo(*(policy - sums).chunk(2))) / 64
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)
    gradients = [torch.autograd.grad(loss, policy)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-9)


def test_uni_dpo_quality_by_hand() -> None:
    # σ(0) = ½, σ(±ln 3) = ¾ and ¼.
    torch.testing.assert_close(
        uni_dpo_quality(vector(0, 5, -5), eta=LN3 / 5), vector(0.5, 0.75, 0.25)
    )


def test_uni_dpo_performance_by_hand() -> None:
    # m − τ = ln 3 leaves 1 − ¾; squared 1/16. At m = τ ½ is left; γ = 0 weighs all 1.
    torch.testing.assert_close(
        uni_dpo_performance(vector(LN3 + 2, 2), gamma=2.0, tau=2.0), vector(1 / 16, 1 / 4)
    )
    assert uni_dpo_performance(vector(-5, 5), gamma=0.0, tau=0.0).tolist() == [1, 1]
    assert uni_dpo_performance(torch.tensor([-1e3, 1e3]), gamma=3.0, tau=0.8).tolist() == [1, 0]


@given(st.floats(-30, 30), st.floats(0.01, 5), st.floats(0, 5))
def test_what_is_learned_weighs_less(margin: float, more: float, gamma: float) -> None:
    now, then = uni_dpo_performance(vector(margin, margin + more), gamma=gamma, tau=0.8)
    assert 0 <= then <= now <= 1


def test_dynamic_beta_by_hand() -> None:
    # mean 1 is ½ above M: 0.1·(1 + 0.6·½). Far below, β would be negative: 10⁻³ is the least.
    settings = {"beta": 0.1, "alpha": 0.6}
    assert dynamic_beta(vector(0, 2), **settings, threshold=0.5).item() == pytest.approx(0.13)
    assert dynamic_beta(vector(0, 2), **settings, threshold=1.0).item() == pytest.approx(0.1)
    assert dynamic_beta(vector(-1e3), **settings, threshold=0.0).item() == pytest.approx(1e-3)


@given(st.integers(1, 40), st.floats(0.01, 1))
def test_the_share_asked_for_is_kept(pairs: int, keep: float) -> None:
    kept = gaussian_keep(torch.randn(pairs), mean=0.0, std=1.0, keep=keep, generator=draw())
    assert kept.dtype == torch.bool
    assert kept.sum() == max(1, round(keep * pairs))


def test_pairs_are_kept_as_often_as_their_density_says() -> None:
    # Weights 1, ½ and ¼ at distance 0, √(2·ln 2), √(2·ln 4); shares 4/7, 2/7, 1/7. Two of three,
    # one after the other: the last is left out in 4/7·(2/7)/(3/7) + 2/7·(4/7)/(5/7) = 8/21 + 8/35 =
    # 64/105 of draws, the middle one in 4/7·(1/7)/(3/7) + 1/7·(4/7)/(6/7) = 4/21 + 2/21 = 2/7, the
    # first in the rest.
    h = vector(5, 5 + 3 * math.sqrt(2 * math.log(2)), 5 - 3 * math.sqrt(2 * math.log(4)))
    generator, draws = draw(), 20_000
    kept = sum(
        gaussian_keep(h, mean=5.0, std=3.0, keep=0.7, generator=generator).long()
        for _ in range(draws)
    )
    left_out = 1 - kept / draws
    expected = vector(1 - 64 / 105 - 2 / 7, 2 / 7, 64 / 105)
    torch.testing.assert_close(
        left_out.double(), expected, rtol=0, atol=0.014
    )  # four standard errors


def test_outliers_go_though_their_weight_underflows() -> None:
    h = torch.tensor([0.0, 1e3, 0.1, -0.2, 2e3])  # exp(−½·10⁶) is 0, and so is the other
    generator = draw()
    for _ in range(50):
        assert gaussian_keep(h, mean=0.0, std=1.0, keep=0.6, generator=generator).tolist() == [
            1,
            0,
            1,
            1,
            0,
        ]
    kept = gaussian_keep(h, mean=0.0, std=1.0, keep=0.8, generator=generator)
    assert kept.tolist() == [1, 1, 1, 1, 0]  # of two hopeless ones the nearer


def test_the_draw_is_the_generators() -> None:
    h = torch.randn(50, generator=draw())
    masks = [
        gaussian_keep(h, mean=0.0, std=1.0, keep=0.5, generator=draw(seed)) for seed in (1, 1, 2)
    ]
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def test_all_and_none() -> None:
    assert bool(gaussian_keep(torch.randn(9), mean=0.0, std=1.0, keep=1.0, generator=draw()).all())
    assert gaussian_keep(torch.zeros(0), mean=0.0, std=1.0, keep=0.8, generator=draw()).shape == (
        0,
    )


def test_weights_are_constants() -> None:
    x = vector(-1, 0.5).requires_grad_()
    given_x = [
        wpo(x, x),
        uni_dpo_quality(x, eta=1.0),
        uni_dpo_performance(x, gamma=1.0, tau=0.0),
        dynamic_beta(x, beta=0.1, alpha=0.6, threshold=0.0),
        gaussian_keep(x, mean=0.0, std=1.0, keep=0.5, generator=draw()),
    ]
    assert not any(weight.requires_grad for weight in given_x)


def test_shapes_must_match() -> None:
    with pytest.raises(ValueError, match=r"mean_log_weight_rejected \(3, 1\)"):
        wpo(torch.zeros(3), torch.zeros(3, 1))


@pytest.mark.parametrize(
    "call",
    [
        lambda x: uni_dpo_quality(x, eta=0.0),
        lambda x: uni_dpo_performance(x, gamma=-1.0, tau=0.0),
        lambda x: dynamic_beta(x, beta=0.0, alpha=0.6, threshold=0.0),
        lambda x: dynamic_beta(x, beta=0.1, alpha=-0.6, threshold=0.0),
        lambda x: dynamic_beta(x[:0], beta=0.1, alpha=0.6, threshold=0.0),
        lambda x: dynamic_beta(x / 0, beta=0.1, alpha=0.6, threshold=0.0),
        lambda x: gaussian_keep(x, mean=0.0, std=0.0, keep=0.5, generator=draw()),
        lambda x: gaussian_keep(x, mean=0.0, std=math.nan, keep=0.5, generator=draw()),
        lambda x: gaussian_keep(x, mean=0.0, std=1.0, keep=0.0, generator=draw()),
        lambda x: gaussian_keep(x, mean=0.0, std=1.0, keep=1.1, generator=draw()),
        lambda x: gaussian_keep(x / 0, mean=0.0, std=1.0, keep=0.5, generator=draw()),
        lambda x: gaussian_keep(x.unsqueeze(1), mean=0.0, std=1.0, keep=0.5, generator=draw()),
    ],
)
def test_values_outside_their_range(call: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(ValueError, match="must"):
        call(torch.ones(2))
