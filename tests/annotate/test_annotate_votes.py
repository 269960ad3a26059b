"""The project's file: votes that are stored once, taken back once, and never lost."""

from __future__ import annotations

import stat
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rewarddiff.annotate.assigning import Assignment, assign
from rewarddiff.annotate.config import AnnotateConfig
from rewarddiff.annotate.project import TOKENS, open_project, tokens_of
from rewarddiff.annotate.records import Answer, Pair, prompt_as_json, prompt_from_json
from rewarddiff.annotate.votes import Votes
from rewarddiff.errors import UserError
from rewarddiff.records import Message
from tests.annotate.conftest import rated_pairs

ME = "annotator-1"


def opened(
    folder: Path,
    count: int = 4,
    *,
    annotators: int = 3,
    steps: int | None = None,
    **options: Any,
) -> Votes:
    config = AnnotateConfig(**options)
    pairs = rated_pairs(count)
    return open_project(folder, pairs, annotators=annotators, steps=steps, config=config)


def answer(votes: Votes, toward_first: int | None, nonce: str, reason: str = "") -> Answer:
    """An answer to the item that is shown now."""
    shown = votes.next_item(ME)
    assert shown is not None
    return Answer(shown.id, toward_first, reason, nonce)


def test_a_grade_is_towards_a_wherever_a_stood(tmp_path: Path) -> None:
    votes = opened(tmp_path, 8)
    for number in range(8):
        assert votes.vote(ME, answer(votes, 2, f"n{number}")) == "stored"
    rows = votes.rows("SELECT * FROM votes")
    # The first was always better by two: a by two where it stood first, b by two where b did.
    assert {(row["first"], row["grade"]) for row in rows} == {(0, 2), (1, -2)}
    # Of eight items a stood first in four.
    assert sum(row["first"] for row in rows) == 4


def test_what_stands_first_is_what_was_stored_as_first(tmp_path: Path) -> None:
    votes = opened(tmp_path, 8)
    for number in range(8):
        shown = votes.next_item(ME)
        assert shown is not None
        votes.vote(ME, Answer(shown.id, 0, "", f"n{number}"))
        [row] = votes.rows(
            "SELECT a, b, first FROM votes JOIN items ON id = item WHERE nonce = ?", f"n{number}"
        )
        assert shown.responses[row["first"]] == row["a"]
        assert shown.responses[1 - row["first"]] == row["b"]


def test_a_form_that_arrives_twice_is_stored_once(tmp_path: Path) -> None:
    votes = opened(tmp_path)
    first = answer(votes, 1, "n1")
    assert [votes.vote(ME, first) for _ in range(3)] == ["stored", "known", "known"]
    assert votes.progress(ME).done == 1


def test_of_two_answers_to_an_item_the_first_stays(tmp_path: Path) -> None:
    votes = opened(tmp_path)
    first = answer(votes, 3, "n1")
    votes.vote(ME, first)
    assert votes.vote(ME, Answer(first.item, -3, "", "n2")) == "answered"
    [row] = votes.rows("SELECT * FROM votes")
    assert row["nonce"] == "n1"


def test_an_undo_takes_back_one_vote_however_often_it_arrives(tmp_path: Path) -> None:
    votes = opened(tmp_path)
    votes.vote(ME, answer(votes, 1, "n1"))
    second = answer(votes, 1, "n2", "a reason")
    votes.vote(ME, second)
    assert [votes.undo(ME, "n2") for _ in range(2)] == [True, False]
    assert votes.progress(ME).done == 1
    again = votes.next_item(ME)
    assert again is not None
    assert (again.id, again.reason) == (second.item, "a reason")
    # What was taken back does not come back with a form that arrives late.
    assert votes.vote(ME, second) == "known"
    assert votes.progress(ME).done == 1
    assert votes.vote(ME, Answer(second.item, -1, "", "n3")) == "stored"


