"""People as a scorer: pairs found by their texts, and what is unscored."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rewarddiff.config import load_recipe
from rewarddiff.data.vote_files import write_votes
from rewarddiff.data.votes import Combine, Vote
from rewarddiff.errors import UserError
from rewarddiff.pipeline.recipe import Recipe
from rewarddiff.records import Group, Message
from rewarddiff.scorers.people import People
from rewarddiff.scorers.protocol import Judge, Pointwise

ASKED = (Message("user", "Why?"),)

VOTES = [
    Vote(ASKED, "x", "y", 3, "ann"),
    Vote(ASKED, "y", "x", 1, "bob"),  # −1 for x
    Vote(ASKED, "x", "y", 2, "cy"),
    Vote(ASKED, "x", "z", None, "ann"),
    Vote("plain", "a", "b", 0, "ann"),
]
GROUP = Group("g", ASKED, ("z", "y", "x"))
PAIRS = [(2, 1), (1, 2), (2, 0), (0, 1)]


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "votes.jsonl"
    write_votes(VOTES, path, "votes")
    return str(path)


@pytest.mark.parametrize(
    ("combine", "value"),
    [("mean", 4 / 3), ("median", 2.0), ("majority", 1.0)],  # of 3, −1 and 2
)
def test_the_votes_on_a_pair_by_hand(file: str, combine: Combine, value: float) -> None:
    scorer = People(path=file, combine=combine).scorer("people")
    (d,) = scorer.differences([GROUP], [PAIRS])
    # x over y, y over x, x over z (skipped), z over y (never asked)
    np.testing.assert_allclose(d.mean, [value, -value, math.nan, math.nan])
    (verdicts,) = scorer.verdicts([GROUP], [PAIRS])
    np.testing.assert_array_equal(verdicts.values, d.mean)
    assert verdicts.causes == ("", "", "skipped", "no votes")
    assert not verdicts.turned.any()
    np.testing.assert_array_equal(d.swap().mean, -d.mean)


def test_texts_are_compared_as_they_stand(file: str) -> None:
    scorer = People(path=file).scorer("people")
    tie = Group("tie", "plain", ("b", "a"))
    other_space = Group("space", "plain", ("b", "a "))
    other_prompt = Group("prompt", "plain ", ("b", "a"))
    as_turn = Group("turn", (Message("user", "plain"),), ("b", "a"))
    groups = [tie, other_space, other_prompt, as_turn]
    stated = scorer.differences(groups, [[(0, 1)]] * 4)
    np.testing.assert_array_equal(
        np.concatenate([d.mean for d in stated]), [0.0, math.nan, math.nan, 0.0]
    )


def test_it_is_a_judge_that_brings_no_temperature(file: str) -> None:
    scorer = People(path=file).scorer("people")
    assert isinstance(scorer, Judge)
    assert not isinstance(scorer, Pointwise)
    assert (scorer.temperature, scorer.prompts) == (None, frozenset())


def test_the_fingerprint_is_that_of_grades_and_how_they_are_combined(tmp_path: Path) -> None:
    def of(votes: list[Vote], **options: str) -> str:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.jsonl"
        write_votes(votes, path, "votes")
        return People(path=str(path), **options).fingerprint()  # type: ignore[arg-type]

    first = of(VOTES)
    assert of(VOTES) == first
    assert of([replace(vote, reason="so", seconds=3.0) for vote in VOTES]) == first
    assert of([*VOTES[:-1], replace(VOTES[-1], grade=1)]) != first
    assert of(VOTES[1:]) != first
    assert of([replace(VOTES[0], response_a="X"), *VOTES[1:]]) != first
    assert of(VOTES, combine="median") != first


def test_a_recipe_knows_the_kind(file: str) -> None:
    recipe = {
        "name": "n",
        "data": {"path": "demo"},
        "scorers": {"us": {"kind": "people", "path": file}},
    }
    read = load_recipe(recipe, [], Recipe)
    assert read.scorers["us"] == People(path=file)
    with pytest.raises(UserError, match="combine"):
        load_recipe(recipe, ["scorers.us.combine=max"], Recipe)
    with pytest.raises(UserError, match=r"nowhere.jsonl"):
        People(path="nowhere.jsonl").scorer("us")


def test_votes_that_come_later_are_read(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    people = People(path=str(path))
    write_votes(VOTES[:1], path, "votes")
    before = people.fingerprint()
    write_votes(VOTES, path, "votes")
    assert people.fingerprint() != before
    (d,) = people.scorer("people").differences([GROUP], [[(2, 1)]])
    assert d.mean == pytest.approx([4 / 3])
