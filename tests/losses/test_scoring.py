"""Losses of the reward and difference model."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rewarddiff.losses.scoring import bradley_terry, duplication, reverse

LOGITS = st.floats(-50, 50)


def vector(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_bradley_terry_by_hand() -> None:
    # Gaps ln 3, 0 and −ln 3: σ = ¾, ½, ¼.
    gap = math.log(3)
    losses = bradley_terry(vector(gap, 0, -gap))
    torch.testing.assert_close(losses, vector(math.log(4 / 3), math.log(2), math.log(4)))


def test_margin_by_hand() -> None:
    # A gap of 2 + ln 3 that ought to be 2 leaves ln 3; a gap of 1 that ought to be 1 leaves 0.
    losses = bradley_terry(vector(2 + math.log(3), 1), vector(2, 1))
    torch.testing.assert_close(losses, vector(math.log(4 / 3), math.log(2)))


@given(LOGITS)
def test_bradley_terry_is_the_papers_cross_entropy(d: float) -> None:
    # The paper: −[I log σ(d) + (1−I) log(1−σ(d))], checked as probabilities: e^−loss is P(the
    # labelled one wins), and the two labels' probabilities add up to 1.
    first, second = bradley_terry(vector(d, -d)).neg().exp().tolist()
    assert first + second == pytest.approx(1, rel=1e-12)
    assert first == pytest.approx(1 / (1 + math.exp(-d)), rel=1e-9)


def test_duplication_by_hand() -> None:
    d_same = vector(-3, 0, 0.5)
    assert duplication(d_same).tolist() == [9, 0, 0.25]
    assert duplication(d_same, kind="abs").tolist() == [3, 0, 0.5]
    assert duplication(d_same, kind="huber").tolist() == [5, 0, 0.25]  # 2·3 − 1; the square up to 1


def test_reverse_by_hand() -> None:
    # d(1,2) = 2 and d(2,1) = −2 agree; 2 and 1 both favour the first place, by 3 in all.
    forward, backward = vector(2, 2), vector(-2, 1)
    assert reverse(forward, backward).tolist() == [0, 9]
    assert reverse(forward, backward, kind="abs").tolist() == [0, 3]


def test_unknown_penalty() -> None:
    with pytest.raises(ValueError, match="cube"):
        duplication(vector(1), kind="cube")  # type: ignore[arg-type]


def test_gradients_against_finite_differences() -> None:
    torch.manual_seed(0)
    a, b = (torch.randn(5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(bradley_terry, (a,))
    assert torch.autograd.gradcheck(bradley_terry, (a, b))
    for kind in ("square", "abs", "huber"):
        assert torch.autograd.gradcheck(lambda x, kind=kind: duplication(x, kind=kind), (a,))
        assert torch.autograd.gradcheck(lambda x, y, kind=kind: reverse(x, y, kind=kind), (a, b))


@pytest.mark.parametrize(
    "call",
    [
        lambda row, column: bradley_terry(row, column),
        lambda row, column: reverse(row, column),
    ],
)
def test_a_column_is_not_broadcast_against_a_row(call) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="shapes differ"):
        call(torch.ones(3), torch.ones(3, 1))
