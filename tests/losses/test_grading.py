"""Losses of scorers that know by how much: values by hand, probabilities, identities."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from rewarddiff.losses.grading import batch_margin, centering, ordinal, rao_kupper, scaled, soft
from rewarddiff.losses.scoring import bradley_terry

LOGITS = st.floats(-30, 30)
POSITIVE = st.floats(0.01, 20)


def vector(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def probability(loss: torch.Tensor) -> float:
    return math.exp(-loss.item())


def test_scaled_by_hand() -> None:
    # σ(ln 3) = ¾, twice and half as much of its logarithm
    gap = math.log(3)
    torch.testing.assert_close(
        scaled(vector(gap, gap, 0), vector(2, 0.5, 0)),
        vector(2 * math.log(4 / 3), math.log(4 / 3) / 2, 0),
    )


def test_batch_margin_by_hand() -> None:
    # μ = (3 ln 3 + ln 3 − ln 3)/3 = ln 3. Pair 1 is beyond it and stays at σ(3 ln 3) = 27/28; pair
    # 2 is not below it: σ(ln 3) = ¾; pair 3 is shifted: σ(−2 ln 3) = 1/10.
    gap = math.log(3)
    gaps = vector(3 * gap, gap, -gap)
    expected = [-math.log(Fraction(27, 28)), -math.log(Fraction(3, 4)), math.log(10)]
    torch.testing.assert_close(batch_margin(gaps, gap, gap), vector(*expected))
    # without a threshold all are: σ(2 ln 3) = 9/10, σ(0), σ(−2 ln 3)
    torch.testing.assert_close(
        batch_margin(gaps, gap, math.inf),
        vector(-math.log(Fraction(9, 10)), math.log(2), math.log(10)),
    )


@given(LOGITS)
def test_nothing_known_of_how_much_is_bradley_terry(d: float) -> None:
    plain = bradley_terry(vector(d))
    assert torch.equal(scaled(vector(d), vector(1)), plain)
    assert torch.equal(batch_margin(vector(d), 0.0, 0.0), plain)
    assert torch.equal(soft(vector(d), vector(1)), plain)
    torch.testing.assert_close(ordinal(vector(d), torch.tensor([1]), vector(0)), plain)


@given(LOGITS, st.floats(0, 1))
def test_soft_labels_mix_both_orders(d: float, z: float) -> None:
    mixed = z * bradley_terry(vector(d)) + (1 - z) * bradley_terry(vector(-d))
    torch.testing.assert_close(soft(vector(d), vector(z)), mixed)


def test_soft_is_least_where_the_model_says_so() -> None:
    gaps = torch.linspace(-4, 4, 8001, dtype=torch.float64)
    found = gaps[soft(gaps, torch.full_like(gaps, 0.8)).argmin()].item()
    assert found == pytest.approx(math.log(4), abs=1e-3)  # σ(ln 4) = 0.8


@given(LOGITS, POSITIVE)
def test_rao_kupper_adds_up_and_is_as_published(d: float, tau: float) -> None:
    # scipy's logistic is the referee for the published form, where it does not cancel
    t = torch.tensor(tau, dtype=torch.float64)
    lost, won = (
        probability(rao_kupper(vector(side), torch.tensor([False]), t)) for side in (-d, d)
    )
    tied = probability(rao_kupper(vector(d), torch.tensor([True]), t))
    assert lost + won + tied == pytest.approx(1)
    assert won == pytest.approx(expit(d - tau), rel=1e-9)
    assert tied == pytest.approx(expit(tau - d) - expit(-d - tau), rel=1e-6, abs=1e-12)
    assert tied == pytest.approx(
        probability(rao_kupper(vector(-d), torch.tensor([True]), t)), rel=1e-9
    )


@given(LOGITS, st.lists(POSITIVE, min_size=1, max_size=5), st.booleans())
def test_grades_add_up(d: float, steps: list[float], ties: bool) -> None:
    """The probabilities of all grades of either side, and of a tie, add up to 1."""
    cuts = vector(*steps).cumsum(0)
    cuts = cuts if ties else torch.cat([vector(0), cuts])
    levels = torch.arange(1, len(cuts) + 1)
    sides = [ordinal(vector(side).expand(len(levels)), levels, cuts) for side in (d, -d)]
    total = sum(side.neg().exp().sum().item() for side in sides)
    if ties:
        total += probability(ordinal(vector(d), torch.tensor([0]), cuts))
    assert total == pytest.approx(1)


@given(LOGITS, POSITIVE)
def test_one_grade_and_ties_is_rao_kupper(d: float, tau: float) -> None:
    for level in (0, 1):
        graded = ordinal(vector(d), torch.tensor([level]), vector(tau))
        known = rao_kupper(
            vector(d), torch.tensor([level == 0]), torch.tensor(tau, dtype=torch.float64)
        )
        torch.testing.assert_close(graded, known, rtol=1e-6, atol=1e-9)


def test_ordinal_by_hand() -> None:
    # Cut-points 0, ln 3, ln 9: with Δ = 0 P(z ≤ 0) = ½, σ(ln 3) = ¾, σ(ln 9) = 9/10: grades ¼,
    # 3/20, 1/10.
    cuts = vector(0, math.log(3), math.log(9))
    found = ordinal(vector(0, 0, 0), torch.tensor([1, 2, 3]), cuts).neg().exp()
    torch.testing.assert_close(found, vector(0.25, 0.15, 0.1))


def test_centering_by_hand() -> None:
    assert centering(vector(1.5, -2), vector(0.5, 2)).tolist() == [4, 0]


def test_gradients_against_finite_differences() -> None:
    gap = vector(-3, -0.4, 0.2, 2.5).requires_grad_()
    tau, cuts = vector(0.7).squeeze().requires_grad_(), vector(0.3, 1.1, 1.9).requires_grad_()
    tie, level = torch.tensor([True, False, True, False]), torch.tensor([0, 1, 2, 3])
    strength = vector(0, 1, 2, 0.5)
    check = torch.autograd.gradcheck
    assert check(lambda g: scaled(g, strength), gap)
    assert check(lambda g: batch_margin(g, 0.9, 0.5), gap)
    assert check(lambda g: soft(g, strength / 2), gap)
    assert check(lambda g, t: rao_kupper(g, tie, t), (gap, tau))
    assert check(lambda g, c: ordinal(g, level, c), (gap, cuts))
    assert check(centering, (gap, gap.detach().flip(0).requires_grad_()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_far_gaps_stay_finite(dtype: torch.dtype) -> None:
    gap = torch.tensor([-200.0, 200.0, -200.0, 200.0], dtype=dtype, requires_grad=True)
    tie = torch.tensor([True, True, False, False])
    found = rao_kupper(gap, tie, torch.tensor(0.5, dtype=dtype)) + ordinal(
        gap, torch.tensor([0, 1, 2, 2]), torch.tensor([0.5, 1.0], dtype=dtype)
    )
    found.sum().backward()
    assert bool(found.isfinite().all())
    assert gap.grad is not None
    assert bool(gap.grad.isfinite().all())


def test_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        scaled(vector(1, 2), torch.ones(2, 1, dtype=torch.float64))
    with pytest.raises(ValueError, match="probability"):
        soft(vector(1), vector(1.5))
    with pytest.raises(ValueError, match="positive"):
        rao_kupper(vector(1), torch.tensor([True]), torch.tensor(0.0))
    with pytest.raises(ValueError, match="grades 3 to 3, cut-points for 0 to 2"):
        ordinal(vector(1), torch.tensor([3]), vector(0, 1))
