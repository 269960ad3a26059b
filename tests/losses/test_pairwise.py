"""Losses on a chosen and a rejected response: values by hand, identities, and TRL."""

import math
from collections import defaultdict
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from trl import DPOTrainer
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOTrainer

from rewarddiff.losses.pairwise import dpo, hinge, ipo, orpo, robust, simpo, slic
from rewarddiff.losses.pointwise import log_ratio

WIDE = st.floats(-1e3, 1e3)
LN3 = math.log(3)
TIGHT = {"rtol": 1e-6, "atol": 1e-9}


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def h_of(policy: Tensor, reference: Tensor) -> Tensor:
    """The policy's difference, from log-probabilities [chosen…, rejected…]."""
    chosen, rejected = log_ratio(policy, reference).chunk(2)
    return chosen - rejected


# Losses of the policy's difference h.


def test_value_by_hand() -> None:
    # h = (−10 − (−12)) − (−20 − (−19)) = 2 + 1 = 3; β = ln(3)/3 makes βh = ln 3 and σ(ln 3) = 3/4:
    # −log ¾ = log 4/3.
    h = h_of(vector(-10, -20), vector(-12, -19))
    assert h.tolist() == [3]
    assert dpo(h, beta=LN3 / 3).item() == pytest.approx(math.log(4 / 3), rel=1e-12)


def test_smoothed_value_by_hand() -> None:
    # The same pair with ε = ¼: ¾·log(4/3) + ¼·log 4, since σ(−ln 3) = 1/4.
    loss = dpo(vector(3), beta=LN3 / 3, label_smoothing=0.25)
    assert loss.item() == pytest.approx(0.75 * math.log(4 / 3) + 0.25 * math.log(4), rel=1e-12)


def test_gradient_by_hand() -> None:
    # ∂/∂log π_w = −β·σ(−βh) = −β/4 at βh = ln 3; the rejected response gets the opposite sign.
    beta = LN3 / 3
    policy = vector(-10, -20).requires_grad_()
    dpo(h_of(policy, vector(-12, -19)), beta=beta).sum().backward()
    assert policy.grad is not None
    torch.testing.assert_close(policy.grad, vector(-beta / 4, beta / 4))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
def test_policy_equal_to_reference_costs_ln_2(smoothing: float) -> None:
    loss = dpo(vector(0), beta=0.1, label_smoothing=smoothing)
    assert loss.item() == pytest.approx(math.log(2), rel=1e-12)


@given(WIDE, st.floats(0.01, 1.0))
def test_loss_of_a_pair_less_that_of_its_swap_is_minus_beta_h(h: float, beta: float) -> None:
    # −log σ(z) + log σ(−z) = −z, so the reward margin can be read off the two losses.
    gap = dpo(vector(h), beta=beta) - dpo(vector(-h), beta=beta)
    assert gap.item() == pytest.approx(-beta * h, rel=1e-9, abs=1e-9)


@given(WIDE)
def test_smoothing_mixes_the_two_labels(h: float) -> None:
    mixed = 0.7 * dpo(vector(h), beta=0.1) + 0.3 * dpo(vector(-h), beta=0.1)
    smoothed = dpo(vector(h), beta=0.1, label_smoothing=0.3)
    assert smoothed.item() == pytest.approx(mixed.item(), rel=1e-12)


def test_extreme_log_ratios_stay_finite_in_float32() -> None:
    assert dpo(torch.tensor([-2000.0, 2000.0]), beta=1.0).tolist() == [2000.0, 0.0]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_gradients_against_finite_differences(smoothing: float) -> None:
    h = torch.linspace(-5, 5, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: dpo(x, beta=0.7, label_smoothing=smoothing), (h,))


