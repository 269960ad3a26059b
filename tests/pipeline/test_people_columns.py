"""Votes of people as a source of coefficients, strengths and orders: what they leave open is left
out of training, and counted."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rewarddiff.config import load_recipe
from rewarddiff.data import Ledger
from rewarddiff.data.vote_files import write_votes
from rewarddiff.data.votes import Vote
from rewarddiff.errors import UserError
from rewarddiff.pipeline.columns import (
    columns,
    note_unscored,
    order_stage,
    ordered,
    part_of,
    with_columns,
)
from rewarddiff.pipeline.data import Run, prepare
from rewarddiff.pipeline.recipe import Recipe
from rewarddiff.pipeline.scorers import evaluation_stage, scorer_stage

VOTED_ON = 8
"""Of ten prompts those with a vote: i steps modulo 4 less 1 in favour of what the data chose."""


def grade(i: int) -> int:
    return i % 4 - 1


@pytest.fixture
def run(policy_folder: Path, tmp_path: Path) -> Run:
    rows = [{"prompt": f"Say it {i}", "chosen": f"yes {i}", "rejected": "no"} for i in range(10)]
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    votes = [Vote(f"Say it {i}", f"yes {i}", "no", grade(i), "ann") for i in range(VOTED_ON)]
    write_votes(votes, tmp_path / "votes.jsonl", "votes")
    nobody = [Vote("else", "a", "b", 1, "ann")]
    write_votes(nobody, tmp_path / "else.jsonl", "votes")
    recipe: dict[str, Any] = {
        "name": "people",
        "model": str(policy_folder),
        "output": str(tmp_path / "run"),
        "data": {"path": str(pairs), "splits": {"train": 0.6, "test": 0.4}},
        "scorers": {
            "people": {"kind": "people", "path": str(tmp_path / "votes.jsonl")},
            "nobody": {"kind": "people", "path": str(tmp_path / "else.jsonl")},
        },
        "policies": {
            "dpo": {},
            "weighted": {"coefficient": {"source": "people", "negative": "flip"}},
            "mmpo": {"objective": "mmpo", "strength": {"source": "people", "scale": 2.0}},
            "ordered": {"order": {"source": "people"}},
            "blind": {"coefficient": {"source": "nobody"}},
            "unknown": {"objective": "mmpo", "strength": {"source": "nobody"}},
        },
    }
    config = load_recipe(recipe, [], Recipe)
    return prepare(config, tmp_path / "run")


def numbers(groups: Any) -> list[int]:
    """The number of every group's prompt."""
    return [int(group.prompt.split()[-1]) for group in groups]


def test_coefficients_leave_out_pairs_without_a_vote(run: Run) -> None:
    part = part_of(run, "weighted", 0)
    weighed = columns(run, "weighted", 0, part)
    train = numbers(part.groups)
    unscored = [i for i in train if i >= VOTED_ON]
    assert unscored  # or nothing is tested
    trained = {}
    for group, pairs in with_columns(part.groups, weighed):
        for comparison, weight in zip(pairs.comparisons, pairs.coefficients, strict=True):
            trained[numbers([group])[0]] = (comparison.chosen, weight)
    # −1 is turned: the second response is then the chosen one.
    expected = {i: (int(grade(i) < 0), abs(grade(i))) for i in train if i < VOTED_ON}
    assert trained == expected
    assert weighed.weighed is not None
    report = weighed.weighed.report
    assert report["share_unscored"] == pytest.approx(len(unscored) / len(train))
    assert report["warnings"] == [
        f"{len(unscored)} of {len(train)} pairs are unscored, and left out of training"
    ]
    ledger = Ledger()
    note_unscored(part.groups, weighed, ledger)
    assert ledger.count("unscored") == len(unscored)


def test_strengths_do_the_same(run: Run) -> None:
    part = part_of(run, "mmpo", 0)
    stated = columns(run, "mmpo", 0, part)
    train = numbers(part.groups)
    strengths = {}
    for group, pairs in with_columns(part.groups, stated):
        strengths |= {numbers([group])[0]: strength for strength in pairs.strengths}
    assert strengths == {i: 2.0 * grade(i) for i in train if i < VOTED_ON}
    ledger = Ledger()
    note_unscored(part.groups, stated, ledger)
    assert ledger.count("unscored") == sum(i >= VOTED_ON for i in train)


def test_what_nobody_has_said_anything_of_is_refused(run: Run) -> None:
    with pytest.raises(UserError, match="coefficients: the scorer says nothing of any of 7 compar"):
        columns(run, "blind", 0, part_of(run, "blind", 0))
    with pytest.raises(UserError, match=r"policies\.unknown\.strength: the scorer says nothing of"):
        columns(run, "unknown", 0, part_of(run, "unknown", 0))


def test_an_order_needs_a_vote_on_every_pair(run: Run) -> None:
    first = next(g for g in run.splits["train"] if numbers([g])[0] >= VOTED_ON)
    with pytest.raises(UserError, match=f"^{first.source}: scorers.people says nothing of 2 of 2"):
        order_stage(run, "ordered", 0)


def test_an_order_by_votes(run: Run) -> None:
    run.splits["train"] = [g for g in run.splits["train"] if numbers([g])[0] < VOTED_ON]
    for group in ordered(run, "ordered", 0).groups:
        (comparison,) = group.known_comparisons()
        assert (comparison.chosen == 1) == (grade(numbers([group])[0]) < 0)


def test_evaluations_count_what_is_unscored(run: Run) -> None:
    test = numbers(run.splits["test"])
    voted = [grade(i) for i in test if i < VOTED_ON]
    figures = evaluation_stage(run, "people", 0).manifest["evaluations"]["test"]
    assert figures["unscored"] == len(test) - len(voted)
    right = np.mean([0.5 * (1 + np.sign(d)) for d in voted])
    assert figures["accuracy"]["value"] == pytest.approx(right)
    nothing = evaluation_stage(run, "nobody", 0).manifest["evaluations"]["test"]
    assert (nothing["unscored"], nothing["n"]) == (len(test), 0)
    assert nothing["accuracy"]["value"] is None
    kept = json.loads((run.output / "evaluations/people-0/comparisons.json").read_text())
    d = [c["d"] for c in kept["test"]]
    assert d.count(None) == len(test) - len(voted)
    assert not any(isinstance(value, float) and math.isnan(value) for value in d)
    assert scorer_stage(run, "people", 0).manifest["temperature"] is None
