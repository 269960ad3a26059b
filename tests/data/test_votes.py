"""Votes: what several come to, files in every form there and back, and as data with a strength."""

from __future__ import annotations

import json
import math
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewarddiff.cli import main
from rewarddiff.data import Ledger, load_groups
from rewarddiff.data.vote_files import read_votes, write_votes
from rewarddiff.data.votes import (
    Vote,
    combined,
    items,
    majority,
    people_outcomes,
    ratings,
)
from rewarddiff.errors import UserError
from rewarddiff.records import Message

FILES = Path(__file__).parent / "files"

HI = (Message("user", "Hi"),)
TALK = (Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "Bye"))

GRADES = [
    ("one", {"ann": 2, "bob": 1, "cy": -1}),  # mean ⅔, majority a, two of three agree
    ("two", {"ann": -2, "bob": None, "cy": -1}),  # mean −1½, majority b (2 of 3), both agree
    ("three", {"ann": 0, "bob": 1, "cy": -1}),  # mean 0, no majority: a tie, one of three says so
    ("four", {"ann": None, "bob": None, "cy": 2}),  # two of three skipped: no outcome by majority
]


def votes_of(steps: int, **fields: Any) -> list[Vote]:
    """The votes of `GRADES` on a scale of so many steps."""
    votes = []
    for item, by_annotator in GRADES:
        for seconds, (annotator, grade) in enumerate(by_annotator.items()):
            plain = Vote(
                prompt=(Message("user", f"Question {item}"),),
                response_a=f"a of {item}",
                response_b=f"b of {item}",
                grade=grade,
                annotator=annotator,
                steps=steps,
                seconds=seconds + 0.5,
                reason="" if grade is None else f"since {grade}",
                source_a="base",
                source_b="tuned",
                item=item,
            )
            votes.append(replace(plain, **fields))
    return votes


# -- what several votes come to --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grades", "mean", "median", "by_majority"),
    [
        ([3, 1, -1], 1.0, 1.0, 1.0),
        ([-3, -1, 2, 2], 0.0, 0.5, 0.0),  # two of four are no majority
        ([2, None, None], 2.0, 2.0, math.nan),  # two of three skipped
        ([2, None], 2.0, 2.0, 0.0),  # half skipped; one of two is not more than half
        ([1, 1, None], 1.0, 1.0, 1.0),
        ([0, 0, 1], 1 / 3, 0.0, 0.0),
        ([None], math.nan, math.nan, math.nan),
        ([], math.nan, math.nan, math.nan),
    ],
)
def test_votes_combined_by_hand(
    grades: list[int | None], mean: float, median: float, by_majority: float
) -> None:
    assert combined(grades, "mean") == pytest.approx(mean, nan_ok=True)
    assert combined(grades, "median") == pytest.approx(median, nan_ok=True)
    assert combined(grades, "majority") == pytest.approx(by_majority, nan_ok=True)


@given(st.lists(st.one_of(st.none(), st.integers(-3, 3)), max_size=7))
def test_swapping_the_sides_negates_what_votes_come_to(grades: list[int | None]) -> None:
    turned = [None if grade is None else -grade for grade in grades]
    for how in ("mean", "median", "majority"):
        value, of_turned = combined(grades, how), combined(turned, how)  # type: ignore[arg-type]
        assert of_turned == pytest.approx(-value, nan_ok=True)
    if None not in grades and grades:
        # Without skipped votes a majority needs more than half: 2·wins > n.
        wins = sum(grade > 0 for grade in grades if grade is not None)
        assert (majority(grades) > 0) == (2 * wins > len(grades))


def test_the_outcome_of_people_and_who_agrees_with_it() -> None:
    people = people_outcomes(votes_of(5))
    assert [item.votes[0].item for item in people.items] == ["one", "two", "three", "four"]
    assert people.outcomes[:3].tolist() == [1.0, -1.0, 0.0]
    assert people.shares[:3] == pytest.approx([2 / 3, 1.0, 1 / 3])
    assert np.isnan([people.outcomes[3], people.shares[3]]).all()


def test_ratings_are_items_by_annotators_nan_where_nobody_voted() -> None:
    """The second vote of the last row is on the sides turned: 2 for b is −2 for a."""
    votes = [vote for vote in votes_of(5) if (vote.item, vote.annotator) != ("one", "bob")]
    votes[-1] = votes[-1].swap()
    assert votes[-1].grade == -2
    grades, gathered, annotators = ratings(votes)
    assert annotators == ["ann", "cy", "bob"]
    assert len(gathered) == 4
    nan = math.nan
    expected = [[2, -1, nan], [-2, -1, nan], [0, -1, 1], [nan, 2, nan]]
    np.testing.assert_array_equal(grades, np.array(expected))


