"""Losses of single responses: values by hand, identities, and TRL's KTO."""

import math
from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from trl import KTOTrainer

from rewarddiff.losses.pointwise import anchored_nll, kl_estimate, kto, log_ratio, nll

LN3 = math.log(3)
RATIOS = st.floats(-500, 500)


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def labels(*values: bool) -> Tensor:
    return torch.tensor(values)


def test_log_ratio_by_hand() -> None:
    # −10 + 12 = 2 nats over 4 tokens: ½ a token; a response that the reference likes more is below 0
    policy, reference = vector(-10, -20), vector(-12, -19)
    assert log_ratio(policy, reference).tolist() == [2, -1]
    lengths = vector(4, 2)
    assert log_ratio(policy, reference, lengths=lengths).tolist() == [0.5, -0.5]


def test_nll_by_hand() -> None:
    # Three tokens of probability ½: 3 ln 2 nats.
    assert nll(3 * vector(0.5).log()).item() == pytest.approx(3 * math.log(2))


def test_kto_by_hand() -> None:
    # β(q − z₀) = 0.1·(10·ln 3 + 2 − 2) = ln 3, and −ln 3 for the third: desirable 1 − ¾ and 1 − ¼,
    # undesirable 1 − σ(−ln 3) = ¾.
    ratios = vector(10 * LN3 + 2, 10 * LN3 + 2, 2 - 10 * LN3)
    losses = kto(ratios, labels(True, False, True), kl=torch.tensor(2.0), beta=0.1)
    torch.testing.assert_close(losses, vector(0.25, 0.75, 0.75))


def test_kto_gradient_by_hand() -> None:
    # ±β·σ(z)·(1 − σ(z)) = ±0.1·¾·¼: a desirable response is pushed up, an undesirable one down.
    ratios = vector(10 * LN3, 10 * LN3).requires_grad_()
    kto(ratios, labels(True, False), kl=torch.tensor(0.0), beta=0.1).sum().backward()
    assert ratios.grad is not None
    torch.testing.assert_close(ratios.grad, vector(-0.01875, 0.01875))


def test_each_weight_is_its_classes() -> None:
    settings = {"kl": torch.tensor(1.0), "beta": 0.1}
    ratios, which = vector(3, -2), labels(True, False)
    losses = kto(ratios, which, **settings, desirable_weight=4.0, undesirable_weight=0.5)
    torch.testing.assert_close(losses, vector(4, 0.5) * kto(ratios, which, **settings))


@given(RATIOS, st.floats(0, 100))
def test_the_other_label_is_the_mirror_image_around_z0(ratio: float, z0: float) -> None:
    settings = {"kl": torch.tensor(z0, dtype=torch.float64), "beta": 0.2}
    desirable = kto(vector(ratio), labels(True), **settings)
    mirrored = kto(vector(2 * z0 - ratio), labels(False), **settings)
    torch.testing.assert_close(desirable, mirrored, rtol=1e-9, atol=1e-12)


@given(RATIOS, st.floats(0, 100), st.floats(0.01, 5), st.booleans())
def test_kto_falls_or_rises_with_the_ratio_by_label(
    ratio: float, z0: float, more: float, desirable: bool
) -> None:
    settings = {"kl": torch.tensor(z0, dtype=torch.float64), "beta": 0.2}
    now, then = kto(vector(ratio, ratio + more), labels(desirable, desirable), **settings)
    assert (then <= now) if desirable else (then >= now)
    assert 0 <= now <= 1


def test_z0_is_a_constant() -> None:
    kl = torch.tensor(1.0, requires_grad=True)
    kto(vector(3, -2).requires_grad_(), labels(True, False), kl=kl, beta=0.1).sum().backward()
    assert kl.grad is None


def test_kl_estimate_by_hand() -> None:
    assert kl_estimate(vector(1, 2, -0.5, 1.5)).item() == 1
    assert kl_estimate(vector(1, -2)).item() == 0
    assert not kl_estimate(vector(1, 2).requires_grad_()).requires_grad


@pytest.mark.parametrize("bad", [[], [math.nan, 1.0], [math.inf]])
def test_kl_estimate_needs_finite_values(bad: list[float]) -> None:
    with pytest.raises(ValueError, match=r"at least one|finite"):
        kl_estimate(vector(*bad))


def test_anchored_nll_by_hand() -> None:
    # Fallen from −7 to −8, risen from −9, unmoved: only the first is defended, by its mean, and
    # only it has a gradient.
    means, sums = vector(-2, -2, -2).requires_grad_(), vector(-8, -8, -8).requires_grad_()
    losses = anchored_nll(means, sums, vector(-7, -9, -8))
    assert losses.tolist() == [2, 0, 0]
    losses.sum().backward()
    assert means.grad is not None
    assert means.grad.tolist() == [-1, 0, 0]
    assert sums.grad is None


