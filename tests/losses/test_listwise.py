"""PRO against values worked by hand, its pairwise case, and symmetries."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rewarddiff.losses.listwise import pro

MEANS = st.floats(-8, 0)


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_three_responses_by_hand() -> None:
    # Rewards 2, 1, 0, with e^(2·s_1) = ½, e^(s_2) = ¼, e^(2·s_3) = ¼.
    # Step 1: T_11 = T_13 = 2 and T_12 = 1: ½ of ½ + ¼ + ¼ = 1, −log ½.
    # Step 2: T_22 = T_23 = 1: e^(s_2) = ¼ against e^(s_3) = ½: ¼ of ¾, −log ⅓.
    losses = pro(vector(0.5, 0.0625, 0.25).log() / 2, vector(2, 1, 0))
    torch.testing.assert_close(losses, vector(math.log(2), math.log(3)))


@given(MEANS, MEANS, st.floats(0.01, 10), st.booleans())
def test_two_responses_are_a_logistic_of_their_gap(
    better: float, worse: float, gap: float, swapped: bool
) -> None:
    # T_11 = T_12 = T: e^(T·s_1) / (e^(T·s_1) + e^(T·s_2)) = σ(T·(s_1 − s_2)).
    logps, rewards = vector(better, worse), vector(gap, 0)
    losses = pro(logps.flip(0), rewards.flip(0)) if swapped else pro(logps, rewards)
    assert losses.shape == (1,)
    assert math.exp(-losses.item()) == pytest.approx(
        1 / (1 + math.exp(-gap * (better - worse))), rel=1e-9
    )


LISTS = st.integers(2, 6).flatmap(
    lambda k: st.tuples(
        st.lists(MEANS, min_size=k, max_size=k),
        st.lists(st.integers(-20, 20).map(lambda i: i / 4), min_size=k, max_size=k, unique=True),
        st.permutations(range(k)),
    )
)


@given(LISTS)
def test_the_order_given_does_not_matter(case: tuple[list[float], list[float], list[int]]) -> None:
    logps, rewards, order = vector(*case[0]), vector(*case[1]), case[2]
    losses = pro(logps, rewards)
    assert losses.shape == (len(order) - 1,)
    assert torch.equal(pro(logps[order], rewards[order]), losses)


@given(LISTS)
def test_only_gaps_of_rewards_matter_and_their_unit_is_a_temperature(
    case: tuple[list[float], list[float], list[int]],
) -> None:
    logps, rewards = vector(*case[0]), vector(*case[1])
    torch.testing.assert_close(pro(logps, rewards + 7), pro(logps, rewards))
    torch.testing.assert_close(pro(logps, 2 * rewards), pro(2 * logps, rewards))


def test_equal_rewards_leave_each_other_alone() -> None:
    # Rewards 1, 0, 1, 0: two steps, each against the two below, T = 1 throughout. With the means'
    # exponentials ½, ¼, ¼, ½: ½ of ½ + ¼ + ½ and ¼ of ¼ + ¼ + ½, the better ones in the order
    # given.
    logps = vector(0.5, 0.25, 0.25, 0.5).log().requires_grad_()
    losses = pro(logps, vector(1, 0, 1, 0))
    torch.testing.assert_close(losses, vector(math.log(2.5), math.log(4)))
    gradient = torch.autograd.grad(losses[0], logps)[0]
    assert gradient[2] == 0  # the equal one
    torch.testing.assert_close(gradient, vector(0.4 - 1, 0.2, 0, 0.4))  # softmax less the winner


def test_all_equal_is_no_step() -> None:
    logps = vector(-1, -2, -3).requires_grad_()
    losses = pro(logps, vector(4, 4, 4))
    assert losses.shape == (0,)
    assert torch.autograd.grad(losses.sum(), logps)[0].tolist() == [0, 0, 0]


@given(LISTS)
def test_a_step_is_unmoved_by_those_above(case: tuple[list[float], list[float], list[int]]) -> None:
    logps, rewards = vector(*case[0]), vector(*case[1])
    below = rewards < rewards.max()
    if below.sum() > 1:
        torch.testing.assert_close(pro(logps[below], rewards[below]), pro(logps, rewards)[1:])


def test_gradients_against_finite_differences() -> None:
    torch.manual_seed(0)
    logps = (-3 * torch.rand(5, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: pro(s, vector(0.5, 2, 0.5, -1, 3)), (logps,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_inputs_stay_finite(dtype: torch.dtype) -> None:
    logps = torch.tensor([-1e3, 0.0, -1e3, 1e3], dtype=dtype, requires_grad=True)
    losses = pro(logps, torch.tensor([1e3, -1e3, 0.0, 0.0], dtype=dtype))
    losses.sum().backward()
    assert logps.grad is not None
    assert len(losses) == 3
    assert bool(losses.isfinite().all())
    assert bool(logps.grad.isfinite().all())


def test_rewards_are_data() -> None:
    rewards = vector(1, 0).requires_grad_()
    pro(vector(-1, -1).requires_grad_(), rewards).sum().backward()
    assert rewards.grad is None


def test_rewards_that_only_float32_tells_apart_are_no_tie() -> None:
    # bfloat16 has eight digits of 2: 256 and 257 would be one.
    assert (
        len(pro(torch.tensor([-1.0, -2.0], dtype=torch.bfloat16), torch.tensor([257.0, 256.0])))
        == 1
    )


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_rewards_must_be_finite(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        pro(vector(-1, -1), vector(0, bad))


@pytest.mark.parametrize("shape", [(0,), (1,), (2, 2), ()])
def test_one_list_of_two_or_more(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="two or more"):
        pro(torch.zeros(shape), torch.zeros(shape))


def test_shapes_must_match() -> None:
    with pytest.raises(ValueError, match=r"rewards \(2,\)"):
        pro(torch.zeros(3), torch.zeros(2))