@pytest.mark.parametrize(
    "settings", [{"beta": 0.0}, {"beta": math.nan}, {"beta": 0.1, "label_smoothing": 0.5}]
)
def test_hyperparameters_outside_their_range(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        dpo(torch.zeros(1), **settings)


def test_robust_by_hand() -> None:
    # βh = ln 3, ε = ¼: [¾·log(4/3) − ¼·log 4] / (1 − ½).
    loss = robust(vector(LN3), beta=1.0, label_smoothing=0.25)
    assert loss.item() == pytest.approx(1.5 * math.log(4 / 3) - 0.5 * math.log(4), rel=1e-12)


@given(WIDE, st.floats(0, 0.45))
def test_robust_is_unbiased_under_flipped_labels(h: float, flipped: float) -> None:
    # A label flipped with probability ε shows −h: the mean over labels is DPO's loss of the true
    # one, log(1 + e^−βh) = max(0, −βh) + log1p(e^−|βh|).
    settings = {"beta": 0.3, "label_smoothing": flipped}
    mean = (1 - flipped) * robust(vector(h), **settings) + flipped * robust(vector(-h), **settings)
    clean = max(0.0, -0.3 * h) + math.log1p(math.exp(-0.3 * abs(h)))
    assert mean.item() == pytest.approx(clean, rel=1e-9, abs=1e-9)


def test_robust_without_noise_is_dpo_to_the_bit() -> None:
    h = 100 * torch.randn(100, generator=torch.Generator().manual_seed(0))
    assert torch.equal(robust(h, beta=0.3, label_smoothing=0.0), dpo(h, beta=0.3))


def test_ipo_by_hand() -> None:
    # τ = 0.1 asks for h = 1/0.2 = 5; 3 and 7 miss it by 2, −1 by 6.
    assert ipo(vector(5, 3, 7, -1), tau=0.1).tolist() == pytest.approx([0, 4, 4, 36])


# Losses of the policy's log-probabilities alone.


def test_simpo_by_hand() -> None:
    # β(p_w − p_l) − γ = 2·(−1 + 3) − (4 − ln 3) = ln 3: −log ¾. A shift of both means changes
    # nothing.
    settings = {"beta": 2.0, "gamma": 4 - LN3}
    losses = simpo(vector(-1, -11), vector(-3, -13), **settings)
    torch.testing.assert_close(losses, vector(math.log(4 / 3), math.log(4 / 3)))


def test_orpo_by_hand() -> None:
    # Probabilities ¾ and ½ have odds 3 and 1: −log σ(ln 3) = log 4/3, and −p_w = log 4/3 as well.
    loss = orpo(vector(0.75).log(), vector(0.5).log(), weight=0.5)
    assert loss.item() == pytest.approx(1.5 * math.log(4 / 3), rel=1e-12)


@given(st.floats(0.001, 0.999), st.floats(0.001, 0.999))
def test_orpo_is_a_share_of_odds(p_w: float, p_l: float) -> None:
    # σ(log a − log b) = a / (a + b).
    odds_w, odds_l = p_w / (1 - p_w), p_l / (1 - p_l)
    odds_term = orpo(vector(p_w).log(), vector(p_l).log(), weight=1.0) + math.log(p_w)
    assert math.exp(-odds_term.item()) == pytest.approx(odds_w / (odds_w + odds_l), rel=1e-9)


def test_orpo_keeps_its_digits_next_to_certainty() -> None:
    # p_w = −x has odds 1/(e^x − 1), p_l = log ½ has 1: the odds term is log(1 + e^x − 1) = x, the
    # loss 2x. Through 1 − e^p the odds of x = 1e-10 would be wrong from the seventh digit on.
    loss = orpo(vector(-1e-10), vector(0.5).log(), weight=1.0)
    assert loss.item() == pytest.approx(2e-10, rel=1e-9, abs=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_orpo_at_certainty_is_finite(dtype: torch.dtype) -> None:
    chosen = torch.tensor([0.0, -1.0, 0.0, -1e-30], dtype=dtype, requires_grad=True)
    rejected = torch.tensor([-1.0, 0.0, 0.0, -1e3], dtype=dtype, requires_grad=True)
    losses = orpo(chosen, rejected, weight=0.1)
    losses.sum().backward()
    assert chosen.grad is not None
    assert rejected.grad is not None
    assert bool((losses.isfinite() & chosen.grad.isfinite() & rejected.grad.isfinite()).all())
    assert losses[0] < losses[2] < losses[1]  # certain of the better one, of both, of the worse one


def test_hinge_by_hand() -> None:
    # Leads of 1 and −1: without a margin only the second loses, by 1; a margin of 1.5 leaves 0.5
    # and 2.5.
    chosen, rejected = vector(-1, -2).requires_grad_(), vector(-2, -1).requires_grad_()
    losses = hinge(chosen, rejected)
    assert losses.tolist() == [0, 1]
    assert hinge(chosen, rejected, margin=1.5).tolist() == [0.5, 2.5]
    losses.sum().backward()
    assert chosen.grad is not None
    assert rejected.grad is not None
    assert chosen.grad.tolist() == [0, -1]
    assert rejected.grad.tolist() == [0, 1]


def test_slic_by_hand() -> None:
    # A lead of −0.5 misses δ = 1 by 1.5; a lead of 2 does not. The likelihood adds 0.5·4 to either.
    losses = slic(vector(-4, -4), vector(-3.5, -6), delta=1.0, weight=0.5)
    assert losses.tolist() == [3.5, 2.0]


# What holds for all of them.

OF_H: dict[str, Callable[[Tensor], Tensor]] = {
    "dpo": lambda h: dpo(h, beta=0.7),
    "smoothed": lambda h: dpo(h, beta=0.7, label_smoothing=0.2),
    "robust": lambda h: robust(h, beta=0.7, label_smoothing=0.2),
    "ipo": lambda h: ipo(h, tau=0.3),
}
OF_TWO: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "simpo": lambda w, r: simpo(w, r, beta=2.5, gamma=1.375),
    "orpo": lambda w, r: orpo(w, r, weight=0.3),
    "hinge": lambda w, r: hinge(w, r, margin=0.5),
    "slic": lambda w, r: slic(w, r, delta=0.5, weight=0.1),
}


@pytest.mark.parametrize("name", OF_H)
def test_gradients_of_h(name: str) -> None:
    h = torch.linspace(-5, 5, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(OF_H[name], (h,))


@pytest.mark.parametrize("name", OF_TWO)
def test_gradients_of_two(name: str) -> None:
    torch.manual_seed(0)
    chosen, rejected = (-3 * torch.rand(2, 7, dtype=torch.float64) - 0.01).unbind()
    assert torch.autograd.gradcheck(
        OF_TWO[name], (chosen.requires_grad_(), rejected.requires_grad_())
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", [*OF_H, *OF_TWO])
def test_extreme_inputs_stay_finite(name: str, dtype: torch.dtype) -> None:
    far = torch.tensor([-1e3, 1e3, -1e3], dtype=dtype, requires_grad=True)
    if name in OF_H:
        losses = OF_H[name](far)
    else:
        losses = OF_TWO[name](
            far, torch.tensor([1e3, -1e3, -1e3], dtype=dtype) if name != "orpo" else far.flip(0)
        )
    losses.sum().backward()
    assert far.grad is not None
    assert bool((losses.isfinite() & far.grad.isfinite()).all())


@given(WIDE, st.floats(1e-3, 10), st.sampled_from(["dpo", "robust"]))
def test_a_larger_h_costs_less(h: float, more: float, name: str) -> None:
    assert OF_H[name](vector(h + more)) <= OF_H[name](vector(h))


@given(
    st.floats(-50, -1e-3),
    st.floats(-50, -1e-3),
    st.floats(0.01, 0.99),
    st.sampled_from(list(OF_TWO)),
)
def test_a_likelier_chosen_response_costs_less(
    chosen: float, rejected: float, share: float, name: str
) -> None:
    nearer = OF_TWO[name](vector(chosen * share), vector(rejected))
    assert nearer <= OF_TWO[name](vector(chosen), vector(rejected))


@pytest.mark.parametrize("name", OF_TWO)
def test_no_broadcasting(name: str) -> None:
    row = -torch.ones(3)
    with pytest.raises(ValueError, match=r"rejected \(3, 1\)"):
        OF_TWO[name](row, row.unsqueeze(1))


@pytest.mark.parametrize(
    "call",
    [
        lambda x: dpo(x, beta=-1.0),
        lambda x: robust(x, beta=0.0, label_smoothing=0.1),
        lambda x: robust(x, beta=0.1, label_smoothing=0.5),
        lambda x: robust(x, beta=0.1, label_smoothing=-0.1),
        lambda x: ipo(x, tau=0.0),
        lambda x: simpo(x, x, beta=0.0, gamma=1.0),
        lambda x: simpo(x, x, beta=1.0, gamma=-1.0),
        lambda x: orpo(x, x, weight=-0.1),
        lambda x: hinge(x, x, margin=-0.1),
        lambda x: slic(x, x, delta=-0.1, weight=0.1),
        lambda x: slic(x, x, delta=0.1, weight=math.nan),
    ],
)
def test_values_outside_their_range(call: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(ValueError, match="must"):
        call(-torch.ones(2))


# TRL as referee. Its loss functions are called unbound, on a stand-in that holds the settings they
# read.


def stand_in(**settings: object) -> SimpleNamespace:
    accelerator = SimpleNamespace(device="cpu", gather=lambda x: x, gather_for_metrics=lambda x: x)
    return SimpleNamespace(
        accelerator=accelerator, model=SimpleNamespace(training=True), aux_loss_enabled=False,
        _metrics=defaultdict(lambda: defaultdict(list)), _total_train_tokens=0, _tp_size=1, **settings,
    )  # fmt: skip


def trl_dpo(
    policy: Tensor, reference: Tensor, log_sum_sq: Tensor | None = None, **settings: object
) -> Tensor:
    """TRL's mean loss; policy and reference are [chosen…, rejected…], one token each."""

    def model(**_: object) -> SimpleNamespace:
        column = policy.unsqueeze(1)
        sums = None if log_sum_sq is None else log_sum_sq.unsqueeze(1)
        zero = torch.zeros_like(column)
        return SimpleNamespace(
            log_probs=column,
            log_sum_sq_probs=sums,
            entropy=zero,
            mean_logits=zero,
            is_top1=zero > 0,
        )

    trainer = stand_in(
        ld_alpha=None, precompute_ref_logps=True, f_divergence_type="reverse_kl", loss_weights=[1.0],
        **{"use_weighting": False, "label_smoothing": 0.0, **settings},
    )  # fmt: skip
    two_tokens = torch.ones(len(policy), 2, dtype=torch.long)
    chosen, rejected = reference.chunk(2)
    mask = torch.tensor([[0, 1]] * len(policy))
    inputs = {"input_ids": two_tokens, "attention_mask": two_tokens, "completion_mask": mask}
    inputs |= {"ref_chosen_logps": chosen, "ref_rejected_logps": rejected}
    return DPOTrainer._compute_loss(trainer, model, inputs, False)


def spread(pairs: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    policy = -300 * torch.rand(2 * pairs, dtype=torch.float64) - 5
    return policy, policy + 40 * torch.randn(2 * pairs, dtype=torch.float64)


def assert_equal_with_gradients(
    ours: Tensor, theirs: Tensor, inputs: Tensor, **tolerance: float
) -> None:
    torch.testing.assert_close(ours, theirs, **tolerance)
    gradients = [torch.autograd.grad(loss, inputs)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients, **tolerance)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
def test_robust_equals_trl(smoothing: float) -> None:
    policy, reference = spread(64)
    policy.requires_grad_()
    settings = {"beta": 0.1, "label_smoothing": smoothing}
    theirs = trl_dpo(policy, reference, loss_types=["robust"], **settings)
    ours = robust(h_of(policy, reference), **settings).mean()
    assert_equal_with_gradients(ours, theirs, policy, **TIGHT)


def test_ipo_equals_trl() -> None:
    policy, reference = spread(64)  # one token a response: sums are means
    policy.requires_grad_()
    theirs = trl_dpo(policy, reference, loss_types=["ipo"], beta=0.2)
    ours = ipo(h_of(policy, reference), tau=0.2).mean()
    assert_equal_with_gradients(ours, theirs, policy, **TIGHT)


def test_hinge_equals_trl() -> None:
    # TRL's is max(0, 1 − βh): a margin of 1 between rewards β·log π/ρ.
    policy, reference = spread(64)
    policy.requires_grad_()
    theirs = trl_dpo(policy, reference, loss_types=["hinge"], beta=0.02)
    ours = hinge(*(0.02 * (policy - reference)).chunk(2), margin=1.0).mean()
    assert_equal_with_gradients(ours, theirs, policy, **TIGHT)


def test_simpo_equals_trl() -> None:
    means = spread(64)[0].div(100).requires_grad_()
    trainer = stand_in(
        loss_type="simpo", beta=2.5, simpo_gamma=1.375, alpha=0.0, label_smoothing=0.0
    )
    theirs = CPOTrainer.cpo_loss(trainer, *means.chunk(2))[0].sum()
    assert_equal_with_gradients(
        simpo(*means.chunk(2), beta=2.5, gamma=1.375).sum(), theirs, means, **TIGHT
    )


def test_orpo_equals_trl() -> None:
    # TRL works in float32 and gives +λ·log σ, which it subtracts from the likelihood term.
    means = spread(64)[0].div(100).requires_grad_()
    chosen, rejected = means.chunk(2)
    theirs = (-chosen - ORPOTrainer.odds_ratio_loss(stand_in(beta=0.3), chosen, rejected)[0]).sum()
    assert_equal_with_gradients(
        orpo(chosen, rejected, weight=0.3).sum(), theirs, means, rtol=1e-6, atol=1e-6
    )
