"""Panels: whose vote is what, and what the majority says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from rewarddiff.differences import Differences, Pair
from rewarddiff.errors import UserError
from rewarddiff.records import Comparison, Group
from rewarddiff.scorers.grades import DataGrades
from rewarddiff.scorers.judging.options import Panel
from rewarddiff.scorers.judging.panel import ABSTAINED, PanelScorer
from rewarddiff.scorers.length import LengthScorer
from rewarddiff.scorers.protocol import Judge, Scorer
from rewarddiff.verdicts import majority

NAN = float("nan")


@dataclass(frozen=True)
class Says:
    """A scorer that says one thing of every pair."""

    d: float
    name: str = "says"
    temperature: None = None
    prompts: frozenset[str] | None = None

    def differences(
        self, groups: Sequence[Group], pairs: Sequence[Sequence[Pair]], **_: Any
    ) -> list[Differences]:
        stated = []
        for of_group in pairs:
            signs = [1.0 if a < b else -1.0 for a, b in of_group]
            stated.append(Differences.of(np.array(signs) * self.d, of_group))
        return stated


@pytest.mark.parametrize(
    ("votes", "d"),
    [
        ([1, 1, 1], 1.0),
        ([9.5, 0.1, -3], 1 / 3),
        ([1, 1, 0], 2 / 3),
        ([1, 1, NAN], 2 / 3),  # two of three is a majority of the whole panel
        ([-1, -1, NAN], -2 / 3),
        ([1, 0, -1], 0.0),
        ([1, 0, 0], 0.0),
        ([1, 0, NAN], 0.0),  # one of three is none
        ([1, NAN, NAN], NAN),  # more than half say nothing
        ([NAN, NAN, NAN], NAN),
        ([1, 1, -1, -1], 0.0),
        ([1, 1, 0, 0], 0.0),  # half is no majority
        ([1, 1, 1, NAN], 0.75),
        ([1, 1, NAN, NAN], 0.0),  # half abstain, which is not more than half
        ([1, 1, 1, -1, NAN], 0.4),
        ([1, NAN], 0.0),
        ([1], 1.0),
        ([], NAN),
    ],
)
def test_more_than_half_of_the_whole_panel_decides(votes: list[float], d: float) -> None:
    assert str(majority(np.array([votes], dtype=float).T).tolist()) == str([d])


votes_of_panels = arrays(
    np.float64,
    array_shapes(min_dims=2, max_dims=2),
    elements=st.sampled_from([-2.0, 0.0, 1.0, NAN]),
)


@given(votes_of_panels)
def test_swapping_the_sides_negates_the_majority(votes: Any) -> None:
    np.testing.assert_array_equal(majority(-votes), -majority(votes))


@given(votes_of_panels)
def test_the_order_of_the_members_does_not_matter(votes: Any) -> None:
    np.testing.assert_array_equal(majority(votes[::-1]), majority(votes))


def test_a_panel_takes_scorers_of_any_kind() -> None:
    """The data says the first is better, length says the second, and a third decides."""
    group = Group(
        "g", "Why?", ("short", "a long response"), comparisons=(Comparison(0, 1, strength=2.0),)
    )
    members = {"grades": DataGrades(), "length": LengthScorer(), "judge": Says(3.0)}
    options = Panel(of=("grades", "length", "judge"))
    panel = options.panel_of("scorers.panel", members)
    assert isinstance(panel, Judge)
    (d,) = panel.differences([group], [[(0, 1)]])
    assert d.mean.tolist() == [1 / 3]
    (d,) = panel.differences([group], [[(1, 0)]])
    assert d.mean.tolist() == [-1 / 3]
    (verdicts,) = panel.verdicts([group], [[(0, 1), (1, 0)]])
    assert verdicts.values.tolist() == [1 / 3, -1 / 3]
    assert not verdicts.turned.any()


def test_what_most_do_not_judge_is_unscored_with_its_cause() -> None:
    members: dict[str, Scorer] = {"a": Says(NAN), "b": Says(NAN), "c": Says(1.0)}
    (verdicts,) = PanelScorer("p", members).verdicts([Group("g", "x", ("a", "b"))], [[(0, 1)]])
    assert not verdicts.scored.any()
    assert verdicts.causes == (ABSTAINED,)


def test_a_group_without_pairs_has_no_verdicts() -> None:
    members: dict[str, Scorer] = {"a": Says(1.0), "b": Says(1.0)}
    (verdicts,) = PanelScorer("p", members).verdicts([Group("g", "x", ("a",))], [[]])
    assert verdicts.values.size == 0
    assert verdicts.differences.mean.size == 0


def test_a_panel_knows_what_its_members_learned_from_if_all_do() -> None:
    one = Says(1.0, prompts=frozenset({"a"}))
    other = Says(1.0, prompts=frozenset({"b"}))
    assert PanelScorer("p", {"one": one, "other": other}).prompts == {"a", "b"}
    assert PanelScorer("p", {"one": one, "other": Says(1.0)}).prompts is None


def test_a_panel_by_itself_cannot_be_asked() -> None:
    with pytest.raises(UserError, match=r"^scorers.panel: a panel needs its scorers"):
        Panel(of=("a", "b")).scorer("scorers.panel")


@pytest.mark.parametrize("of", [(), ("a",)])
def test_a_panel_has_several_members(of: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match=r"scorers\.panel\.of: names fewer than two"):
        Panel(of=of).panel_of("scorers.panel", {"a": Says(1.0)})


def test_a_panel_has_nobody_twice() -> None:
    with pytest.raises(ValueError, match="twice"):
        Panel(of=("a", "a"))
