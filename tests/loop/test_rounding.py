"""Rounding by chance: the mean is the number, and nothing but its two neighbours comes out."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rewarddiff.loop.rounding import generator, stochastically

CPU = torch.device("cpu")


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_number_between_two_goes_up_as_often_as_it_is_near(share: float, sign: float) -> None:
    # bfloat16 has 7 bits behind the leading one: the neighbour of 1 is 1 + 1/128.
    exact = torch.full((40_000,), sign * (1 + share / 128))
    rounded = stochastically(exact, generator(CPU, 1)).float()
    assert set(rounded.tolist()) == {sign, sign * (1 + 1 / 128)}
    upper = (rounded.abs() > 1).float().mean().item()
    assert upper == pytest.approx(share, abs=5 * math.sqrt(share * (1 - share) / 40_000))


@given(
    st.floats(-(2.0**100), 2.0**100, width=32).filter(lambda x: abs(x) > 1e-30),
    st.integers(0, 2**31),
)
@settings(max_examples=60, deadline=None)
def test_the_mean_of_many_draws_is_the_number(number: float, seed: int) -> None:
    draws = 20_000
    rounded = stochastically(torch.full((draws,), number), generator(CPU, seed)).double()
    step = 2.0 ** (math.floor(math.log2(abs(number))) - 7)
    assert (rounded - number).abs().max().item() < step
    # A draw of two values a step apart has a standard deviation of half a step at most.
    assert abs(rounded.mean().item() - number) < 5 * 0.5 * step / math.sqrt(draws)


def test_what_bfloat16_has_and_what_is_no_number_stay() -> None:
    numbers = torch.tensor([0.0, -0.0, 1.5, -3.25, 2.0**-120, math.inf, -math.inf, math.nan])
    # The NaN with all bits set: carried over it would become a number.
    full = torch.tensor([0x7FFFFFFF, -1], dtype=torch.int32).view(torch.float32)
    exact = torch.cat([numbers, full]).repeat(1000)
    rounded = stochastically(exact, generator(CPU, 2)).float()
    assert torch.equal(rounded.isnan(), exact.isnan())
    numbers_at = ~exact.isnan()
    assert torch.equal(rounded[numbers_at], exact[numbers_at])


def test_a_draw_is_determined_by_its_numbers() -> None:
    exact = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    once = stochastically(exact, generator(CPU, 3, 1))
    assert torch.equal(once, stochastically(exact, generator(CPU, 3, 1)))
    assert not torch.equal(once, stochastically(exact, generator(CPU, 3, 2)))