def test_a_skip_is_no_tie(tmp_path: Path) -> None:
    votes = opened(tmp_path)
    votes.vote(ME, answer(votes, None, "n1"))
    votes.vote(ME, answer(votes, 0, "n2"))
    rows = votes.rows("SELECT grade, skipped FROM votes ORDER BY nonce")
    assert [tuple(row) for row in rows] == [(None, 1), (0, 0)]
    assert votes.progress(ME).skipped == 1


def test_nobody_votes_with_the_form_of_another(tmp_path: Path) -> None:
    votes = opened(tmp_path)
    mine = answer(votes, 1, "n1")
    votes.vote(ME, mine)
    with pytest.raises(LookupError):
        votes.vote("annotator-2", mine)
    with pytest.raises(LookupError):
        votes.vote(ME, Answer("no such item", 1, "", "n2"))
    assert not votes.undo("annotator-2", "n1")


def test_seconds_run_from_the_first_look_and_add_up_over_an_undo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("rewarddiff.annotate.votes.time.time", lambda: now)
    votes = opened(tmp_path)
    first = answer(votes, 1, "n1")
    now = 1007.0
    assert votes.next_item(ME).id == first.item  # type: ignore[union-attr]  # a reload starts nothing
    now = 1012.5
    votes.vote(ME, first)
    assert votes.rows("SELECT seconds FROM votes")[0]["seconds"] == 12.5
    votes.undo(ME, "n1")
    now = 1100.0
    again = answer(votes, 2, "n2")
    now = 1103.0
    votes.vote(ME, again)
    assert votes.rows("SELECT seconds FROM votes")[0]["seconds"] == 15.5  # 12.5 + 3

    votes.next_item(ME)
    now = 9000.0  # closed, and opened by the link the next day
    votes.begin_visit(ME)
    third = answer(votes, 1, "n3")
    now = 9004.0
    votes.vote(ME, third)
    assert votes.rows("SELECT seconds FROM votes WHERE nonce = 'n3'")[0]["seconds"] == 4


def test_a_project_goes_on(tmp_path: Path) -> None:
    votes = opened(tmp_path, 4, steps=5)
    first = answer(votes, 1, "n1")
    votes.vote(ME, first)
    tokens, order = tokens_of(votes), votes.rows("SELECT * FROM assignments")
    votes.close()
    again = opened(tmp_path, 4)
    assert tokens_of(again) == tokens
    assert [row["item"] for row in again.rows("SELECT * FROM assignments")] == [
        row["item"] for row in order
    ]
    assert (again.progress(ME).done, again.settings()["scale"]) == (1, 5)
    again.close()
    more = opened(tmp_path, 6, annotators=4)
    assert more.progress(ME).total == more.progress("annotator-4").total == 6
    assert tokens.items() <= tokens_of(more).items()


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"count": 3}, "1 of its 4 items are not in this data"),
        ({"steps": 7}, "begun with --scale 5"),
    ],
)
def test_another_project_is_refused(tmp_path: Path, options: dict[str, Any], cause: str) -> None:
    opened(tmp_path, steps=5).close()
    with pytest.raises(UserError, match=cause):
        opened(tmp_path, **options)


def test_a_folder_without_a_project_needs_data(tmp_path: Path) -> None:
    config = AnnotateConfig()
    with pytest.raises(UserError, match="name the data"):
        open_project(tmp_path, [], annotators=3, steps=None, config=config)
    assert not list(tmp_path.iterdir())


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "annotations.sqlite").write_text("not a database, but long enough to be looked at")
    with pytest.raises(UserError, match=r"no file of annotations \(.*\); choose another output"):
        opened(tmp_path)


def test_tokens_are_their_owners_alone_and_the_file_of_votes_holds_none(tmp_path: Path) -> None:
    votes = opened(tmp_path)
    tokens = tokens_of(votes)
    assert stat.S_IMODE((tmp_path / TOKENS).stat().st_mode) == 0o600
    votes.close()
    content = b"".join(path.read_bytes() for path in tmp_path.glob("annotations*"))
    assert len(set(tokens.values())) == 3
    assert not any(token.encode() in content for token in tokens.values())
    # A lost file means new links; the old ones are dead.
    (tmp_path / TOKENS).unlink()
    again = opened(tmp_path)
    assert again.annotator_of(tokens[ME]) is None
    assert again.annotator_of(tokens_of(again)[ME]) == ME