def test_of_two_votes_of_an_annotator_on_an_item_the_last_counts() -> None:
    first, *_ = votes_of(5)
    changed = replace(first.swap(), grade=1)
    (item,) = items([first, changed])
    assert item.grades == [-1]
    assert item.votes[0].response_a == first.response_a
    assert len(items([first, replace(first, item="another")])) == 2


@pytest.mark.parametrize(("grade", "steps"), [(3, 5), (-4, 7), (0, 4), (0, 1)])
def test_a_grade_beyond_its_scale_is_none(grade: int, steps: int) -> None:
    with pytest.raises(ValueError, match="steps"):
        Vote("p", "a", "b", grade, "ann", steps=steps)


# -- there and back --------------------------------------------------------------------------------

FORMS = [
    ("rows", 5, "votes.jsonl"),
    ("votes", 7, "votes.jsonl"),
    ("multipref", 5, "votes.jsonl"),
    ("helpsteer3", 7, "votes.jsonl"),
    ("label-studio", 5, "votes.json"),
    ("label-studio", 7, "votes.json"),
]


@pytest.mark.parametrize(("form", "steps", "name"), FORMS)
def test_what_is_written_is_read_back(form: str, steps: int, name: str, tmp_path: Path) -> None:
    votes = votes_of(steps)
    if form == "multipref":
        votes = [replace(v, annotator=v.annotator.replace("cy", "expert cy")) for v in votes]
    written = write_votes(votes, tmp_path / name, form)
    assert (written.votes, written.skipped) == (12, 3)
    assert written.rows == (12 if form == "votes" else 4)
    expected = votes
    if form in ("multipref", "helpsteer3"):  # which have no skipped votes
        expected = [vote for vote in votes if vote.grade is not None]
    assert read_votes(tmp_path / name) == expected


@pytest.mark.parametrize("form", ["rows", "votes", "helpsteer3"])
def test_prompts_keep_their_kind(form: str, tmp_path: Path) -> None:
    file = tmp_path / "votes.jsonl"
    talk = Vote(TALK, "x", "y", -3, "ann", item="1")
    write_votes([talk], file, form)
    assert read_votes(file) == [talk]
    if form != "helpsteer3":  # whose prompts are conversations
        plain = replace(talk, prompt="plain ", response_a=" x", seconds=None)
        write_votes([plain], file, form)
        assert read_votes(file) == [plain]


def rows_as_data(votes: list[Vote], path: Path, form: str) -> list[tuple[str, str, float | None]]:
    """(better, worse, strength) of every pair that `load_groups` reads."""
    write_votes(votes, path, form)
    ledger = Ledger()
    facts = []
    for group in load_groups(path, ledger=ledger):
        for c in group.known_comparisons():
            facts.append((group.responses[c.chosen], group.responses[c.rejected], c.strength))
    assert ledger.dropped == 0
    return facts


@pytest.mark.parametrize(("form", "steps", "name"), FORMS)
def test_votes_are_data_with_a_strength(form: str, steps: int, name: str, tmp_path: Path) -> None:
    facts = rows_as_data(votes_of(steps), tmp_path / name, form)
    # HelpSteer3 has whole numbers: ⅔ → 1, 1½ → 2.
    means = (1, 2) if form == "helpsteer3" else (2 / 3, 1.5)
    assert [fact[:2] for fact in facts] == [
        ("a of one", "b of one"),
        ("b of two", "a of two"),
        ("a of three", "b of three"),
        ("a of four", "b of four"),
    ]
    assert [fact[2] for fact in facts] == pytest.approx([*means, 0.0, 2.0])


def test_rows_of_one_pair_are_pooled_whichever_side_is_a(tmp_path: Path) -> None:
    """3 for x, 1 for x and −2 for y's side turned: (3 + 1 + 2) / 3 = 2; both pairs of one prompt."""
    votes = [
        Vote(HI, "x", "y", 3, "ann"),
        Vote(HI, "y", "z", 1, "ann"),
        Vote(HI, "x", "y", 1, "bob"),
        Vote(HI, "y", "x", -2, "cy"),
    ]
    facts = rows_as_data(votes, tmp_path / "votes.jsonl", "votes")
    assert facts == [("x", "y", 2.0), ("y", "z", 1.0)]


