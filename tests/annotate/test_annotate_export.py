"""A project's votes as files: what was voted on the page is preference data, and a scorer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rewarddiff.annotate.config import AnnotateConfig
from rewarddiff.annotate.export import export
from rewarddiff.annotate.project import open_project
from rewarddiff.annotate.records import Answer, Pair
from rewarddiff.annotate.votes import Votes
from rewarddiff.cli import main
from rewarddiff.data import load_groups
from rewarddiff.data.formats.conversations import spoken_prompt
from rewarddiff.data.vote_files import read_votes
from rewarddiff.records import Group, Message
from rewarddiff.scorers.people import People

PROMPT = (Message("user", "Why?"),)
PAIRS = [
    Pair(PROMPT, "So.", "Thus.", {"a": "tuned", "b": "base", "row": "x.jsonl:1"}),
    Pair("plain", "one", "two", {"a": "tuned", "b": "base", "row": "x.jsonl:2"}),
]
GRADES = {
    "So.": {"annotator-1": 3, "annotator-2": 1},
    "one": {"annotator-1": -2, "annotator-2": None},
}
"""Towards a: (3 + 1)/2 = 2 for So., and −2 for one, with a skip."""


@pytest.fixture
def project(tmp_path: Path) -> Votes:
    """A project that is still open: its file has a journal beside it."""
    folder = tmp_path / "people"
    folder.mkdir()
    votes = open_project(folder, PAIRS, annotators=2, steps=7, config=AnnotateConfig(seed=1))
    for annotator in ("annotator-1", "annotator-2"):
        while (shown := votes.next_item(annotator)) is not None:
            first = shown.responses[0]
            a = first if first in GRADES else shown.responses[1]
            grade = GRADES[a][annotator]
            toward_first = grade if first == a or grade is None else -grade
            nonce = f"{annotator} {shown.id}"
            votes.vote(annotator, Answer(shown.id, toward_first, "since", nonce))
    return votes


def test_votes_on_the_page_are_read_towards_a(project: Votes) -> None:
    votes = read_votes(project.path.parent)
    said = [(v.response_a, v.annotator, v.grade) for v in votes]
    assert said == [(a, who, grade) for a in GRADES for who, grade in GRADES[a].items()]
    assert {(v.source_a, v.source_b, v.steps, v.reason) for v in votes} == {
        ("tuned", "base", 7, "since")
    }
    assert [v.prompt for v in votes] == [PROMPT, PROMPT, "plain", "plain"]
    assert all(v.seconds is not None and v.seconds >= 0 for v in votes)


def test_they_are_data_and_a_scorer(project: Votes, tmp_path: Path) -> None:
    file = tmp_path / "graded.jsonl"
    written = export(project.path.parent, file)
    assert (written.rows, written.votes, written.skipped) == (2, 4, 1)
    strengths = {}
    for group in load_groups(file):
        (c,) = group.known_comparisons()
        strengths[group.responses[c.chosen]] = c.strength
    assert strengths == {"So.": 2.0, "two": 2.0}
    group = Group("g", PROMPT, ("Thus.", "So."))
    for path in (project.path.parent, project.path, file):
        (d,) = People(path=str(path)).scorer("people").differences([group], [[(0, 1)]])
        np.testing.assert_array_equal(d.mean, [-2.0])


@pytest.mark.parametrize("form", ["votes", "rows", "label-studio"])
def test_the_command_exports_in_every_form(
    project: Votes, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project.path.parent
    assert main(["annotate", "--export", str(folder), "--as", form]) == 0
    file = folder / (f"{form}.json" if form == "label-studio" else f"{form}.jsonl")
    assert f"{file}: " in capsys.readouterr().out
    expected = read_votes(folder)
    if form == "label-studio":  # where a prompt that is a text is what a user says
        expected = [replace(v, prompt=spoken_prompt(v.prompt)) for v in expected]
    assert read_votes(file) == expected
    assert main(["check", str(file)]) == 0


def test_what_cannot_be_exported_is_one_line(
    project: Votes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(project.path.parent)
    output = ["--output", str(tmp_path / "out.jsonl")]
    for arguments, message in (
        ([folder, "--as", "helpstear3", *output], "did you mean 'helpsteer3'"),
        ([folder, "--as", "multipref", *output], "MultiPref has a scale of 5 steps"),
        ([str(tmp_path / "nothing"), *output], "nothing"),
        ([folder, "--output", str(tmp_path / "out.csv")], "ends in .jsonl"),
    ):
        assert main(["annotate", "--export", *arguments]) == 2
        said = capsys.readouterr().err.strip()
        assert message in said
        assert len(said.splitlines()) == 1
    assert not list(tmp_path.glob("out*"))


def test_a_project_without_votes_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    votes = open_project(tmp_path, PAIRS, annotators=1, steps=None, config=AnnotateConfig())
    votes.close()
    assert main(["annotate", "--export", str(tmp_path)]) == 2
    assert "holds no votes; annotate first" in capsys.readouterr().err
    assert json.loads((tmp_path / "tokens.json").read_text()).keys() == {"annotator-1"}
