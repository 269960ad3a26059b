"""`score` and `weigh` by people, who have not voted on everything: rows stay, and are counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from rewarddiff.coefficients import CoefficientConfig
from rewarddiff.data.vote_files import write_votes
from rewarddiff.data.votes import Vote
from rewarddiff.errors import UserError
from rewarddiff.pipeline.scoring import score, weigh_dataset
from rewarddiff.scorers.people import People
from rewarddiff.scorers.protocol import Scorer
from tests.scoring.conftest import read_lines, write_lines

VOTES = [
    Vote("P1", "x", "y", 2, "ann"),
    Vote("P1", "x", "y", 1, "bob"),
    Vote("P2", "x", "y", None, "ann"),
    Vote("P3", "y", "x", 1, "ann"),
    Vote("P5", "r", "s", 3, "ann"),
    Vote("P5", "s", "t", -1, "ann"),
]

PAIRS = [
    {"prompt": "P1", "chosen": "x", "rejected": "y"},  # (2 + 1) / 2
    {"prompt": "P2", "chosen": "x", "rejected": "y"},  # skipped
    {"prompt": "P3", "chosen": "x", "rejected": "y"},  # −1
    {"prompt": "P4", "chosen": "x", "rejected": "y"},  # nobody voted
]

LISTS = [
    {"prompt": "P5", "responses": ["r", "s", "t"], "scores": [3, 2, 1]},
    {"prompt": "P6", "responses": ["r", "s", "t"]},
]


@pytest.fixture
def people(tmp_path: Path) -> Scorer:
    write_votes(VOTES, tmp_path / "votes.jsonl", "votes")
    return People(path=str(tmp_path / "votes.jsonl")).scorer("people")


def test_score_keeps_every_row_and_null_where_nothing_is_said(
    people: Scorer, tmp_path: Path
) -> None:
    data = write_lines(tmp_path / "rows.jsonl", PAIRS)
    summary = score(people, data, tmp_path / "out.jsonl")
    rows = read_lines(tmp_path / "out.jsonl")
    assert "NaN" not in (tmp_path / "out.jsonl").read_text()
    assert [row["differences"] for row in rows] == [[1.5], [None], [-1.0], [None]]
    assert [row["scores"] for row in rows] == [[1.5, -1.5], None, [-1.0, 1.0], None]
    assert summary.ledger.kept == 4
    assert summary.ledger.count("unscored") == 2
    assert (summary.unscored, summary.alone) == (2, 0)
    assert (summary.agreement.compared, summary.agreement.agreeing) == (2, 1)
    assert "rows.jsonl:2 (1 of 1 comparisons)" in "\n".join(summary.lines())
    score(people, data, tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["differences"] for row in table] == [[1.5], [None], [-1.0], [None]]


def test_lists_are_scored_as_far_as_what_is_said_joins_them(people: Scorer, tmp_path: Path) -> None:
    """r − s = 3 and s − t = −1: r − t is 2 by these; means 5/2, (−3 − 1)/2, (1 − 2)/2."""
    data = write_lines(tmp_path / "rows.jsonl", LISTS)
    summary = score(people, data, tmp_path / "out.jsonl")
    first, second = read_lines(tmp_path / "out.jsonl")
    assert first["scores_2"] == pytest.approx([2.5, -2.0, -0.5])
    assert first["differences_2"] == [3.0, None, -1.0]
    assert second["scores_2"] is None
    assert summary.ledger.count("unscored") == 2


def test_weigh_leaves_out_what_is_unscored_and_counts_it(people: Scorer, tmp_path: Path) -> None:
    def weighed(rows: list[Any], name: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        data = write_lines(tmp_path / f"{name}.jsonl", rows)
        config = CoefficientConfig(negative="abs", normalise="mean")
        done = weigh_dataset(people, data, tmp_path / f"{name}.out.jsonl", config)
        report = json.loads(done.beside.report.read_text())
        return read_lines(tmp_path / f"{name}.out.jsonl"), report

    rows, report = weighed(PAIRS, "with")
    # |1½| and |−1| over their mean 1¼
    assert [(row["prompt"], row["coefficient"]) for row in rows] == [("P1", 1.2), ("P3", 0.8)]
    assert report["comparisons"]["kept"] == 2
    assert report["comparisons"]["dropped"]["unscored"]["count"] == 2
    scored_alone, without = weighed([PAIRS[0], PAIRS[2]], "without")
    assert [row["coefficient"] for row in scored_alone] == [1.2, 0.8]
    assert without["distribution"] == report["distribution"]


def test_a_scorer_that_says_nothing_at_all_is_one_line_and_no_file(
    people: Scorer, tmp_path: Path
) -> None:
    data = write_lines(tmp_path / "rows.jsonl", [PAIRS[1], PAIRS[3]])
    out = tmp_path / "out.jsonl"
    with pytest.raises(UserError, match=r"rows.jsonl: the scorer says nothing of any of 2 rows"):
        score(people, data, out)
    with pytest.raises(UserError, match="the scorer says nothing of any of 2 comparisons"):
        weigh_dataset(people, data, out, CoefficientConfig())
    assert not out.exists()
