"""Where losses meet coefficients: identity 1 of the method, on small linear models."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rewarddiff.coefficients import CoefficientConfig, Negative, weigh
from rewarddiff.differences import Differences
from rewarddiff.losses.pairwise import dpo
from rewarddiff.losses.reduce import weighted_sum

PAIRS = 64


def gradient(
    weights: torch.Tensor | None, signed: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss and gradient of a linear policy trained by DPO on fixed random features."""
    draw = torch.Generator().manual_seed(0)
    chosen, rejected = torch.randn(2, PAIRS, 8, generator=draw)
    reference = torch.randn(PAIRS, generator=draw)
    policy = torch.randn(8, generator=draw).requires_grad_()
    losses = dpo(chosen @ policy - rejected @ policy - reference, beta=0.5)
    loss = losses.sum() if weights is None else weighted_sum(losses, weights, signed=signed)
    loss.backward()
    assert policy.grad is not None
    return loss.detach(), policy.grad


def differences() -> np.ndarray:
    return np.random.default_rng(0).normal(0.5, 1.0, PAIRS)


def test_sum_by_hand() -> None:
    assert weighted_sum(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.5, 0.0, 2.0])).item() == 6.5


@pytest.mark.parametrize("negative", ["clip", "abs", "floor", "signed"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_alpha_zero_is_the_unweighted_method_to_the_bit(
    negative: Negative, dtype: torch.dtype
) -> None:
    config = CoefficientConfig(alpha=0.0, negative=negative, normalise="mean")
    (weights,) = weigh([Differences.of(differences())], config).weights
    loss, grad = gradient(torch.tensor(weights, dtype=dtype))
    plain_loss, plain_grad = gradient(None)
    assert torch.equal(loss, plain_loss)
    assert torch.equal(grad, plain_grad)


@pytest.mark.parametrize("c", [0.25, 2.0, 1024.0])
def test_a_power_of_two_multiplies_loss_and_gradient_to_the_bit(c: float) -> None:
    loss, grad = gradient(torch.full((PAIRS,), c))
    plain_loss, plain_grad = gradient(None)
    assert torch.equal(loss, c * plain_loss)
    assert torch.equal(grad, c * plain_grad)


@given(st.floats(1e-3, 1e3))
def test_a_constant_multiplies_the_gradient(c: float) -> None:
    torch.testing.assert_close(
        gradient(torch.full((PAIRS,), c))[1], c * gradient(None)[1], rtol=1e-4, atol=1e-4 * c
    )


def test_coefficient_zero_gives_zero_gradient() -> None:
    assert not gradient(torch.zeros(PAIRS))[1].any()


def test_a_pair_of_coefficient_zero_is_as_if_it_were_not_there() -> None:
    losses = torch.tensor([1.0, 5.0, 2.0], requires_grad=True)
    weighted_sum(losses, torch.tensor([3.0, 0.0, 0.5])).backward()
    assert losses.grad is not None
    assert losses.grad.tolist() == [3.0, 0.0, 0.5]


def test_the_gradient_is_the_weighted_sum_of_the_pairs_gradients() -> None:
    weights = torch.rand(PAIRS, generator=torch.Generator().manual_seed(1))
    alone = torch.stack([gradient(torch.eye(PAIRS)[i])[1] for i in range(PAIRS)])
    torch.testing.assert_close(gradient(weights)[1], weights @ alone, rtol=1e-4, atol=1e-5)


def test_micro_batches_add_up() -> None:
    losses = torch.rand(10, dtype=torch.float64)
    weights = torch.rand(10, dtype=torch.float64)
    parts = sum(weighted_sum(losses[i : i + 3], weights[i : i + 3]) for i in range(0, 10, 3))
    torch.testing.assert_close(parts, weighted_sum(losses, weights))


def test_coefficients_are_constants() -> None:
    weights = torch.ones(2, requires_grad=True)
    weighted_sum(torch.ones(2, requires_grad=True), weights).backward()
    assert weights.grad is None


def test_shapes_must_match() -> None:
    with pytest.raises(ValueError, match=r"losses \(3,\), coefficients \(3, 1\)"):
        weighted_sum(torch.ones(3), torch.ones(3, 1))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_coefficients_must_be_finite(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        weighted_sum(torch.ones(2), torch.tensor([1.0, bad]))


def test_negative_coefficients_only_when_asked_for() -> None:
    with pytest.raises(ValueError, match="non-negative"):
        weighted_sum(torch.ones(2), torch.tensor([1.0, -1.0]))
    assert weighted_sum(torch.ones(2), torch.tensor([1.0, -3.0]), signed=True).item() == -2.0


def test_no_losses_sum_to_zero() -> None:
    assert weighted_sum(torch.zeros(0), torch.zeros(0)).item() == 0.0
