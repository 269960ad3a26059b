"""`judge --people`: win rates by votes, and how far those who voted agree with each other."""

import json
from pathlib import Path
from typing import Any

import pytest

from rewarddiff.errors import UserError
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


def votes_on(prompt: str, a: str, b: str, grades: tuple[int, ...]) -> list[Any]:
    """Return one vote for each grade, each by somebody else."""
    votes = []
    for number, grade in enumerate(grades):
        texts = {"prompt": prompt, "response_a": a, "response_b": b}
        votes.append({**texts, "grade": grade, "steps": 7, "annotator": f"person {number}"})
    return votes


def test_the_majority_of_people_decides_whatever_the_grades_sum_up_to(tmp_path: Path) -> None:
    prompts = [f"Prompt {place}" for place in range(3)]
    files = []
    votes = []
    for name in ("a", "b"):
        rows = [{"prompt": p, "response": f"{name} of {p}"} for p in prompts]
        files.append(lines(tmp_path / f"{name}.jsonl", rows))
    # One of three likes a by three steps, two like b by one: the mean grade is +1/3, a loses 1 to 2.
    for prompt in prompts:
        votes += votes_on(prompt, f"a of {prompt}", f"b of {prompt}", (3, -1, -1))
    file = lines(tmp_path / "votes.jsonl", votes)
    results = read_results(
        judge_stage(files, [file], people=file, output=tmp_path / "out", overrides=["canaries=0"])
    )
    rates = {rate.judge: rate.rate.value for rate in results.judges.win_rates}
    # A file of votes that is named as a judge is people as well.
    assert rates == {"votes": 0.0, PEOPLE: 0.0}


@pytest.mark.parametrize("name", ["majority", "people", "labels"])
def test_a_served_judge_of_a_name_that_is_taken_is_refused_before_it_is_asked(
    tmp_path: Path, name: str
) -> None:
    judge = f"{name}@http://127.0.0.1:9"
    with pytest.raises(UserError, match=rf"^{judge}: results call .* '{name}'; give the judge"):
        judge_stage(["a.json", "b.json"], [judge], output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_such_a_name_is_called_by_its_place(tmp_path: Path) -> None:
    files = []
    for name in ("a", "b"):
        files.append(lines(tmp_path / f"{name}.jsonl", [{"prompt": "P", "response": name}]))
    votes = lines(tmp_path / "people.jsonl", votes_on("P", "a", "b", (1,)))
    folder = judge_stage(files, [votes], people=votes, output=tmp_path / "out",
                         overrides=["canaries=0"])  # fmt: skip
    rates = {rate.judge: rate.rate.value for rate in read_results(folder).judges.win_rates}
    assert rates == {votes: 1.0, PEOPLE: 1.0}
