"""The embedded data is what its README says."""

from itertools import combinations

import pytest
from scipy.stats import spearmanr

from rewarddiff.data import Groups, Ledger, load_groups


@pytest.fixture(scope="module")
def demo() -> Groups:
    ledger = Ledger()
    groups = load_groups("demo", ledger=ledger, max_drop=0)
    assert ledger.kept == ledger.total == len(groups)
    return groups


def test_size_and_ids(demo: Groups) -> None:
    assert len(demo) == 128
    assert {len(group.responses) for group in demo} == {4}
    assert len({group.id for group in demo}) == len(demo)
    assert len({group.prompt for group in demo}) == len(demo)


def test_length_tells_nothing_about_the_grade(demo: Groups) -> None:
    graded = [
        (len(r.split()), s) for g in demo for r, s in zip(g.responses, g.scores or (), strict=True)
    ]
    lengths, grades = zip(*graded, strict=True)
    assert abs(spearmanr(lengths, grades).statistic) < 0.1
    assert min(grades) >= 0
    assert max(grades) <= 10
    assert all(grade * 2 == int(grade * 2) for grade in grades)


def test_longer_is_not_better_within_a_prompt(demo: Groups) -> None:
    wins = [
        (len(g.responses[c.chosen].split()) > len(g.responses[c.rejected].split()))
        for g in demo
        for c in g.known_comparisons()
        if not c.tie
    ]
    assert 0.4 < sum(wins) / len(wins) < 0.6


def test_gaps_reach_from_near_ties_to_large(demo: Groups) -> None:
    gaps = [abs(a - b) for g in demo for a, b in combinations(g.scores or (), 2)]
    # 128 prompts x 6 pairs; every band of two points up to 8 holds at least a tenth of them
    assert len(gaps) == 768
    for low in (0, 2, 4, 6):
        assert sum(low <= gap < low + 2 for gap in gaps) > 76
    assert min(gaps) <= 0.5
    assert max(gaps) >= 9


def test_its_rows_are_named_as_the_data_was() -> None:
    """Nobody has given a file's name."""
    assert load_groups("demo", limit=1)[0].source == "demo:1"
