"""People's votes as a scorer through a whole run: what they leave open is counted wherever it counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rewarddiff.data.vote_files import write_votes
from rewarddiff.data.votes import Vote
from rewarddiff.pipeline.commands import run_recipe


@pytest.fixture(scope="module")
def folder(policy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on 40 pairs, of which three in four have a vote: 1 or 2 steps, every fifth against."""
    folder = tmp_path_factory.mktemp("people")
    rows = [{"prompt": f"Say it {i}", "chosen": f"yes {i}", "rejected": "no"} for i in range(40)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    votes = []
    for i in range(40):
        grade = -1 if i % 5 == 0 else 1 + i % 2
        if i % 4:
            votes.append(Vote(f"Say it {i}", f"yes {i}", "no", grade, "ann"))
    write_votes(votes, folder / "votes.jsonl", "votes")
    small = {"batch_size": 4, "max_steps": 2, "precision": "fp32"}
    recipe: dict[str, Any] = {
        "name": "people",
        "model": str(policy_folder),
        "output": str(folder / "run"),
        "data": {
            "path": str(folder / "pairs.jsonl"),
            "splits": {"train": 0.5, "dev": 0.2, "test": 0.3},
        },
        "scorers": {
            "people": {"kind": "people", "path": str(folder / "votes.jsonl")},
            "length": {"kind": "length"},
        },
        "policies": {
            "dpo": {"train": small},
            "weighted": {"train": small, "coefficient": {"source": "people"}},
            "mmpo": {"train": small, "objective": "mmpo", "strength": {"source": "people"}},
        },
        "evaluation": {"prompts": 4, "sampling": {"max_new_tokens": 6, "stop": []}},
    }
    run_recipe(recipe)
    return folder / "run"


def test_results_count_what_is_unscored(folder: Path) -> None:
    results = json.loads((folder / "results.json").read_text())
    people, length = results["scorers"]
    assert people["evaluation"]["unscored"] > 0
    assert people["evaluation"]["n"] + people["evaluation"]["unscored"] == length["evaluation"]["n"]
    (report,) = [line["report"] for line in results["coefficients"]]
    assert 0 < report["share_unscored"] < 1
    unscored = round(report["share_unscored"] * report["n"])
    assert report["n_kept"] == report["n"] - unscored
    ledgers = {line["name"]: line["ledger"]["changed"] for line in results["policies"]}
    assert ledgers["weighted"]["unscored"]["count"] == unscored
    # The strengths of dev are asked for as well.
    assert ledgers["mmpo"]["unscored"]["count"] >= unscored
    assert "unscored" not in ledgers["dpo"]
    same_votes = "people: Where the labels come from these same votes, that people agree"
    assert [note.startswith(same_votes) for note in results["notes"]].count(True) == 1


def test_the_report_says_so(folder: Path) -> None:
    html = (folder / "report.html").read_text()
    assert "comparisons are unscored, and in no figure." in html
    assert "pairs are unscored, and left out of training" in html
