"""Ranking by comparisons: worked by hand from single readings, by identities, and shared against
unshared reading."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rewarddiff.designs import DesignConfig, comparisons
from rewarddiff.differences import Differences
from rewarddiff.errors import UserError
from rewarddiff.records import Comparison, Group
from rewarddiff.scorers.design_figures import compare_designs
from rewarddiff.scorers.neural import scorer as base
from rewarddiff.scorers.neural.readers import Forest
from rewarddiff.scorers.ranking import rank, scores

from .conftest import BACKBONES, make, means, readings

DESIGNS = [
    DesignConfig(),
    DesignConfig("all", seed=3),
    DesignConfig("anchor"),
    DesignConfig("budget", 8),
]
SIX = Group(
    "six",
    "Name a tree",
    ("Oak", "An elm, perhaps", "Fir", "A rose", "Seven", "Birch!"),
    (5, 4, 3, 2, 1, 0),
)


def readings_of(scorer, group, design):
    texts = scorer.reader.texts
    page = texts.page(group)
    return [
        texts.reading(page, *pair) for pair in comparisons(len(group.responses), design, group.id)
    ]


def test_comparisons_of_a_group_are_one_tree_of_depth_two(folders) -> None:
    """The prompt once, each response once as the first, and 30 times as the second: 1 + 6 + 30
    nodes."""
    scorer = make(folders["decoder"], kind="difference", head="segments")
    readings = readings_of(scorer, SIX, DesignConfig())
    (tree,) = Forest(sorted(readings)).trees()
    assert [len(tree.path(i)) for i in range(len(tree.nodes))].count(1) == 1
    assert [len(tree.path(i)) for i in range(len(tree.nodes))].count(2) == 6
    assert [len(tree.path(i)) for i in range(len(tree.nodes))].count(3) == 30
    first = {reading[1] for reading in readings}
    lengths = (
        len(readings[0][0]) + sum(map(len, first)) + sum(len(reading[2]) for reading in readings)
    )
    assert len(tree) == lengths == scorer.tokens(SIX, comparisons(6, DesignConfig()))


def test_a_tree_is_cut_only_where_it_must_be(folders) -> None:
    """Three groups of one size, and room for two and a half: two, then one. Less room than one: cut
    at first responses, so that each of these is read once, and only the prompt again."""
    reader = make(folders["decoder"], kind="difference", head="segments").reader
    groups = [Group(name, f"Name {name}", SIX.responses) for name in "abc"]
    scorer = make(folders["decoder"], kind="difference", head="segments")
    readings = sorted(r for group in groups for r in readings_of(scorer, group, DesignConfig()))
    size = Forest(readings[:30]).size
    assert list(reader.batches(readings, int(2.5 * size))) == [list(range(60)), list(range(60, 90))]
    cut = [[readings[i] for i in batch] for batch in reader.batches(readings, size // 2)]
    assert sorted(r for batch in cut for r in batch) == readings
    assert all(Forest(batch).size <= size // 2 for batch in cut)
    firsts = [beginning for batch in cut for beginning in {reading[:2] for reading in batch}]
    assert len(firsts) == len(set(firsts)) == 18


@pytest.mark.parametrize("head", ["segments", "last"])
@pytest.mark.parametrize("design", DESIGNS, ids=lambda design: design.mode)
def test_shared_reading_is_unshared_reading(folders, groups, monkeypatch, head, design) -> None:
    scorer = make(folders["decoder"], kind="difference", head=head)
    scorer.reader.double()
    shared = rank(scorer, [*groups, SIX], design)
    monkeypatch.setattr(base, "READ_TOKENS", 1)
    scorer.reader._trunk[0].plain = True
    monkeypatch.setattr(scorer.reader._trunk[0].inner.config, "_attn_implementation", "sdpa")
    unshared = rank(scorer, [*groups, SIX], design)
    for one, other in zip(shared, unshared, strict=True):
        assert one.pairs == other.pairs
        np.testing.assert_allclose(one.differences, other.differences, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(one.scores, other.scores, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_ranking_by_hand(folders, groups, backbone) -> None:
    """Three responses, every order read: potentials are the row sums of d̄ over 3."""
    scorer = make(folders[backbone], kind="difference", head="segments")
    (found,) = rank(scorer, groups[:1])
    (read,) = readings(scorer, groups[:1], [[(0, 1), (0, 2), (1, 2)]])
    ab, ac, bc = 0.5 * (read[:, 0] - read[:, 1])
    assert found.pairs == ((0, 1), (0, 2), (1, 2))
    assert found.differences.tolist() == [ab, ac, bc]
    assert found.scores == pytest.approx(np.array([ab + ac, bc - ab, -ac - bc]) / 3)
    assert found.inconsistency == pytest.approx((ab + bc - ac) ** 2 / 3 / (ab**2 + ac**2 + bc**2))
    assert found.cyclic == (int(ab * bc > 0 and ab * ac < 0), 1)
    assert found.readings == 6
    # and the default scores, the mean of d̄ over the other two, are 3/2 of them
    assert scores(scorer, groups[:1])[0] == pytest.approx(1.5 * found.scores)


def test_single_orders_are_given_as_read(folders, groups) -> None:
    scorer = make(folders["encoder"], kind="difference", head="segments")
    design = DesignConfig("anchor", seed=1)
    for group, found in zip(groups, rank(scorer, groups, design), strict=True):
        pairs = comparisons(len(group.responses), design, group.id)
        assert found.pairs == tuple(pairs)
        assert found.readings == len(group.responses) - 1
        assert found.differences == pytest.approx(
            means(scorer, [group], [pairs], orders="one")[0], rel=1e-4
        )
        anchor = pairs[0][0]
        d = dict(zip([b for _, b in pairs], found.differences, strict=True)) | {anchor: 0.0}
        assert found.scores - found.scores[anchor] == pytest.approx(
            [-d[i] for i in range(len(group.responses))]
        )
        assert found.cyclic == (0, 0)


@pytest.mark.parametrize("design", DESIGNS, ids=lambda design: design.mode)
def test_a_reward_model_gives_the_same_scores_by_every_design(folders, design) -> None:
    scorer = make(folders["encoder"])
    (rewards,) = scores(scorer, [SIX])
    (found,) = rank(scorer, [SIX], design)
    assert found.scores == pytest.approx(rewards - rewards.mean())
    assert found.inconsistency == pytest.approx(0, abs=1e-9)
    assert found.readings == len(rewards)


def test_designs_measured_by_hand(folders, monkeypatch) -> None:
    """d = 2, 1, −1 for (0,1), (0,2), (1,2) and their opposites: s = 1, −1, 0 while the data has 0 ≻
    1 ≻ 2.

    Two of three comparisons are right. Against one anchor only its own two differences are known;
    the anchor 0 gives the same order 0, 2, 1, anchor 1 gives s_0 = s_1 + 2 and s_2 = s_1 + 1, and
    anchor 2 s_0 = s_2 + 1, s_1 = s_2 − 1.
    """
    scorer = make(folders["encoder"], kind="difference", head="segments")
    d = {(0, 1): 2.0, (0, 2): 1.0, (1, 2): -1.0}
    d |= {(b, a): -value for (a, b), value in d.items()}
    read: list[int] = []

    def differences(groups, pairs, **_):
        read.append(sum(map(len, pairs)))
        return [Differences.of([d[pair] for pair in own], own, apart=False) for own in pairs]

    monkeypatch.setattr(scorer, "differences", differences)
    group = Group("a", "p", ("one", "two", "three"), (2, 1, 0))
    alone = Group("b", "p", ("one",))
    full, anchor, every = compare_designs(
        scorer, [group, alone], [DesignConfig(), DesignConfig("anchor"), DesignConfig("all")]
    )
    assert read == [6]  # every comparison once
    for figures, read_texts, uncertainty in (
        (full, 6, 1 / 3),
        (every, 3, 2 / 3),
        (anchor, 2, 4 / 3),
    ):
        assert (figures.readings, figures.comparisons) == (read_texts, 3)
        assert figures.uncertainty == pytest.approx(uncertainty)
        assert figures.agreement == pytest.approx(2 / 3)
        assert (figures.spearman, figures.kendall) == (pytest.approx(1), pytest.approx(1))
    assert full.inconsistency == pytest.approx(0, abs=1e-12)
    assert full.cyclic == 0
    assert math.isnan(anchor.inconsistency)
    assert math.isnan(anchor.cyclic)
    assert full.tokens > every.tokens > anchor.tokens


def test_correlation_with_another_order(folders, monkeypatch) -> None:
    """Read as single orders the ranking turns: d(0,1) = 1 but d(1,0) = 3, so that d̄ = −1. Two
    responses: ρ = τ = ±1."""
    scorer = make(folders["encoder"], kind="difference", head="segments")
    values = {(0, 1): 1.0, (1, 0): 3.0}
    monkeypatch.setattr(
        scorer,
        "differences",
        lambda groups, pairs, **_: [
            Differences.of([values[pair] for pair in own], own, apart=False) for own in pairs
        ],
    )
    groups = [
        Group(str(i), "p", ("one", "two"), comparisons=(Comparison(1, 0, 1.0),)) for i in range(20)
    ]
    first = [comparisons(2, DesignConfig("all"), group.id)[0][0] for group in groups]
    (figures,) = compare_designs(scorer, groups, [DesignConfig("all")])
    # d̄ says 1 is better; read with 0 first 0 is better, with 1 first 1 is.
    assert figures.spearman == pytest.approx(np.mean(2 * np.array(first) - 1))
    assert figures.kendall == pytest.approx(np.mean(2 * np.array(first) - 1))
    assert figures.agreement == pytest.approx(np.mean(first))


def test_no_data_is_nan(folders) -> None:
    (figures,) = compare_designs(
        make(folders["encoder"], kind="difference", head="segments"), [], [DesignConfig("all")]
    )
    assert figures.comparisons == 0
    assert all(math.isnan(v) for v in (figures.tokens, figures.agreement, figures.spearman))
    assert figures.readings == 0


def test_a_budget_too_small_and_a_group_of_one(folders) -> None:
    scorer = make(folders["encoder"], kind="difference", head="segments")
    with pytest.raises(UserError, match="cannot join 6"):
        rank(scorer, [SIX], DesignConfig("budget", 3))
    (found,) = rank(scorer, [Group("x", "p", ("only",))], DesignConfig("all"))
    assert found.scores.tolist() == [0]
    assert (found.pairs, found.readings, found.cyclic) == ((), 0, (0, 0))
