"""People of a recipe who voted on what its policies wrote: the majority decides between policies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rewarddiff.data.vote_files import write_votes
from rewarddiff.data.votes import Vote
from rewarddiff.pipeline.commands import run_recipe
from rewarddiff.results import Results, read_results


def run(recipe: dict[str, Any], votes: list[Vote], path: Path) -> Results:
    write_votes(votes, path, "votes")
    people = {"kind": "people", "path": str(path)}
    scorers = {"people": people, "length": {"kind": "length"}}
    panel = {"kind": "panel", "of": ["people", "crowd"]}
    scorers |= {"crowd": {**people, "combine": "median"}, "panel": panel}
    return read_results(run_recipe({**recipe, "scorers": scorers}))


def test_two_votes_of_one_step_outvote_one_of_three(policy_folder: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"Say it {i}", "chosen": f"yes {i}", "rejected": "no"} for i in range(20)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = {
        "name": "people",
        "model": str(policy_folder),
        "output": str(tmp_path / "run"),
        "data": {"path": str(tmp_path / "pairs.jsonl"), "splits": {"train": 0.5, "test": 0.5}},
        "policies": {"dpo": {"train": {"max_steps": 2, "precision": "fp32", "lr": 0.1}}},
        "evaluation": {"prompts": 3, "sampling": {"max_new_tokens": 6, "stop": []}},
    }
    nothing = [Vote("Never asked", "x", "y", 1, "ann")]
    samples = run(recipe, nothing, tmp_path / "votes.jsonl").samples
    votes = []
    for sample in samples:
        texts = (sample.prompt, sample.responses["dpo"], sample.responses["base"])
        assert texts[1] != texts[2]
        for annotator, grade in (("ann", 3), ("bob", -1), ("cy", -1)):
            votes.append(Vote(*texts, grade, annotator))
    results = run(recipe, votes, tmp_path / "more.jsonl")
    rates = {(rate.judge, rate.a, rate.b): rate.lose.value for rate in results.judges.win_rates}
    # The mean grade is +1/3 in favour of dpo; two of three people like the base model's answer.
    assert rates == {(judge, "dpo", "base"): 1.0 for judge in ("people", "crowd", "panel")}
