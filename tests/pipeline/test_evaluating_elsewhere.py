"""`rewarddiff eval` of whoever is not trained here: judges behind a server, people, length."""

import json
from pathlib import Path

import pytest
from scorers.chat_server import MODEL, serving
from scorers.judge_stubs import saying

from rewarddiff.errors import UserError
from rewarddiff.pipeline import eval_stage
from rewarddiff.pipeline.judge import judge_stage

PAIRS = 12


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = []
    for i in range(PAIRS):
        rows.append({"prompt": f"Prompt {i}", "chosen": f"yes {i}", "rejected": f"no, never {i}"})
    file = tmp_path / "pairs.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


def agrees_but_for_one(first: str, second: str) -> float:
    """Prefer what begins with yes, but for the responses to prompt 3."""
    likes = 2.0 if first.startswith("yes") else -2.0
    return -likes if first.endswith("3") else likes


def test_a_judge_is_measured_beside_length_and_asked_once(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "evaluation"
    with serving(saying(agrees_but_for_one)) as server:
        judge = f"{MODEL}@{server.url}"
        results = eval_stage([judge, "length"], data, output)
        assert server.calls == 2 * PAIRS  # both orders
        again = eval_stage([judge, "length"], data, output)
        assert server.calls == 2 * PAIRS
    by_judge, by_length = results.scorers
    assert (by_judge.kind, by_length.kind) == ("judge", "length")
    assert by_judge.evaluation.accuracy.value == pytest.approx(11 / 12)
    assert by_length.evaluation.accuracy.value == 0  # the rejected one is longer everywhere
    assert again.scorers[0].evaluation == by_judge.evaluation


def test_people_are_measured_on_what_they_voted_on(data: Path, tmp_path: Path) -> None:
    votes = []
    for i, grade in enumerate([2, 1, -1]):
        texts = {"prompt": f"Prompt {i}", "response_a": f"yes {i}", "response_b": f"no, never {i}"}
        votes.append({**texts, "grade": grade, "steps": 7, "annotator": "ann"})
    file = tmp_path / "votes.jsonl"
    file.write_text("\n".join(map(json.dumps, votes)))
    results = eval_stage([str(file)], data)
    (people,) = results.scorers
    assert people.kind == "people"
    # Whether the labels are these very votes nobody can tell: it stands beside the figure.
    assert results.notes[0].endswith("that people agree with them is no evidence.")
    assert people.evaluation.unscored == PAIRS - 3
    assert people.evaluation.accuracy.value == pytest.approx(2 / 3)


def test_an_evaluation_takes_no_judgings_place(data: Path, tmp_path: Path) -> None:
    """Both have no recipe; by their command they are told apart."""
    files = []
    for name in ("a", "b"):
        file = tmp_path / f"{name}.jsonl"
        file.write_text(json.dumps({"prompt": "P", "response": name * len(files)}))
        files.append(str(file))
    folder = judge_stage(files, ["length"], output=tmp_path / "judged")
    before = (folder / "results.json").read_bytes()
    with pytest.raises(UserError, match="holds results that are not of an evaluation"):
        eval_stage(["length"], data, folder)
    assert (folder / "results.json").read_bytes() == before
