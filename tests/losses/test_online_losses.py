"""Losses of policies that learn from their own samples: by hand, by finite differences."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rewarddiff.losses.online import (
    LARGEST_LOG_RATIO,
    Aggregation,
    Estimator,
    aggregated,
    clipped_surrogate,
    clipped_value_loss,
    counted,
    kl_estimate,
    sequence_log_ratio,
)

ESTIMATORS: tuple[Estimator, ...] = ("k1", "k2", "k3")
MODES: tuple[Aggregation, ...] = get_args(Aggregation)
LN2 = math.log(2)


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def grid(size: int = 7) -> Tensor:
    """Numbers that lie on no corner of a clip."""
    return torch.linspace(-1.03, 1.07, size, dtype=torch.float64)


# The clipped surrogate.


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient"),
    [
        # Within 0.8 … 1.2 it is −ρA, with the gradient −ρA in log ρ.
        (1.1, 2.0, -2.2, -2.2),
        (0.9, -2.0, 1.8, 1.8),
        # A good token is not pushed up beyond 1.2, nor a bad one down below 0.8.
        (1.5, 2.0, -2.4, 0.0),
        (0.5, -2.0, 1.6, 0.0),
        # A good token that has become rare, and a bad one that has become frequent, are not held.
        (0.5, 2.0, -1.0, -1.0),
        (1.5, -2.0, 3.0, 3.0),
    ],
)
def test_the_six_cases_of_the_clip(
    ratio: float, advantage: float, loss: float, gradient: float
) -> None:
    log_ratio = vector(ratio).log().requires_grad_()
    value = clipped_surrogate(log_ratio, vector(advantage), epsilon=0.2)
    value.sum().backward()
    assert log_ratio.grad is not None
    assert value.item() == pytest.approx(loss)
    assert log_ratio.grad.item() == pytest.approx(gradient)


def test_clip_higher_and_dual_clip_by_hand() -> None:
    # With ε_high = 0.5, ρ = 1.4 still counts whole, and below it stays 0.8; δ = 3 holds a bad
    # token's loss at 3·|A|.
    higher = clipped_surrogate(vector(1.4, 0.6).log(), vector(1.0, -1.0), epsilon_high=0.5)
    torch.testing.assert_close(higher, vector(-1.4, 0.8))
    bad = clipped_surrogate(vector(2.0, 5.0).log(), vector(-1.0, -1.0), delta=3.0)
    torch.testing.assert_close(bad, vector(2.0, 3.0))


def test_on_policy_its_gradient_is_that_of_reinforce() -> None:
    # At π = π_old, ∂(−ρA)/∂log π = −A.
    log_ratio = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    advantages = vector(2.0, -1.0, 0.0)
    clipped_surrogate(log_ratio, advantages).sum().backward()
    assert log_ratio.grad is not None
    torch.testing.assert_close(log_ratio.grad, -advantages)


@given(st.floats(-3, 3), st.floats(-5, 5), st.floats(0, 0.9))
def test_it_is_never_below_the_surrogate_that_is_not_clipped(
    log_ratio: float, advantage: float, epsilon: float
) -> None:
    clipped = clipped_surrogate(vector(log_ratio), vector(advantage), epsilon=epsilon)
    assert clipped.item() >= -math.exp(log_ratio) * advantage - 1e-9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_far_ratios_stay_finite(dtype: torch.dtype) -> None:
    far = torch.tensor([1e3, 1e3, 1e3, -1e3, -1e3], dtype=dtype, requires_grad=True)
    losses = clipped_surrogate(far, torch.tensor([1.0, 0.0, -1.0, 1.0, -1.0], dtype=dtype))
    losses.sum().backward()
    assert far.grad is not None
    assert bool((losses.isfinite() & far.grad.isfinite()).all())


# The value loss.


def test_value_loss_by_hand() -> None:
    # V_old = 0, c = 0.5, R = 2. V = 1: ½·max(1, (0.5 − 2)²) = 1.125, the clipped one, without
    # gradient. V = −1: ½·max(9, 2.5²) = 4.5, gradient V − R = −3. V = 0.25: inside, ½·1.75².
    values = vector(1.0, -1.0, 0.25).requires_grad_()
    losses = clipped_value_loss(
        values, vector(0.0, 0.0, 0.0), vector(2.0, 2.0, 2.0), cliprange_value=0.5
    )
    losses.sum().backward()
    assert values.grad is not None
    torch.testing.assert_close(losses, vector(1.125, 4.5, 0.5 * 1.75**2))
    torch.testing.assert_close(values.grad, vector(0.0, -3.0, -1.75))


def test_value_loss_without_a_clip_is_half_the_square() -> None:
    losses = clipped_value_loss(vector(3.0), vector(0.0), vector(1.0), cliprange_value=None)
    assert losses.tolist() == [2.0]


# The KL and its estimates.

POLICY, REFERENCE = vector(0.5, 0.3, 0.2), vector(0.25, 0.25, 0.5)
KL = 0.5 * LN2 + 0.3 * math.log(1.2) + 0.2 * math.log(0.4)


def test_estimates_by_hand() -> None:
    # π = ½, ρ = ¼: k1 = ln 2, k2 = ½·ln²2, k3 = ½ − 1 + ln 2. π = ¼, ρ = ½: −ln 2, the same
    # square, 2 − 1 − ln 2.
    logps, ref_logps = vector(0.5, 0.25).log(), vector(0.25, 0.5).log()
    expected = {
        "k1": vector(LN2, -LN2),
        "k2": vector(0.5 * LN2**2, 0.5 * LN2**2),
        "k3": vector(LN2 - 0.5, 1 - LN2),
    }
    for estimator in ESTIMATORS:
        torch.testing.assert_close(
            kl_estimate(logps, ref_logps, estimator=estimator), expected[estimator]
        )


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_k1_and_k3_are_unbiased(estimator: Estimator) -> None:
    estimates = kl_estimate(POLICY.log(), REFERENCE.log(), estimator=estimator)
    assert (POLICY * estimates).sum().item() == pytest.approx(KL, abs=1e-12)


def test_k2_is_biased_and_near_where_the_policies_are() -> None:
    estimates = kl_estimate(POLICY.log(), REFERENCE.log(), estimator="k2")
    assert (POLICY * estimates).sum().item() != pytest.approx(KL, rel=0.02)  # 4 % too low
    # KL = ½·E[k1²] + O(k1³): at a tenth of the distance the relative error is about a tenth.
    errors = []
    for size in (0.1, 0.01, 0.001):
        near = (POLICY.log() + size * vector(1.0, -2.0, 0.5)).softmax(0)
        kl = (near * (near / POLICY).log()).sum()
        mean = (near * kl_estimate(near.log(), POLICY.log(), estimator="k2")).sum()
        errors.append(abs(mean / kl - 1).item())
    for further, nearer in pairwise(errors):
        assert nearer < 0.2 * further


@given(st.floats(-15, 15))
def test_k2_and_k3_are_never_negative(log_ratio: float) -> None:
    for estimator in ("k2", "k3"):
        value = kl_estimate(vector(log_ratio), vector(0.0), estimator=estimator)  # type: ignore[arg-type]
        assert value.item() >= 0


def test_k3_keeps_its_digits_where_the_policy_is_near() -> None:
    # e^−x − 1 + x = x²/2 − … at x = 10⁻⁴ in float32: e^−x − 1 alone has lost it all.
    value = kl_estimate(torch.tensor([1e-4]), torch.tensor([0.0]), estimator="k3")
    assert value.item() == pytest.approx(5e-9, rel=0.05)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_what_an_estimate_teaches_as_a_loss(estimator: Estimator) -> None:
    # Over samples of π, drawn before the step: ∇ of the mean of k1 is Σ π·∇log π = 0, of k2
    # ∇KL(π‖ρ), of k3 ∇KL(ρ‖π). All three tokens are gone through, and ∇KL is autograd's.
    logits = vector(0.3, -0.2, 0.5).requires_grad_()
    logps = logits.log_softmax(0)
    estimates = kl_estimate(logps, REFERENCE.log(), estimator=estimator)
    learned = torch.autograd.grad(
        (logps.exp().detach() * estimates).sum(), logits, retain_graph=True
    )[0]
    policy_to_reference = (logps.exp() * (logps - REFERENCE.log())).sum()
    reference_to_policy = (REFERENCE * (REFERENCE.log() - logps)).sum()
    goals = {"k1": 0.0 * logits.sum(), "k2": policy_to_reference, "k3": reference_to_policy}
    goal = torch.autograd.grad(goals[estimator], logits)[0]
    torch.testing.assert_close(learned, goal, atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_far_estimates_stay_finite(estimator: Estimator) -> None:
    far = torch.tensor([-1e3, 1e3], requires_grad=True)
    losses = kl_estimate(far, torch.zeros(2), estimator=estimator)
    losses.sum().backward()
    assert far.grad is not None
    assert bool((losses.isfinite() & far.grad.isfinite()).all())


def test_an_estimate_is_held_where_the_ratio_is() -> None:
    # Beyond the bound k3 gives no gradient, and not one that leads further away.
    far = vector(-LARGEST_LOG_RATIO - 5).requires_grad_()
    kl_estimate(far, vector(0.0), estimator="k3").sum().backward()
    assert far.grad is not None
    assert far.grad.item() == 0


# Aggregation.

LOSSES = torch.tensor([[1.0, 3.0, 50.0], [5.0, 60.0, 70.0], [80.0, 90.0, 99.0]])
MASK = torch.tensor([[True, True, False], [True, False, False], [False, False, False]])


@pytest.mark.parametrize(
    ("mode", "total", "count"),
    # Tokens 1, 3, 5 of two responses; the third one is left out whole, also of the count.
    [
        ("token-mean", 9.0, 3),
        ("seq-mean-token-mean", 7.0, 2),
        ("seq-mean-token-sum", 9.0, 2),
        ("seq-mean-token-sum-norm", 9.0, 2 * 8),
    ],
)
def test_aggregation_by_hand(mode: Aggregation, total: float, count: int) -> None:
    assert aggregated(LOSSES, MASK, loss_agg_mode=mode).item() == total
    assert counted(MASK, loss_agg_mode=mode, max_tokens=8) == count


@pytest.mark.parametrize("mode", MODES)
def test_micro_batches_add_up(mode: Aggregation) -> None:
    draw = torch.Generator().manual_seed(0)
    losses = torch.randn(6, 5, generator=draw, dtype=torch.float64)
    mask = torch.rand(6, 5, generator=draw) > 0.3
    tokens = counted(mask, loss_agg_mode=mode, max_tokens=8)
    whole = aggregated(losses, mask, loss_agg_mode=mode) / tokens
    total, count = 0.0, 0
    for part, part_mask in zip(losses.split([1, 3, 2]), mask.split([1, 3, 2]), strict=True):
        total += aggregated(part, part_mask, loss_agg_mode=mode).item()
        count += counted(part_mask, loss_agg_mode=mode, max_tokens=8)
    assert total / count == pytest.approx(whole.item(), rel=1e-12)


# The ratio of a response.


def test_the_ratio_of_a_response_by_hand() -> None:
    # ln 2 and ln 8 are of a ratio of 16 in two tokens: √16 a token, so ln 4; the third is no token.
    log_ratio = torch.tensor([[2.0, 8.0, 100.0], [5.0, 7.0, 9.0]]).log()
    mask = torch.tensor([[True, True, False], [False, False, False]])
    of_responses = sequence_log_ratio(log_ratio, mask)
    torch.testing.assert_close(of_responses[0], torch.tensor([4.0, 4.0, 1.0]).log())
    assert of_responses[1].tolist() == [0, 0, 0]


def test_the_ratio_of_a_response_gives_gspo_its_gradient() -> None:
    # On-policy ∇ of s·A, s = (Π ρ_t)^(1/|y|) = 1, is A/|y| at each token (GSPO, Eq. 10).
    log_ratio = torch.zeros(1, 4, requires_grad=True)
    mask = torch.tensor([[True, True, True, False]])
    losses = clipped_surrogate(sequence_log_ratio(log_ratio, mask), torch.full((1, 4), 6.0))
    (aggregated(losses, mask, loss_agg_mode="seq-mean-token-mean")).backward()
    assert log_ratio.grad is not None
    torch.testing.assert_close(log_ratio.grad, torch.tensor([[-2.0, -2.0, -2.0, 0.0]]))


def test_the_ratio_of_a_response_reads_no_masked_place() -> None:
    log_ratio = torch.tensor([[1.0, torch.nan]], requires_grad=True)
    mask = torch.tensor([[True, False]])
    of_response = sequence_log_ratio(log_ratio, mask)
    of_response.sum().backward()
    assert of_response.tolist() == [[1.0, 0.0]]
    assert log_ratio.grad is not None
    assert log_ratio.grad.tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("mode", MODES)
def test_masked_places_are_not_read(mode: Aggregation) -> None:
    spoiled = LOSSES.masked_fill(~MASK, torch.nan).requires_grad_()
    total = aggregated(spoiled, MASK, loss_agg_mode=mode)
    total.backward()
    assert total.item() == aggregated(LOSSES, MASK, loss_agg_mode=mode).item()
    assert spoiled.grad is not None
    assert bool((spoiled.grad[~MASK] == 0).all())


# What holds for all of them.


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_gradients_of_estimates(estimator: Estimator) -> None:
    ref_logps = 0.5 * grid().flip(0)
    assert torch.autograd.gradcheck(
        lambda logps: kl_estimate(logps, ref_logps, estimator=estimator),
        (grid().requires_grad_(),),
    )


@pytest.mark.parametrize("advantage", [1.5, -1.5])
@pytest.mark.parametrize("delta", [None, 2.5])
def test_gradients_of_the_surrogate(advantage: float, delta: float | None) -> None:
    advantages = torch.full_like(grid(), advantage)
    assert torch.autograd.gradcheck(
        lambda x: clipped_surrogate(x, advantages, epsilon=0.2, epsilon_high=0.3, delta=delta),
        (grid().requires_grad_(),),
    )


@pytest.mark.parametrize("cliprange", [None, 0.35])
def test_gradients_of_the_value_loss(cliprange: float | None) -> None:
    old, returns = torch.zeros_like(grid()), torch.full_like(grid(), 0.4)
    assert torch.autograd.gradcheck(
        lambda v: clipped_value_loss(v, old, returns, cliprange_value=cliprange),
        (grid().requires_grad_(),),
    )


@pytest.mark.parametrize("mode", MODES)
def test_gradients_of_aggregates(mode: Aggregation) -> None:
    losses = LOSSES.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: aggregated(x, MASK, loss_agg_mode=mode), (losses,))


def test_data_gets_no_gradient() -> None:
    data = grid().requires_grad_()
    policy = grid().flip(0).requires_grad_()
    losses = [
        clipped_surrogate(policy, data),
        clipped_value_loss(policy, data, data),
        kl_estimate(policy, data),
    ]
    torch.stack(losses).sum().backward()
    assert data.grad is None


def test_no_broadcasting() -> None:
    row, column = torch.zeros(3), torch.zeros(3, 1)
    with pytest.raises(ValueError, match=r"\(3, 1\)"):
        clipped_surrogate(row, column)
    with pytest.raises(ValueError, match=r"\(3, 1\)"):
        clipped_value_loss(row, row, column)
    with pytest.raises(ValueError, match=r"\(3, 1\)"):
        kl_estimate(row, column)
    with pytest.raises(ValueError, match=r"\(2, 3\)"):
        aggregated(LOSSES, MASK[:2], loss_agg_mode="token-mean")


def test_what_is_refused() -> None:
    x = torch.zeros(2)
    bad_calls = [
        lambda: clipped_surrogate(x, x, epsilon=1.0),
        lambda: clipped_surrogate(x, x, epsilon_high=-0.1),
        lambda: clipped_surrogate(x, x, epsilon=0.2, delta=1.1),
        lambda: clipped_value_loss(x, x, x, cliprange_value=0.0),
        lambda: kl_estimate(x, x, estimator="k4"),  # type: ignore[arg-type]
        lambda: aggregated(LOSSES, MASK, loss_agg_mode="mean"),  # type: ignore[arg-type]
        lambda: aggregated(LOSSES, MASK.float(), loss_agg_mode="token-mean"),
        lambda: counted(MASK, loss_agg_mode="seq-mean-token-sum-norm"),
        lambda: sequence_log_ratio(LOSSES, MASK.float()),
    ]
    for call in bad_calls:
        with pytest.raises(ValueError, match="must"):
            call()