def test_gradients_against_finite_differences() -> None:
    torch.manual_seed(0)
    ratios, sums = (4 * torch.randn(2, 6, dtype=torch.float64)).unbind()
    which = labels(True, False, True, True, False, False)
    ratios.requires_grad_()
    settings = {
        "kl": torch.tensor(0.7),
        "beta": 0.4,
        "desirable_weight": 1.5,
        "undesirable_weight": 0.6,
    }
    assert torch.autograd.gradcheck(lambda x: kto(x, which, **settings), (ratios,))
    assert torch.autograd.gradcheck(lambda x: anchored_nll(x, sums, sums.flip(0)), (ratios,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_ratios_stay_finite(dtype: torch.dtype) -> None:
    far = torch.tensor([-1e3, 1e3, -1e3, 1e3], dtype=dtype, requires_grad=True)
    losses = kto(far, labels(True, True, False, False), kl=torch.tensor(0.0), beta=1.0)
    losses.sum().backward()
    assert losses.tolist() == [1, 0, 0, 1]
    assert far.grad is not None
    assert bool(far.grad.isfinite().all())


def test_shapes_and_types() -> None:
    row, zero = torch.zeros(3), torch.tensor(0.0)
    with pytest.raises(ValueError, match=r"desirable \(3, 1\)"):
        kto(row, torch.ones(3, 1, dtype=torch.bool), kl=zero, beta=0.1)
    with pytest.raises(ValueError, match="boolean"):
        kto(row, torch.ones(3), kl=zero, beta=0.1)
    with pytest.raises(ValueError, match=r"reference \(3, 1\)"):
        anchored_nll(row, row, row.unsqueeze(1))
    with pytest.raises(ValueError, match=r"reference \(3, 1\)"):
        log_ratio(row, row.unsqueeze(1))
    with pytest.raises(ValueError, match=r"lengths \(3, 1\)"):
        log_ratio(row, row, lengths=row.unsqueeze(1))


@pytest.mark.parametrize(
    "settings",
    [
        {"kl": torch.tensor(-0.1)},
        {"kl": torch.tensor(math.nan)},
        {"kl": torch.zeros(3)},
        {"beta": 0.0},
        {"desirable_weight": -1.0},
        {"undesirable_weight": -1.0},
    ],
)
def test_values_outside_their_range(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must"):
        kto(
            torch.zeros(3),
            torch.ones(3, dtype=torch.bool),
            **{"kl": torch.tensor(0.0), "beta": 0.1, **settings},
        )


@pytest.mark.parametrize("shift", [-5.0, 5.0])  # a mean ratio below 0, and one above
def test_kto_equals_trl(shift: float) -> None:
    # TRL's loss is called unbound, on a stand-in that holds the settings it reads; one token a
    # response.
    torch.manual_seed(2)
    policy = (-300 * torch.rand(32, dtype=torch.float64) - 5).requires_grad_()
    reference = policy.detach() + 20 * torch.randn(32, dtype=torch.float64)
    mismatched = 10 * torch.randn(32, dtype=torch.float64) + shift
    which = torch.rand(32) < 0.4

    def model(**_: object) -> SimpleNamespace:
        column = policy.unsqueeze(1)
        zero = torch.zeros_like(column)
        return SimpleNamespace(log_probs=column, entropy=zero, mean_logits=zero)

    trainer = SimpleNamespace(
        accelerator=SimpleNamespace(device="cpu", gather_for_metrics=lambda x: x),
        model=SimpleNamespace(training=True), aux_loss_enabled=False, _total_train_tokens=0, _tp_size=1,
        _metrics=defaultdict(lambda: defaultdict(list)), _compute_kl_logps=lambda *_: mismatched,
        loss_type="kto", beta=0.05, desirable_weight=1.5, undesirable_weight=0.7, calculate_KL=True,
        precompute_ref_logps=True,
    )  # fmt: skip
    two_tokens = torch.ones(32, 2, dtype=torch.long)
    inputs = {"input_ids": two_tokens, "attention_mask": two_tokens, "label": which}
    inputs |= {"completion_mask": torch.tensor([[0, 1]] * 32)}
    inputs |= {"ref_logps": reference, "ref_KL_logps": torch.zeros_like(mismatched)}
    theirs = KTOTrainer._compute_loss(trainer, model, inputs, False)

    z0 = kl_estimate(mismatched)
    assert (z0 > 0) == (shift > 0)
    ours = kto(
        log_ratio(policy, reference),
        which,
        kl=z0,
        beta=0.05,
        desirable_weight=1.5,
        undesirable_weight=0.7,
    ).mean()
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)
    gradients = [torch.autograd.grad(loss, policy)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-9)
