"""Differences: identities to the bit, and orientation worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rewarddiff.differences import Differences, both_orders, by_group, joined
from rewarddiff.errors import UserError

VALUES = st.floats(-1e6, 1e6)


@st.composite
def stated(draw: st.DrawFn) -> Differences:
    """All pairs a < b of four responses, by one to three heads, read in one order or in both."""
    pairs = tuple((a, b) for a in range(4) for b in range(a + 1, 4))
    heads = draw(st.integers(1, 3))
    shape = (len(pairs), heads)
    backward = None
    if draw(st.booleans()):
        backward = draw(arrays(np.float64, shape, elements=VALUES))
    return Differences(
        pairs,
        draw(arrays(np.float64, shape, elements=VALUES)),
        backward=backward,
        weights=(1 / heads,) * heads,
        ensemble=heads > 1,
        rewards=draw(arrays(np.float64, (len(pairs), 2), elements=VALUES)),
    )


def same(one: Differences, other: Differences) -> bool:
    arrays_of = [(d.forward, d.backward, d.rewards) for d in (one, other)]
    alike = all(
        (a is None and b is None) or np.array_equal(a, b) for a, b in zip(*arrays_of, strict=True)
    )
    return alike and one.pairs == other.pairs


@given(stated())
def test_swapping_twice_changes_nothing(d: Differences) -> None:
    assert same(d.swap().swap(), d)


@given(stated())
def test_swapping_turns_the_sign_to_the_bit(d: Differences) -> None:
    assert (d.swap().mean == -d.mean).all()
    assert (d.swap().by_head == -d.by_head).all()
    assert d.swap().pairs == tuple((b, a) for a, b in d.pairs)
    assert d.rewards is not None
    assert np.array_equal(d.swap().rewards, d.rewards[:, ::-1])
    if d.ensemble:
        np.testing.assert_allclose(d.swap().spread, d.spread)


@given(stated(), st.permutations(range(6)), st.lists(st.booleans(), min_size=6, max_size=6))
def test_orientation_takes_pairs_in_any_order_and_either_way(
    d: Differences, order: list[int], turned: list[bool]
) -> None:
    pairs = []
    expected = []
    for place, is_turned in zip(order, turned, strict=True):
        a, b = d.pairs[place]
        pairs.append((b, a) if is_turned else (a, b))
        expected.append(-d.mean[place] if is_turned else d.mean[place])
    assert d.oriented(pairs).mean.tolist() == expected
    assert same(d.oriented(d.pairs), d)
    assert same(d.oriented([(b, a) for a, b in d.pairs]), d.swap())


@given(stated(), st.integers(0, 6))
def test_joining_what_was_parted_changes_nothing(d: Differences, cut: int) -> None:
    first, second = d.oriented(d.pairs[:cut]), d.oriented(d.pairs[cut:])
    together = joined([first, second])
    assert same(together, d)
    assert [part.tolist() for part in by_group(together.mean, [cut, 6 - cut])] == [
        first.mean.tolist(),
        second.mean.tolist(),
    ]


def test_both_single_orders_are_kept_apart() -> None:
    """Of (0, 1) and (1, 0) read by themselves each is found as it was read."""
    d = Differences.of([2.0, 1.0], [(0, 1), (1, 0)], apart=False)
    assert d.oriented([(1, 0)]).mean.tolist() == [1.0]
    assert d.swap().mean.tolist() == [-2.0, -1.0]


def test_readings() -> None:
    """Three pairs of three responses: three texts of one response; of two, three or six."""
    pairs = ((0, 1), (0, 2), (1, 2))
    one = np.ones((3, 1))
    assert Differences(pairs, one, apart=True).readings == 3
    assert Differences(pairs, one).readings == 3
    assert Differences(pairs, one, backward=one).readings == 6


def test_a_temperature_divides_everything() -> None:
    d = Differences(((0, 1),), np.array([[3.0, 1.0]]), backward=np.array([[-1.0, -1.0]]),
                    weights=(0.5, 0.5), ensemble=True)  # fmt: skip
    assert d.over(2.0).mean.tolist() == [d.mean[0] / 2]
    assert d.over(2.0).spread == pytest.approx(d.spread / 2)


def test_what_was_not_compared_or_has_no_spread() -> None:
    d = Differences.of([1.0], [(0, 1)])
    with pytest.raises(ValueError, match="responses 0 and 2 were not compared"):
        d.oriented([(0, 2)])
    with pytest.raises(UserError, match="one head, and so no spread"):
        _ = d.spread
    with pytest.raises(ValueError, match="no differences to join"):
        joined([])
    with pytest.raises(ValueError, match="3 values for groups of 2"):
        by_group(np.arange(3.0), [1, 1])
    with pytest.raises(ValueError, match="one-dimensional"):
        Differences.of([[1.0], [2.0]])


@given(arrays(np.float64, (2, 20), elements=st.floats(-1e6, 1e6)))
def test_both_orders_are_antisymmetric_to_the_bit(readings: np.ndarray) -> None:
    forward, backward = readings
    assert (both_orders(forward, backward) + both_orders(backward, forward) == 0).all()
    assert (
        both_orders(forward, forward) == 0
    ).all()  # a response against itself reads the same both ways


def test_both_orders_by_hand() -> None:
    # 3 in favour of the first, then 1 in favour of the first place again: half of 3 − 1.
    assert both_orders([3.0], [1.0]).tolist() == [1.0]
    with pytest.raises(ValueError, match="shapes differ"):
        both_orders([1.0, 2.0], [1.0])