def test_the_same_texts_have_other_names_in_another_project(tmp_path: Path) -> None:
    names = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        votes = opened(tmp_path / folder)
        names.append({row["id"] for row in votes.rows("SELECT id FROM items")})
    assert not names[0] & names[1]


def test_pairs_that_stand_twice_are_two_items(tmp_path: Path) -> None:
    pair = Pair("p", "a", "b", {})
    votes = open_project(
        tmp_path, [pair, pair], annotators=1, steps=7, config=AnnotateConfig(seed=1)
    )
    assert votes.progress(ME).total == 2


def test_prompts_come_back_as_they_went(tmp_path: Path) -> None:
    tools = Message.of("system", "Be kind.", {"tools": [{"name": "clock"}]})
    for prompt in ("text\n “x”", (tools, Message("user", "Hi\u0000"))):
        assert prompt_from_json(prompt_as_json(prompt)) == prompt


# --- who is asked what ----------------------------------------------------------------------------


def drawn(seed: int, **options: Any) -> list[Assignment]:
    items = [f"item {number}" for number in range(30)]
    settings = {"per_item": 3, **options}
    return assign(items, ["x", "y", "z"], {}, seed=seed, **settings)


def test_everybody_gets_every_item_half_of_them_with_a_first() -> None:
    assignments = drawn(0)
    for annotator in "xyz":
        own = [each for each in assignments if each.annotator == annotator]
        assert len({each.item for each in own}) == 30
        assert sorted(each.place for each in own) == list(range(30))
        assert sum(each.first for each in own) == 15
    orders = {
        annotator: [each.item for each in assignments if each.annotator == annotator]
        for annotator in "xyz"
    }
    assert orders["x"] != orders["y"] != orders["z"]


def test_the_draw_is_that_of_its_seed() -> None:
    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_without_shuffling_items_stand_as_in_the_data() -> None:
    own = [each.item for each in drawn(0, shuffle=False) if each.annotator == "x"]
    assert own == [f"item {number}" for number in range(30)]


def test_fewer_than_all_share_the_items_evenly() -> None:
    items = [f"item {number}" for number in range(30)]
    assignments = assign(items, list("vwxyz"), {}, per_item=2, seed=0)
    assert set(Counter(each.item for each in assignments).values()) == {2}
    # 30 items × 2 over 5 people are 12 each.
    assert set(Counter(each.annotator for each in assignments).values()) == {12}


def test_who_comes_later_gets_what_still_lacks_somebody() -> None:
    assigned = {"x": ["one", "two"], "y": ["one"]}
    new = assign(["one", "two", "three"], list("xyz"), assigned, per_item=2, seed=0)
    asked = {(each.annotator, each.item) for each in new}
    # "one" has its two; "two" lacks one of y and z, "three" two of all: z, who has nothing, gets both.
    assert {item for _, item in asked} == {"two", "three"}
    assert Counter(item for _, item in asked) == {"two": 1, "three": 2}
    assert {("z", "two"), ("z", "three")} <= asked


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "guidelines.md").write_text("Be fair.")
    (tmp_path / "results.json").write_text("{}")
    pairs = [Pair("Prompt?", "one", "other", {})]
    config = AnnotateConfig(seed=1)
    with pytest.raises(UserError, match=r"holds something else \(results\.json\)"):
        open_project(tmp_path, pairs, annotators=1, steps=None, config=config)
    (tmp_path / "results.json").unlink()
    # Guidelines may lie there before it is begun, and a project is gone on with.
    for _ in range(2):
        open_project(tmp_path, pairs, annotators=1, steps=None, config=config).close()
