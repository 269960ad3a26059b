"""`judge --people`: win rates by votes, and how far those who voted agree with each other."""

import json
from pathlib import Path
from typing import Any

import pytest

from rewarddiff.pipeline.judge import judge_stage
from rewarddiff.results import PEOPLE, read_results


def lines(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def test_people_judge_and_their_agreement_is_told(tmp_path: Path) -> None:
    prompts = [f"Prompt {place}" for place in range(4)]
    files = []
    for name in ("a", "b"):
        rows = [{"prompt": p, "response": f"{name}{i}"} for i, p in enumerate(prompts)]
        files.append(lines(tmp_path / f"{name}.jsonl", rows))
    # Two people on three of four prompts: both for the first, both for the second, and one each.
    grades = {0: (2, 1), 1: (-1, -3), 2: (2, -2)}
    votes = []
    for place, (of_ann, of_bob) in grades.items():
        for annotator, grade in (("ann", of_ann), ("bob", of_bob)):
            texts = {"response_a": f"a{place}", "response_b": f"b{place}"}
            row = {"prompt": prompts[place], **texts, "grade": grade, "steps": 7}
            votes.append({**row, "annotator": annotator})
    file = lines(tmp_path / "votes.jsonl", votes)
    folder = judge_stage(files, [], people=file, output=tmp_path / "out")
    judges = read_results(folder).judges
    (rate,) = judges.win_rates
    assert (rate.judge, rate.n, rate.scored) == (PEOPLE, 4, 3)
    assert rate.rate.value == pytest.approx(0.5)  # won, lost, and a mean grade of 0
    (panel,) = judges.panels
    assert (panel.who, panel.raters, panel.items) == ("people", 2, 3)
    assert panel.full.value == pytest.approx(2 / 3)  # both say the same of two pairs