def test_rows_tell_share_count_and_every_vote(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    write_votes(votes_of(5), file, "rows")
    one, two, three, four = map(json.loads, file.read_text("utf-8").splitlines())
    assert (one["margin"], one["share"], one["n"]) == (
        pytest.approx(2 / 3),
        pytest.approx(2 / 3),
        3,
    )
    assert (two["chosen"][0]["content"], two["a"], two["margin"]) == ("b of two", "rejected", 1.5)
    assert [vote["grade"] for vote in two["votes"]] == [2, None, 1]
    assert (three["margin"], three["share"]) == (0, pytest.approx(1 / 3))
    assert (four["share"], four["n"]) == (1, 1)
    assert (two["chosen_source"], two["rejected_source"]) == ("tuned", "base")


def test_check_reads_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rows.jsonl"
    write_votes(votes_of(5), file, "rows")
    assert main(["check", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "4 rows: 4 kept, 0 dropped" in printed
    figures = printed.split("all ")[1].split()
    # groups, responses, comparisons, ties, strengths; median and mean of ⅔, 1½, 0, 2
    assert figures[:7] == ["4", "8", "4", "1", "4", "1.08", "1.04"]


# -- collections -----------------------------------------------------------------------------------


def test_the_votes_of_collections() -> None:
    multipref = read_votes(FILES / "multipref.jsonl")
    assert [(v.annotator, v.grade) for v in multipref[:4]] == [
        ("e0", 2),
        ("e1", 2),
        ("expert e0", 1),
        ("expert e1", 2),
    ]
    first = multipref[0]
    assert (first.steps, first.seconds, first.item) == (5, 90, "c-How ")
    assert (first.source_a, first.source_b, first.prompt) == (
        "tulu2_7b",
        "gpt-4",
        (Message("user", "How to boil an egg?"),),
    )
    helpsteer = read_votes(FILES / "helpsteer3.jsonl")
    # −2: the first is better by two steps
    assert [(v.grade, v.steps, v.reason) for v in helpsteer] == [
        (2, 7, "…"),
        (-1, 7, "…"),
        (0, 7, "…"),
    ]


def task(*results: dict[str, Any], **data: Any) -> dict[str, Any]:
    """A task of Label Studio with one annotation."""
    texts = {"prompt": "Why?", "answer1": "So.", "answer2": "Thus."}
    annotation = {"completed_by": 7, "lead_time": 12.5, "result": list(results)}
    return {"id": 3, "data": {**texts, **data}, "annotations": [annotation]}


def result(type: str, to: str = "answer1,answer2", **value: Any) -> dict[str, Any]:
    return {"from_name": "x", "to_name": to, "type": type, "value": value}


@pytest.mark.parametrize(
    ("results", "data", "grade", "steps"),
    [
        ([result("pairwise", selected="left")], {}, 1, 3),
        ([result("pairwise", selected="right")], {}, -1, 3),
        ([result("pairwise", selected="answer2")], {}, -1, 3),
        ([result("choices", choices=["B is slightly better"])], {}, -1, 7),
        ([result("choices", choices=["Response A is much better."])], {}, 3, 7),
        ([result("choices", choices=["left better"])], {}, 2, 7),
        ([result("choices", choices=["A is clearly better"])], {"steps": 5}, 2, 5),
        ([result("choices", choices=["About the same"])], {}, 0, 7),
        ([result("rating", "answer1", rating=2), result("rating", "answer2", rating=5)], {}, -3, 9),
        ([], {}, None, 3),
    ],
)
def test_label_studio_by_hand(
    results: list[Any], data: dict[str, Any], grade: int | None, steps: int, tmp_path: Path
) -> None:
    file = tmp_path / "export.json"
    file.write_text(json.dumps([task(*results, **data)]))
    (vote,) = read_votes(file)
    assert (vote.grade, vote.steps) == (grade, steps)
    assert (vote.annotator, vote.seconds, vote.item) == ("7", 12.5, "3")
    assert (vote.prompt, vote.response_a, vote.response_b) == (
        (Message("user", "Why?"),),
        "So.",
        "Thus.",
    )


# -- a project -------------------------------------------------------------------------------------


def project(folder: Path, votes: list[Vote]) -> Path:
    """A folder as `rewarddiff annotate` leaves it."""
    with sqlite3.connect(folder / "annotations.sqlite") as database:
        database.executescript(
            """
            CREATE TABLE settings (key TEXT, value TEXT);
            CREATE TABLE items (id TEXT, place INTEGER, prompt TEXT, a TEXT, b TEXT, source TEXT);
            CREATE TABLE votes (item TEXT, annotator TEXT, grade INTEGER, skipped INTEGER,
                                reason TEXT, seconds REAL);
            INSERT INTO settings VALUES ('scale', '5');
            """
        )
        for place, item in enumerate(items(votes)):
            v = item.votes[0]
            prompt = json.dumps([message.turn() for message in v.prompt])  # type: ignore[union-attr]
            source = json.dumps({"a": v.source_a, "b": v.source_b, "row": "x.jsonl:1"})
            row = (v.item, place, prompt, v.response_a, v.response_b, source)
            database.execute("INSERT INTO items VALUES (?, ?, ?, ?, ?, ?)", row)
        for v in votes:
            vote = (v.item, v.annotator, v.grade, v.grade is None, v.reason, v.seconds)
            database.execute("INSERT INTO votes VALUES (?, ?, ?, ?, ?, ?)", vote)
    database.close()
    return folder


def test_a_project_is_read_by_its_folder_or_its_file(tmp_path: Path) -> None:
    folder = project(tmp_path, votes_of(5))
    assert read_votes(folder) == votes_of(5)
    assert read_votes(folder / "annotations.sqlite") == votes_of(5)


def test_votes_of_a_project_stand_by_place_and_annotator(tmp_path: Path) -> None:
    folder = project(tmp_path, votes_of(5))
    with sqlite3.connect(folder / "annotations.sqlite") as database:
        for table in ("items", "votes"):
            database.executescript(
                f"""
                CREATE TABLE turned AS SELECT * FROM {table} ORDER BY rowid DESC;
                DROP TABLE {table};
                ALTER TABLE turned RENAME TO {table};
                """
            )
    database.close()
    assert read_votes(folder) == votes_of(5)


# -- what cannot be read or written ----------------------------------------------------------------


def test_files_that_are_none_end_with_one_line(tmp_path: Path) -> None:
    def refused(name: str, *rows: Any) -> str:
        file = tmp_path / name
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        with pytest.raises(UserError) as error:
            read_votes(file)
        assert "\n" not in str(error.value)
        return str(error.value)

    vote = {"prompt": "p", "response_a": "a", "response_b": "b", "annotator": "ann", "grade": 1}
    assert "pairs.jsonl:1: in format trl no single votes are told; give a file of votes" in refused(
        "pairs.jsonl", {"prompt": "p", "chosen": "a", "rejected": "b"}
    )
    assert "far.jsonl:2: grade is 4, expected -3 to 3" in refused(
        "far.jsonl", vote, {**vote, "grade": 4}
    )
    assert "half.jsonl:1: grade is 0.5, expected a whole number" in refused(
        "half.jsonl", {**vote, "grade": 0.5}
    )
    assert "scales of 5 and 7 steps" in refused("mixed.jsonl", vote, {**vote, "steps": 5})
    choice = task(result("choices", choices=["Banana"]))
    assert "choice is Banana, expected as in A is much better" in refused("ls.jsonl", choice)
    lone = task(result("rating", "answer1", rating=4))
    assert "expected a rating of answer1 and one of answer2" in refused("one.jsonl", lone)
    broken = tmp_path / "broken.sqlite"
    broken.write_bytes(b"SQLite format 3\0" + bytes(100))
    with pytest.raises(UserError, match=r"broken.sqlite: cannot be read as a project"):
        read_votes(broken)


def test_what_a_form_cannot_hold_is_not_written(tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    talk = Vote(TALK, "x", "y", 1, "ann", steps=5, item="t")
    for votes, form, message in (
        (votes_of(7), "multipref", "MultiPref has a scale of 5 steps, these votes have 7"),
        (votes_of(5), "helpsteer3", "HelpSteer3 has a scale of 7 steps"),
        ([talk], "multipref", "item t: MultiPref has prompts of one text"),
        ([replace(talk, grade=None)], "rows", "all of 1 votes are skipped"),
        ([talk], "label-studio", "ends in .json"),
        ([talk], "multi", "did you mean 'multipref'"),
    ):
        with pytest.raises(UserError, match=message):
            write_votes(votes, file, form)
        assert not file.exists()
