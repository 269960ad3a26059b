"""Losses that read by how much: values worked by hand, probabilities, limits, and each other."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Bernoulli, Normal, kl_divergence

from rewarddiff.losses.pairwise import dpo
from rewarddiff.losses.strength import ml_rdpo, mmpo, odpo, rdpo, rpo

LN3 = math.log(3)
LOGITS = st.floats(-20, 20)
KINDS = ("sq", "bwd", "fwd")


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "odpo": lambda h, d: odpo(h, d, beta=0.7, alpha=0.5),
    "sq": lambda h, d: rpo(h, d, beta=0.7, eta=1.5, kind="sq"),
    "bwd": lambda h, d: rpo(h, d, beta=0.7, eta=1.5, kind="bwd"),
    "fwd": lambda h, d: rpo(h, d, beta=0.7, eta=1.5, kind="fwd"),
    "mmpo": lambda h, d: mmpo(h, d, beta=0.7, gamma=1.5),
    "rdpo": lambda h, d: rdpo(h, d, beta=0.7, beta1=0.5),
    "ml_rdpo": lambda h, d: ml_rdpo(h, d, beta=0.7, variance=2.0),
    "ml_rdpo, tilted": lambda h, d: ml_rdpo(h, d, beta=0.7, variance=2.0, beta1=0.5),
}


@given(LOGITS, st.floats(0.01, 100), st.floats(0, 2))
def test_odpo_is_a_share_of_odds(logit: float, gap: float, alpha: float) -> None:
    # σ(log a − log b) = a / (a + b), a = e^βh and b = Δ^α.
    loss = odpo(vector(logit / 0.1), vector(gap), beta=0.1, alpha=alpha)
    share = math.exp(logit) / (math.exp(logit) + gap**alpha)
    assert math.exp(-loss.item()) == pytest.approx(share, rel=1e-9)


def test_odpo_at_strength_one_or_alpha_zero_is_dpo() -> None:
    h = vector(-3, 0, 4)
    assert torch.equal(odpo(h, torch.ones_like(h), beta=0.5, alpha=2.0), dpo(h, beta=0.5))
    assert torch.equal(odpo(h, vector(0.1, 3, 50), beta=0.5, alpha=0.0), dpo(h, beta=0.5))


@pytest.mark.parametrize("bad", [0.0, -1.0])
def test_odpo_has_no_place_for_ties(bad: float) -> None:
    with pytest.raises(ValueError, match="drop ties"):
        odpo(vector(1, 1), vector(1, bad), beta=0.1, alpha=1.0)


def test_rpo_by_hand() -> None:
    # βh = ln 3 is a probability of ¾; Δ = 0 one of ½. From target to policy: ½·log(½/¾) +
    # ½·log(½/¼) = ½·log 4/3. From policy to target: ¾·log(¾/½) + ¼·log(¼/½) = ¾·log 3 − log 2.
    by_hand = {"sq": LN3**2, "bwd": 0.5 * math.log(4 / 3), "fwd": 0.75 * LN3 - math.log(2)}
    for kind in KINDS:
        loss = rpo(vector(LN3 / 0.2), vector(0), beta=0.2, eta=1.0, kind=kind)
        assert loss.item() == pytest.approx(by_hand[kind], rel=1e-12)


@given(st.floats(-8, 8), st.floats(-8, 8))  # torch's own saturates: σ(38) is 1 in float64
def test_rpo_equals_the_divergences_of_torch(logit: float, gap: float) -> None:
    policy, target = Bernoulli(logits=vector(logit)), Bernoulli(logits=2 * vector(gap))
    h, d = vector(logit / 0.2), vector(gap)
    bwd, fwd = (rpo(h, d, beta=0.2, eta=2.0, kind=kind) for kind in ("bwd", "fwd"))
    torch.testing.assert_close(bwd, kl_divergence(target, policy), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(fwd, kl_divergence(policy, target), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_rpo_is_least_where_the_difference_is_matched(kind: str) -> None:
    # βh = ηΔ: 0.5·4 = 2·1. There and only there it is 0, with no gradient.
    h = vector(4, 3.9, 4.1).requires_grad_()
    losses = rpo(h, vector(1, 1, 1), beta=0.5, eta=2.0, kind=kind)  # type: ignore[arg-type]
    losses.sum().backward()
    assert h.grad is not None
    assert losses[0].item() == pytest.approx(0, abs=1e-12)
    assert h.grad[0].item() == pytest.approx(0, abs=1e-12)
    assert bool((losses[1:] > 1e-6).all())
    assert h.grad[1] < 0 < h.grad[2]


def test_mmpo_by_hand() -> None:
    # p = σ(ln 3) = ¾ and σ(βh) = ¾: ¾·log 4/3 + ¼·log 4. A tie asks for ½: ½·log 4/3 + ½·log 4.
    losses = mmpo(vector(LN3 / 0.1, LN3 / 0.1), vector(LN3 / 2, 0), beta=0.1, gamma=2.0)
    won, lost = math.log(4 / 3), math.log(4)
    torch.testing.assert_close(losses, vector(0.75 * won + 0.25 * lost, 0.5 * won + 0.5 * lost))


def test_mmpo_of_one_strength_is_smoothed_dpo() -> None:
    # σ(ln 3) = ¾: labels believed wrong with probability ¼.
    h = torch.linspace(-9, 9, 7, dtype=torch.float64)
    losses = mmpo(h, torch.full_like(h, LN3), beta=0.5, gamma=1.0)
    torch.testing.assert_close(losses, dpo(h, beta=0.5, label_smoothing=0.25))


@given(LOGITS, LOGITS)
def test_mmpo_is_backward_rpo_and_the_entropy_of_its_target(logit: float, gap: float) -> None:
    # Cross-entropy = KL(target ‖ policy) + entropy of the target, and the entropy knows no h.
    h = vector(logit / 0.2).requires_grad_()
    d = vector(gap)
    soft, divergence = mmpo(h, d, beta=0.2, gamma=1.5), rpo(h, d, beta=0.2, eta=1.5, kind="bwd")
    entropy = Bernoulli(logits=1.5 * d).entropy()
    torch.testing.assert_close(soft - divergence, entropy, rtol=1e-6, atol=1e-9)
    gradients = [torch.autograd.grad(loss, h)[0] for loss in (soft, divergence)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


def test_rdpo_by_hand() -> None:
    # βh − (β/β₁)·Δ = 2 − ½·(4 − 2·ln 3) = ln 3: −log ¾.
    loss = rdpo(vector(20), vector(4 - 2 * LN3), beta=0.1, beta1=0.2)
    assert loss.item() == pytest.approx(math.log(4 / 3), rel=1e-12)


@given(st.lists(st.floats(-100, 0), min_size=4, max_size=4), LOGITS, LOGITS)
def test_rdpo_is_dpo_against_a_reference_tilted_by_the_ratings(
    logps: list[float], r_w: float, r_l: float
) -> None:
    # log of ρ·e^(r/β₁) is log ρ + r/β₁; the normaliser of the prompt cancels.
    policy_w, policy_l, reference_w, reference_l = (vector(value) for value in logps)
    tilted = dpo(
        (policy_w - reference_w - r_w / 0.5) - (policy_l - reference_l - r_l / 0.5), beta=0.2
    )
    h = (policy_w - reference_w) - (policy_l - reference_l)
    torch.testing.assert_close(
        rdpo(h, vector(r_w - r_l), beta=0.2, beta1=0.5), tilted, rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("gap", [0.5, -1.0])
def test_rdpo_has_the_optimum_of_a_smaller_beta(gap: float) -> None:
    # With labels drawn at σ(Δ) DPO's best h is Δ/β; where the ratings are true RDPO's is Δ·(1/β +
    # 1/β₁), that is DPO's at ββ₁/(β + β₁).
    d = vector(gap)
    h = (d * (1 / 0.2 + 1 / 0.5)).requires_grad_()
    settings = {"beta": 0.2, "beta1": 0.5}
    mean = d.sigmoid() * rdpo(h, d, **settings) + (-d).sigmoid() * rdpo(-h, -d, **settings)
    assert torch.autograd.grad(mean, h)[0].item() == pytest.approx(0, abs=1e-12)


def test_rdpo_without_trust_is_dpo_to_the_bit() -> None:
    h = vector(-3, 0, 4)
    assert torch.equal(rdpo(h, vector(5, -2, 9), beta=0.5, beta1=math.inf), dpo(h, beta=0.5))


@given(LOGITS, LOGITS, st.floats(0.1, 10))
def test_ml_rdpo_is_a_joint_likelihood(logit: float, gap: float, variance: float) -> None:
    # The label drawn at σ(βh), the rating around βh; the normal's constant ½·log(2πV) is left out.
    loss = ml_rdpo(vector(logit / 0.2), vector(gap), beta=0.2, variance=variance)
    label = Bernoulli(logits=vector(logit)).log_prob(vector(1))
    rating = Normal(vector(logit), math.sqrt(variance)).log_prob(vector(gap))
    constant = 0.5 * math.log(2 * math.pi * variance)
    torch.testing.assert_close(loss, -label - rating - constant, rtol=1e-6, atol=1e-9)


def test_ml_rdpo_tilted_by_hand() -> None:
    # As in RDPO by hand with Δ = 4 − 2·ln 3 and βh = 2; the square is (2·ln 3 − 2)², over 2V = 4.
    loss = ml_rdpo(vector(20), vector(4 - 2 * LN3), beta=0.1, variance=2.0, beta1=0.2)
    assert loss.item() == pytest.approx(math.log(4 / 3) + (LN3 - 1) ** 2, rel=1e-12)


@pytest.mark.parametrize("name", ["sq", "bwd", "fwd", "mmpo"])
def test_swapping_the_responses_changes_nothing(name: str) -> None:
    h, d = vector(-3, 0.5, 4), vector(2, 0.1, -1)
    torch.testing.assert_close(LOSSES[name](-h, -d), LOSSES[name](h, d))


@given(
    st.floats(-100, 100), st.floats(0.01, 5), st.floats(0.01, 50), st.sampled_from(["odpo", "rdpo"])
)
def test_a_larger_h_costs_less_and_a_larger_strength_more(
    h: float, more: float, gap: float, name: str
) -> None:
    loss = LOSSES[name](vector(h), vector(gap))
    assert LOSSES[name](vector(h + more), vector(gap)) <= loss
    assert LOSSES[name](vector(h), vector(gap + more)) >= loss


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_against_finite_differences(name: str) -> None:
    h = torch.linspace(-4, 4, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: LOSSES[name](x, vector(0.3, 1, 2, 0.1, 3, 0.7)), (h,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", LOSSES)
def test_extreme_inputs_stay_finite(name: str, dtype: torch.dtype) -> None:
    h = torch.tensor([-1e3, 1e3, -1e3, 1e3, 0.0], dtype=dtype, requires_grad=True)
    losses = LOSSES[name](h, torch.tensor([1e3, 1e3, 1e-3, 1e-3, 1e3], dtype=dtype))
    losses.sum().backward()
    assert h.grad is not None
    assert bool((losses.isfinite() & h.grad.isfinite()).all())


@pytest.mark.parametrize("name", LOSSES)
def test_no_broadcasting_and_no_unknown_strength(name: str) -> None:
    with pytest.raises(ValueError, match=r"strength \(3, 1\)"):
        LOSSES[name](torch.ones(3), torch.ones(3, 1))
    with pytest.raises(ValueError, match="finite"):
        LOSSES[name](torch.ones(2), torch.tensor([1.0, math.nan]))


@pytest.mark.parametrize(
    "call",
    [
        lambda x: odpo(x, x, beta=0.0, alpha=1.0),
        lambda x: odpo(x, x, beta=0.1, alpha=-1.0),
        lambda x: rpo(x, x, beta=0.0, eta=1.0, kind="sq"),
        lambda x: rpo(x, x, beta=0.1, eta=0.0, kind="sq"),
        lambda x: rpo(x, x, beta=0.1, eta=1.0, kind="both"),
        lambda x: mmpo(x, x, beta=-0.1, gamma=1.0),
        lambda x: mmpo(x, x, beta=0.1, gamma=0.0),
        lambda x: rdpo(x, x, beta=math.nan, beta1=1.0),
        lambda x: rdpo(x, x, beta=0.1, beta1=0.0),
        lambda x: ml_rdpo(x, x, beta=0.0, variance=1.0),
        lambda x: ml_rdpo(x, x, beta=0.1, variance=0.0),
        lambda x: ml_rdpo(x, x, beta=0.1, variance=1.0, beta1=-1.0),
    ],
)
def test_values_outside_their_range(call: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(ValueError, match="must"):
        call(torch.ones(2))
