"""Each format on rows written by hand as they are found in the wild."""

import csv
import json
import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewarddiff.data import Ledger, load_groups, read
from rewarddiff.data.formats import FORMATS, RowError, detect
from rewarddiff.errors import UserError
from rewarddiff.records import Comparison, Group, Message


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def assistant(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


def one(row: dict[str, Any]) -> Group:
    """The group a single row becomes by the format it is detected as."""
    form = detect(row)
    assert form is not None
    return form.converter(None)(row)


def load(
    tmp_path: Path, rows: list[Any], ledger: Ledger | None = None, name: str = "rows.jsonl"
) -> list[Group]:
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return list(read(path, ledger=ledger or Ledger()))


def test_names_are_unique() -> None:
    assert len({form.name for form in FORMATS}) == len(FORMATS)


def test_trl_plain() -> None:
    group = one({"prompt": "The sky is", "chosen": " blue.", "rejected": " green.", "other": 1})
    assert group == Group("", "The sky is", (" blue.", " green."), None, (Comparison(0, 1),))


@pytest.mark.parametrize(
    ("more", "strength", "scores"),
    [
        ({"margin": 1.5}, 1.5, None),
        ({"margin": "2"}, 2.0, None),
        ({"margin": None}, None, None),
        ({"margin": ""}, None, None),
        ({"score_chosen": 8.0, "score_rejected": 5.5}, 2.5, (8.0, 5.5)),
        ({"chosen_rating": 4, "rejected_rating": 4}, 0.0, (4.0, 4.0)),
        ({"margin": 9, "chosen_score": 4, "rejected_score": 1}, 9.0, (4.0, 1.0)),
        ({"score_chosen": 8.0}, None, None),
    ],
)
def test_trl_strength(
    more: dict[str, Any], strength: float | None, scores: tuple[float, float] | None
) -> None:
    group = one({"prompt": "x", "chosen": "a", "rejected": "b", **more})
    assert group.comparisons == (Comparison(0, 1, strength),)
    assert group.scores == scores


CONVERSATION = (Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "Why?"))
TURNS = [user("Hi"), assistant("Hello"), user("Why?")]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": TURNS, "chosen": [assistant("Good")], "rejected": [assistant("Bad")]},
        {
            "prompt": TURNS,
            "chosen": [*TURNS, assistant("Good")],
            "rejected": [*TURNS, assistant("Bad")],
        },
        {"chosen": [*TURNS, assistant("Good")], "rejected": [*TURNS, assistant("Bad")]},
        {
            "prompt": "Why?",
            "chosen": [*TURNS, assistant("Good")],
            "rejected": [*TURNS, assistant("Bad")],
        },
    ],
    ids=["explicit", "repeated", "implicit", "prompt is a label"],
)
def test_trl_conversations(row: dict[str, Any]) -> None:
    assert one(row) == Group("", CONVERSATION, ("Good", "Bad"), None, (Comparison(0, 1),))


def test_trl_text_prompt_with_turns_as_answers() -> None:
    group = one({"prompt": "Why?", "chosen": [assistant("Good")], "rejected": [assistant("Bad")]})
    assert group.prompt == (Message("user", "Why?"),)


def test_identical_conversations_share_all_but_the_answer(tmp_path: Path) -> None:
    ledger = Ledger()
    same = [user("Hi"), assistant("Hello")]
    assert load(tmp_path, [{"chosen": same, "rejected": same}], ledger) == []
    assert ledger.count("identical_responses") == 1


def test_hh_keeps_every_character() -> None:
    before = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Why?\n\nAssistant:"
    group = one({"chosen": before + " Good\n\nreally ", "rejected": before + " Bad"})
    assert group.prompt == before
    assert group.responses == (" Good\n\nreally ", " Bad")
    assert group.topic == "Human: Hi"


def test_hh_with_different_histories_is_counted(tmp_path: Path) -> None:
    ledger = Ledger()
    rows = [
        {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"},
        {
            "chosen": "\n\nHuman: a\n\nAssistant: b\n\nAssistant: c",
            "rejected": "\n\nHuman: a\n\nAssistant: d",
        },
        {"chosen": "\n\nHuman: a", "rejected": "\n\nHuman: a\n\nAssistant: d"},
    ]
    assert len(load(tmp_path, rows, ledger)) == 1
    assert ledger.count("prompts_differ") == 1
    assert ledger.count("missing_field") == 1


def tldr(choice: int, confidence: int | None, **info: str) -> dict[str, Any]:
    info = info or {"post": "P", "title": "T", "subreddit": "aww"}
    return {
        "info": {"id": "t3_x", **info},
        "summaries": [{"text": " first"}, {"text": " second"}],
        "choice": choice,
        "extra": {"confidence": confidence},
    }


@pytest.mark.parametrize(
    ("choice", "confidence", "expected"),
    [
        (0, 1, (0, 1, 4)),
        (0, 4, (0, 1, 1)),
        (1, 6, (1, 0, 1)),
        (1, 9, (1, 0, 4)),
        (0, 5, (0, 1, 0)),
        (1, None, (1, 0, None)),
    ],
)
def test_tldr_confidence(
    choice: int, confidence: int | None, expected: tuple[int, int, float | None]
) -> None:
    assert one(tldr(choice, confidence)).comparisons == (Comparison(*expected),)


def test_tldr_prompts() -> None:
    assert one(tldr(0, 1)).prompt == "SUBREDDIT: r/aww\n\nTITLE: T\n\nPOST: P\n\nTL;DR:"
    assert one(tldr(0, 1, article="A")).prompt == "Article: A\n\nTL;DR:"


def test_tldr_choice_against_confidence_is_counted(tmp_path: Path) -> None:
    ledger = Ledger()
    between = tldr(1, 7) | {"choice": 0.5}
    assert load(tmp_path, [tldr(0, 7), tldr(2, 7), between], ledger) == []
    assert ledger.count("contradictory") == 1
    assert ledger.count("missing_field") == 2


def test_scored_and_rrhf() -> None:
    group = one({"id": 7, "prompt": "x", "responses": ["a", "b"], "scores": [1, 2.5]})
    assert group == Group("7", "x", ("a", "b"), (1.0, 2.5))
    assert one({"query": "x", "responses": ["a", "b"], "scores": [1, 2]}) == Group(
        "", "x", ("a", "b"), (1.0, 2.0)
    )


def test_scored_lists_in_text_cells() -> None:
    group = one({"prompt": "x", "responses": '["a", "b"]', "scores": "[1, 2]"})
    assert (group.responses, group.scores) == (("a", "b"), (1.0, 2.0))


def test_ranks_say_the_order_only() -> None:
    # ranks 2, 1, 2: the second wins twice, first and third tie
    group = one({"prompt": "x", "responses": ["a", "b", "c"], "ranks": [2, 1, 2]})
    assert group.scores is None
    assert group.comparisons == (Comparison(1, 0), Comparison(0, 2, 0.0), Comparison(1, 2))


def test_qa_feedback_order_of_pairs() -> None:
    # pairs 12 13 14 23 24 34: tie, 1, 4, 2, tie, 4  =>  4 > 1 = 2 > 3
    row: dict[str, Any] = {f"prediction {k}": str(k) for k in (1, 2, 3, 4)}
    group = one({"question": "Q?", "passages": [], **row, "preference": [0, 1, 2, 1, 0, 2]})
    assert group.prompt == (Message("user", "Q?"),)
    assert group.comparisons == (
        Comparison(0, 1, 0.0),
        Comparison(0, 2),
        Comparison(3, 0),
        Comparison(1, 2),
        Comparison(1, 3, 0.0),
        Comparison(3, 2),
    )


def test_rewardbench_every_chosen_beats_every_rejected() -> None:
    group = one({"prompt": "Q?", "chosen": ["a"], "rejected": ["b", "c"], "id": "9"})
    assert group.id == "9"
    assert group.responses == ("a", "b", "c")
    assert group.comparisons == (Comparison(0, 1), Comparison(0, 2))


STYLED = {"chosen": ["a", "a long", "**a** long"], "rejected": ["b", "b long", "**b** long"]}
"""An answer in short, at length, and at length with markup; and a wrong one."""


def test_rewardbench_lists_of_conversations_and_of_unequal_length() -> None:
    group = one({"prompt": "Q?", "chosen": [[assistant("a")], "b"], "rejected": [[assistant("c")]]})
    assert (group.responses, group.comparisons) == (
        ("a", "b", "c"),
        (Comparison(0, 2), Comparison(1, 2)),
    )


def test_rewardbench_of_single_texts_asks_as_a_user() -> None:
    """The first RewardBench's rows are told from a user's own by the models that they name."""
    row = {"prompt": "Q?", "chosen": "a", "rejected": "b", "subset": "hep-cpp"}
    group = one({**row, "chosen_model": "m", "rejected_model": "n"})
    assert (group.prompt, group.responses) == ((Message("user", "Q?"),), ("a", "b"))
    assert one(row).prompt == "Q?"


def test_rm_bench_knows_its_styles(tmp_path: Path) -> None:
    rows = [
        {"prompt": "Q0", **STYLED, "domain": "math"},
        {"prompt": "Q1", "chosen": ["a"], "rejected": ["b", "c"], "domain": "math"},
        # the plain wrong answer is the short one: one text, and its styles the first's
        {
            "prompt": "Q2",
            "chosen": ["a", "b", "c"],
            "rejected": ["d", "d", "e"],
            "domain": "safety-refuse",
        },
        {"prompt": "Q3", "chosen": ["a", "", "c"], "rejected": ["d", "e", "f"], "domain": "math"},
    ]
    ledger = Ledger()
    whole, same, empty = load(tmp_path, rows, ledger)
    assert whole.prompt == (Message("user", "Q0"),)
    assert whole.styles == ("concise", "plain", "markdown") * 2
    assert whole.subset == "math"
    assert len(whole.comparisons) == 9
    assert same.styles == ("concise", "plain", "markdown", "concise", "markdown")
    assert empty.styles == ("concise", "markdown", "concise", "plain", "markdown")
    assert ledger.to_dict()["dropped"]["missing_field"]["examples"][0]["detail"] == (
        "1 chosen and 2 rejected texts, expected 3 and 3"
    )


@pytest.mark.parametrize("change", [{"domain": "cooking"}, {"chosen": ["a", "b"]}])
def test_other_lists_have_no_styles(change: dict[str, Any]) -> None:
    assert one({"prompt": "Q", **STYLED, "domain": "math", **change}).styles == ()


def write_csv(path: Path, rows: list[dict[str, str]]) -> list[Group]:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return list(read(path, ledger=Ledger()))


def test_lists_in_cells_of_text_are_json(tmp_path: Path) -> None:
    cells = {side: json.dumps(value) for side, value in STYLED.items()}
    (group,) = write_csv(tmp_path / "a.csv", [{"prompt": "Q", **cells, "domain": "code"}])
    assert group.responses == (*STYLED["chosen"], *STYLED["rejected"])
    turns = {side: json.dumps([assistant(side)]) for side in ("chosen", "rejected")}
    (group,) = write_csv(tmp_path / "b.csv", [{"prompt": json.dumps([user("Q")]), **turns}])
    assert (group.prompt, group.responses) == ((Message("user", "Q"),), ("chosen", "rejected"))
    whole = {side: json.dumps([user("Q"), assistant(side)]) for side in ("chosen", "rejected")}
    (group,) = write_csv(tmp_path / "c.csv", [whole])
    assert (group.prompt, group.responses) == ((Message("user", "Q"),), ("chosen", "rejected"))


def test_a_list_in_another_writing_is_refused_and_not_read_as_a_text(tmp_path: Path) -> None:
    """What pandas makes of a list in a CSV."""
    cells = {side: str(value) for side, value in STYLED.items()}
    ledger = Ledger()
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(
            [["prompt", "chosen", "rejected"], ["Q", cells["chosen"], cells["rejected"]]]
        )
    assert list(read(path, ledger=ledger)) == []
    (example,) = ledger.to_dict()["dropped"]["missing_field"]["examples"]
    assert example["detail"] == "chosen is not a list (written in a cell of text, a list is JSON)"


def test_texts_that_begin_as_lists_do_stay_texts() -> None:
    group = one(
        {"prompt": '["sort", "me"]', "chosen": "[1] As Smith says", "rejected": '["a", "b"]'}
    )
    assert (group.prompt, group.responses) == (
        '["sort", "me"]',
        ("[1] As Smith says", '["a", "b"]'),
    )
    answers = {
        "chosen": '["1", "2"]',
        "rejected": '["2", "1"]',
    }  # where lists can be lists, a text is one answer
    for asked in ({"prompt": "Sort 2 and 1"}, {"prompt": "Sort 2 and 1", "domain": "math"}):
        assert one({**asked, **answers}).responses == ('["1", "2"]', '["2", "1"]')


def test_a_side_without_responses_is_counted(tmp_path: Path) -> None:
    ledger = Ledger()
    rows = [
        {"prompt": "P", "chosen": [], "rejected": ["b"]},
        {"prompt": "Q", "chosen": ["a"], "rejected": ["b"]},
    ]
    (group,) = load(tmp_path, rows, ledger)
    assert group.prompt == (Message("user", "Q"),)
    assert (
        ledger.to_dict()["dropped"]["empty_response"]["examples"][0]["detail"]
        == "chosen holds no response"
    )


def simplified(original: str, text: str, *ratings: str) -> dict[str, Any]:
    rated = {f"rating_{k}": rating for k, rating in enumerate(ratings, start=1)}
    return {
        "original": original,
        "original_id": original,
        "generation": text,
        **rated,
        "rating_1_z_score": "9",
    }


def test_simpeval_gathers_the_rows_of_a_sentence(tmp_path: Path) -> None:
    ledger = Ledger()
    rows = [
        simplified("S0", "a", "10", "20"),
        simplified("S0", "b", "30", "", "50"),
        simplified("S0", " a ", "40", "50"),  # a again: its score is the mean of 15 and 45
        simplified("S0", "", "1"),
        simplified("S1", "c", "1"),
        simplified("S1", "d", "x"),
        simplified("S2", "e", "1"),
        simplified("S2", "e", "1"),  # two rows, but one response
    ]
    group, *alone = load(tmp_path, rows, ledger)
    assert group.prompt == (Message("user", "Simplify this sentence: S0"),)
    assert (group.id, group.responses, group.scores) == ("S0", ("a", "b"), (30.0, 40.0))
    # kept: three rows of S0, c, left alone, and both of S2, one response; dropped: an empty one, and
    # one without a number
    assert [group.responses for group in alone] == [("c",), ("e",)]
    assert (ledger.kept, ledger.dropped) == (6, 2)
    assert ledger.count("empty_response") == ledger.count("missing_field") == 1
    assert ledger.to_dict()["changed"]["single_response"]["count"] == 2
    assert ledger.to_dict()["changed"]["identical_responses"]["count"] == 2


def shuffled_apart(rows: list[Any]) -> list[Any]:
    """Rows in a fixed random order."""
    return random.Random(0).sample(rows, len(rows))


def simplifications() -> list[dict[str, Any]]:
    """Ten sentences with six simplifications each, rated 0 to 59."""
    return [
        simplified(f"S{s}", f"text {s} {k}", str(6 * s + k)) for s in range(10) for k in range(6)
    ]


def scored_texts(groups: list[Group]) -> dict[str, dict[str, float]]:
    return {
        group.id: dict(zip(group.responses, group.scores or (), strict=True)) for group in groups
    }


def test_rows_of_a_prompt_are_gathered_wherever_they_stand(tmp_path: Path) -> None:
    rows = shuffled_apart(simplifications())
    ledger = Ledger()
    groups = load(tmp_path, rows, ledger)
    expected = {f"S{s}": {f"text {s} {k}": 6.0 * s + k for k in range(6)} for s in range(10)}
    assert scored_texts(groups) == expected
    assert (ledger.kept, ledger.dropped) == (60, 0)
    assert [group.id for group in groups] == list(dict.fromkeys(row["original_id"] for row in rows))


def test_rows_of_a_prompt_are_gathered_from_all_files_of_a_folder(tmp_path: Path) -> None:
    rows = shuffled_apart(simplifications())
    folder = tmp_path / "parts"
    folder.mkdir()
    for part in range(3):
        (folder / f"{part}.jsonl").write_text(
            "".join(json.dumps(row) + "\n" for row in rows[part::3])
        )
    whole = load(tmp_path, rows)
    assert scored_texts(list(read(folder, ledger=Ledger()))) == scored_texts(whole)


@given(st.permutations(range(6)))
def test_the_order_of_votes_says_nothing(order: list[int]) -> None:
    """Votes on all pairs of three arguments, in two debates."""
    pairs = [("a", "b"), ("b", "c"), ("a", "c")]
    rows = [
        vote(*pair, 3, 0, n) | {"topic": topic}
        for topic in ("t_yes", "t_no")
        for n, pair in enumerate(pairs)
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arguments = [
            {"id": f"{topic} {i}", "title": "T", "stance": topic, "text": i.upper()}
            for topic in ("t_yes", "t_no")
            for i in "abc"
        ]
        (folder / "arguments.jsonl").write_text(
            "".join(json.dumps(line) + "\n" for line in arguments)
        )
        for row in rows:
            row.update({side: f"{row['topic']} {row[side]}" for side in ("a1", "a2")})
        groups = load(folder, [rows[k] for k in order], name="pairs.jsonl")
    assert {group.id: compared_texts(group) for group in groups} == {
        topic: {("A", "B", 3.0), ("B", "C", 2.0), ("A", "C", 1.0)} for topic in ("t_yes", "t_no")
    }


def compared_texts(group: Group) -> set[tuple[str, str, float | None]]:
    return {
        (group.responses[c.chosen], group.responses[c.rejected], c.strength)
        for c in group.comparisons
    }


def vote(a1: str, a2: str, *votes: int) -> dict[str, Any]:
    return {
        "topic": "t_yes",
        "a1": a1,
        "a2": a2,
        **dict(zip(("votes_a1", "votes_equal", "votes_a2"), votes, strict=True)),
    }


def test_ukp_joins_votes_and_arguments(tmp_path: Path) -> None:
    (tmp_path / "arguments.jsonl").write_text(
        "".join(
            json.dumps({"id": i, "title": "T", "stance": "Yes", "text": i.upper()}) + "\n"
            for i in "abc"
        )
    )
    rows = [
        vote("a", "b", 4, 0, 1),
        vote("c", "b", 0, 0, 5),
        vote("a", "c", 2, 3, 0),  # most say equal
        vote("b", "a", 0, 2, 3),  # a over b again
        vote("b", "c", 2, 1, 2),  # even votes: a tie, against b over c above
        vote("a", "z", 5, 0, 0),
    ]
    ledger = Ledger()
    (group,) = load(tmp_path, rows, ledger, name="pairs.jsonl")
    assert group.topic == "T"
    assert group.id == "t_yes"
    assert group.responses == ("A", "B", "C")
    assert group.comparisons == (
        Comparison(0, 1, 3.0),
        Comparison(1, 2, 5.0),
        Comparison(0, 2, 0.0),
    )
    assert (ledger.kept, ledger.dropped) == (3, 3)
    assert (
        ledger.count("duplicate")
        == ledger.count("contradictory")
        == ledger.count("missing_field")
        == 1
    )


def test_ukp_without_its_arguments(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"pairs\.jsonl: .*put arguments\.jsonl"):
        load(tmp_path, [vote("a", "b", 1, 0, 0)], name="pairs.jsonl")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "x", "chosen": "a"}, "missing_field"),
        ({"prompt": "x", "chosen": "a", "rejected": None}, "missing_field"),
        ({"prompt": "x", "chosen": "a", "rejected": 5}, "missing_field"),
        ({"prompt": None, "chosen": "a", "rejected": "b"}, "missing_field"),
        ({"prompt": " ", "chosen": "a", "rejected": "b"}, "missing_field"),
        ({"prompt": "x", "chosen": "a", "rejected": "b", "margin": "much"}, "missing_field"),
        ({"prompt": "x", "chosen": "a", "rejected": "b", "margin": True}, "non_finite_score"),
        (
            {"prompt": "x", "chosen": "a", "rejected": "b", "margin": float("nan")},
            "non_finite_score",
        ),
        (
            {"prompt": "x", "chosen": "a", "rejected": "b", "margin": float("inf")},
            "non_finite_score",
        ),
        ({"prompt": "x", "chosen": "a", "rejected": "b", "margin": 1e308}, "non_finite_score"),
        (
            {
                "prompt": "x",
                "chosen": "a",
                "rejected": "b",
                "score_chosen": 1e308,
                "score_rejected": -1e308,
            },
            "non_finite_score",
        ),
        ({"prompt": "x", "chosen": "a", "rejected": "b", "margin": -1}, "contradictory"),
        ({"prompt": "x", "chosen": "a", "rejected": " \n"}, "empty_response"),
        ({"prompt": "x", "chosen": "a", "rejected": "a "}, "identical_responses"),
        ({"prompt": [{"role": "user"}], "chosen": "a", "rejected": "b"}, "missing_field"),
        ({"prompt": [user("x")], "chosen": [], "rejected": [assistant("b")]}, "empty_response"),
        (
            {
                "prompt": [user("x")],
                "chosen": [assistant("a"), user("y"), assistant("c")],
                "rejected": [assistant("b")],
            },
            "prompts_differ",
        ),
    ],
)
def test_bad_rows_are_counted_by_reason(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    ledger = Ledger()
    good = {"prompt": "good", "chosen": "a", "rejected": "b"}
    assert len(load(tmp_path, [good, row], ledger)) == 1
    assert (ledger.kept, ledger.dropped, ledger.count(reason)) == (1, 1, 1)
    assert ledger.to_dict()["dropped"][reason]["examples"][0]["source"] == "rows.jsonl:2"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"responses": ["a", "b"], "scores": [1, None]}, "missing_field"),
        ({"responses": ["a", "b"], "scores": [1]}, "missing_field"),
        ({"responses": ["a", "b"], "scores": [1, float("nan")]}, "non_finite_score"),
        ({"responses": ["a", "b"], "scores": [1e308, -1e308]}, "non_finite_score"),
        ({"responses": ["a", "a", "b"], "scores": [1e308, 1e308, 1]}, "non_finite_score"),
        ({"responses": ["a", "b"], "ranks": [1, 1e300]}, "non_finite_score"),
        ({"responses": ["a", "b"], "scores": [10**400, 1]}, "missing_field"),
        ({"responses": [], "scores": []}, "single_response"),
        ({"responses": ["a", 3], "scores": [1, 2]}, "missing_field"),
        ({"responses": "a", "scores": [1]}, "missing_field"),
    ],
)
def test_bad_lists_are_counted_by_reason(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    ledger = Ledger()
    assert load(tmp_path, [{"prompt": "x", **row}], ledger) == []
    assert (ledger.dropped, ledger.count(reason)) == (1, 1)


@pytest.mark.parametrize(
    "columns", [("prompt", "responses", "scores"), ("query", "responses", "scores")]
)
def test_a_response_without_a_score_stays_unordered(
    tmp_path: Path, columns: tuple[str, ...]
) -> None:
    ledger = Ledger()
    row = dict(zip(columns, ["x", ["a", "b", "c", "d"], [1, None, 4, 2.5]], strict=True))
    (group,) = load(tmp_path, [row], ledger)
    assert group.responses == ("a", "b", "c", "d")
    assert group.scores is None
    assert {(c.chosen, c.rejected, c.strength) for c in group.known_comparisons()} == {
        (2, 0, 3.0),
        (3, 0, 1.5),
        (2, 3, 1.5),
    }
    assert (ledger.kept, ledger.dropped) == (1, 0)
    (example,) = ledger.to_dict()["changed"]["missing_field"]["examples"]
    assert example["detail"] == "1 of 4 responses without a score"


def test_lists_lose_what_is_empty_or_repeated_and_go_on(tmp_path: Path) -> None:
    ledger = Ledger()
    (group,) = load(
        tmp_path,
        [{"prompt": "x", "responses": ["a", "", "b", "a "], "scores": [1, 2, 3, 2]}],
        ledger,
    )
    assert (group.responses, group.scores) == (("a", "b"), (1.5, 3.0))
    assert (ledger.kept, ledger.dropped) == (1, 0)
    assert ledger.count("empty_response") == ledger.count("identical_responses") == 1


@pytest.mark.parametrize(
    "row", [{}, {"scores": [2, 2]}, {"ranks": [1, 1]}], ids=["nothing", "scores", "ranks"]
)
def test_unordered_groups_are_kept_and_noted(tmp_path: Path, row: dict[str, Any]) -> None:
    ledger = Ledger()
    assert len(load(tmp_path, [{"prompt": "x", "responses": ["a", "b"], **row}], ledger)) == 1
    assert (ledger.kept, ledger.count("no_order")) == (1, 1)


@pytest.mark.parametrize("huge", [1e308, -1e308, float("inf"), float("nan"), 1e16])
def test_numbers_of_no_use_are_refused_by_their_row(tmp_path: Path, huge: float) -> None:
    """One such row in every format that holds numbers."""
    votes = vote("a", "b", 1, 0, 0)
    (tmp_path / "arguments.jsonl").write_text(
        "".join(
            json.dumps({"id": i, "title": "T", "stance": "Yes", "text": i}) + "\n" for i in "abc"
        )
    )
    formats: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
        "rrhf.jsonl": ([], {"query": "x", "responses": ["a", "b"], "scores": [huge, 1]}),
        "tldr.jsonl": ([], tldr(1, 8) | {"extra": {"confidence": huge}}),
        "simpeval.jsonl": (
            [simplified("S", "a", "1"), simplified("S", "b", "2")],
            simplified("S", "c", str(huge)),
        ),
        "pairs.jsonl": ([votes], vote("b", "c", 0, 0, 0) | {"votes_a1": huge}),
    }
    for name, (good, bad) in formats.items():
        ledger = Ledger()
        load(tmp_path, [*good, bad], ledger, name=name)
        assert (ledger.kept, ledger.dropped) == (len(good), 1), name
        (example,) = ledger.to_dict()["dropped"]["non_finite_score"]["examples"]
        assert example["source"] == f"{name}:{len(good) + 1}"


# -- who speaks last ---------------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from(["system", "user", "assistant", "tool"]), min_size=2, max_size=6))
def test_only_what_the_assistant_says_is_a_response(roles: list[str]) -> None:
    *before, last = [{"role": role, "content": f"turn {n}"} for n, role in enumerate(roles)]
    row = {side: [*before, last | {"content": side}] for side in ("chosen", "rejected")}
    if last["role"] == "assistant":
        group = one(row)
        assert group.responses == ("chosen", "rejected")
        assert group.prompt == tuple(Message(**turn) for turn in before)
    else:
        with pytest.raises(
            RowError, match=f"chosen ends with a turn of {last['role']}, expected assistant"
        ):
            one(row)


def test_a_side_that_the_assistant_does_not_end_is_counted(tmp_path: Path) -> None:
    before = "\n\nHuman: a\n\nAssistant:"
    pair = {"prompt": [user("x")], "chosen": [assistant("a")], "rejected": [user("b")]}
    lists = {"prompt": "x", "chosen": [[assistant("a")]], "rejected": [[user("b")]]}
    for row in (pair, lists):
        ledger = Ledger()
        assert load(tmp_path, [row], ledger) == []
        assert ledger.to_dict()["dropped"]["no_answer"]["count"] == 1
    ledger = Ledger()
    dialogues = [
        {"chosen": before + " b", "rejected": before + " c\n\nHuman: d"},
        {"chosen": before + " b\n\nHuman: d", "rejected": before + " c"},
        {"chosen": before + " b", "rejected": before + " c"},
    ]
    assert [group.source for group in load(tmp_path, dialogues, ledger)] == ["rows.jsonl:3"]
    (first, _) = ledger.to_dict()["dropped"]["no_answer"]["examples"]
    assert (first["source"], first["detail"]) == (
        "rows.jsonl:1",
        'rejected ends with a "Human:" turn',
    )


# -- conversations in another writing ----------------------------------------------------------------------------------

SHAREGPT = [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]
ARRAY = "[{'role': 'user', 'content': \"It's Q\"}\n {'role': 'assistant', 'content': 'A'}]"
"""What pandas makes of a NumPy array of turns, as it reads them from Parquet."""


@pytest.mark.parametrize(
    "written",
    [
        str([user("It's Q"), assistant("A")]),
        ARRAY,
        str(SHAREGPT),
        str(assistant("A")),
    ],
)
@pytest.mark.parametrize("column", ["prompt", "chosen", "rejected"])
def test_conversations_in_another_writing_are_refused_and_not_read_as_texts(
    tmp_path: Path, written: str, column: str
) -> None:
    row = {"prompt": "Q", "chosen": "a", "rejected": "b", column: written}
    path = tmp_path / "rows.csv"
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([row.keys(), row.values()])
    ledger = Ledger()
    assert list(read(path, ledger=ledger)) == []
    (example,) = ledger.to_dict()["dropped"]["unreadable"]["examples"]
    assert (
        example["detail"] == f"{column}: messages are to be written as JSON with role and content"
    )


def test_the_same_in_texts_of_json_and_without_a_prompt(tmp_path: Path) -> None:
    sides = {side: str([user("Q"), assistant(side)]) for side in ("chosen", "rejected")}
    for row in ({"prompt": "Q", **sides}, sides, {"prompt": "Q", "responses": [*sides.values()]}):
        with pytest.raises(
            UserError,
            match=r"rows\.jsonl:1: .* messages are to be written as JSON with role and cont",
        ):
            load_groups(write_lines(tmp_path / "rows.jsonl", [row]))


def write_lines(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    "answer",
    [
        '[{"from": "A", "to": "B", "value": 3}]',
        '{"role": "user", "content": "x"}',
        "[{'name': 'x', 'content': 'y'}]",
        "The turn is {'role': 'user', 'content': 'x'}",
        "[" * 3000,
    ],
)
def test_texts_that_are_no_conversations_stay_texts(answer: str) -> None:
    assert one({"prompt": "Write it", "chosen": answer, "rejected": "b"}).responses == (answer, "b")


# -- system prompts and tools ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Why?", "chosen": "Good", "rejected": "Bad"},
        {"prompt": [user("Why?")], "chosen": [assistant("Good")], "rejected": [assistant("Bad")]},
        {
            "prompt": [user("Why?")],
            "chosen": [user("Why?"), assistant("Good")],
            "rejected": [assistant("Bad")],
        },
        {"chosen": [user("Why?"), assistant("Good")], "rejected": [user("Why?"), assistant("Bad")]},
        {
            "prompt": [{"role": "system", "content": "Be kind."}, user("Why?")],
            "chosen": [assistant("Good")],
            "rejected": [assistant("Bad")],
        },
        {"prompt": "Why?", "responses": ["Good", "Bad"], "ranks": [1, 2]},
        {"prompt": "Why?", "chosen": ["Good"], "rejected": ["Bad"]},
    ],
    ids=["texts", "turns", "prompt repeated", "implicit", "said twice", "lists", "rewardbench"],
)
def test_a_column_of_system_prompts_leads_the_conversation(row: dict[str, Any]) -> None:
    group = one({**row, "system": "Be kind."})
    assert group.prompt == (Message("system", "Be kind."), Message("user", "Why?"))
    assert group.responses == ("Good", "Bad")


def test_system_prompts_that_disagree_and_those_that_are_empty(tmp_path: Path) -> None:
    given = [{"role": "system", "content": "Be short."}, user("Why?")]
    rows = [
        {"prompt": given, "chosen": "a", "rejected": "b", "system": "Be kind."},
        {"prompt": given, "chosen": "a", "rejected": "b", "system": None},
        {
            "prompt": "Why?",
            "chosen": "a",
            "rejected": "b",
            "system": "",
        },  # not fed in another way than its neighbours
    ]
    ledger = Ledger()
    both, alone = load(tmp_path, rows, ledger)
    assert both.prompt == (Message("system", "Be short."), Message("user", "Why?"))
    assert alone.prompt == (Message("user", "Why?"),)
    (example,) = ledger.to_dict()["dropped"]["contradictory"]["examples"]
    assert example["detail"] == "the column system is not the conversation's own system message"


def test_what_simplified_a_sentence_is_no_system_prompt() -> None:
    """SimpEval's column `system` names the system that wrote the text."""
    group = one(simplified("S0", "a", "1") | {"system": "lstm"})
    assert group.prompt == (Message("user", "Simplify this sentence: S0"),)


CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Ulm"}}}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
WITH_TOOLS = [
    user("Weather?"),
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "name": "weather", "tool_call_id": "c1", "content": "sunny"},
]


@pytest.mark.parametrize("tools", [[TOOL], json.dumps([TOOL])], ids=["list", "JSON"])
def test_tools_and_their_calls_are_kept(tools: Any) -> None:
    row = {
        "prompt": WITH_TOOLS,
        "chosen": [assistant("Sun")],
        "rejected": [assistant("Rain")],
        "tools": tools,
    }
    group = one(row)
    assert not isinstance(group.prompt, str)
    asked, call, answer = (message.turn() for message in group.prompt)
    assert asked == {**user("Weather?"), "tools": [TOOL]}
    assert call == {"role": "assistant", "content": "", "tool_calls": [CALL]}
    assert answer == WITH_TOOLS[2]
    # written out as turns and read again, without the column: the same prompt
    again = one({"prompt": [asked, call, answer], "chosen": "Sun", "rejected": "Rain"})
    assert again.prompt == group.prompt


def test_tools_that_parquet_fills_with_nulls_are_as_they_were() -> None:
    nulls = [
        {**turn, "tool_calls": turn.get("tool_calls"), "name": turn.get("name")}
        for turn in WITH_TOOLS
    ]
    nulls[1]["tool_calls"] = [CALL | {"id": None}]
    row = {"chosen": "Sun", "rejected": "Rain"}
    assert one({"prompt": nulls, **row}).prompt == one({"prompt": WITH_TOOLS, **row}).prompt


def test_tools_tell_prompts_apart(tmp_path: Path) -> None:
    row = {"prompt": "Weather?", "chosen": "Sun", "rejected": "Rain"}
    groups = load(
        tmp_path,
        [{**row, "tools": tools} for tools in ([], [TOOL], "[]", json.dumps([TOOL]), None)],
    )
    assert [group.source for group in groups] == ["rows.jsonl:1", "rows.jsonl:2"]


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        (
            {
                "chosen": [user("Weather?"), assistant("Sun")],
                "rejected": [user("Weather?"), WITH_TOOLS[1]],
            },
            "tools_left_out",
            "rejected ends with a call of a tool, and a response is a text",
        ),
        (
            {"prompt": "x", "chosen": "a", "rejected": "b", "tools": "hammer"},
            "missing_field",
            "tools is not a list of objects (in a text, a list is JSON)",
        ),
    ],
)
def test_tools_that_cannot_be_kept_are_counted(
    tmp_path: Path, row: dict[str, Any], reason: str, detail: str
) -> None:
    ledger = Ledger()
    assert load(tmp_path, [row], ledger) == []
    assert ledger.to_dict()["dropped"][reason]["examples"][0]["detail"] == detail


# -- responses that begin with their prompt ----------------------------------------------------------------------------


def test_prompts_at_the_beginning_of_nearly_all_responses_are_cut_and_counted(
    tmp_path: Path,
) -> None:
    rows = [
        {"prompt": f"Sum {n}:", "chosen": f"Sum {n}: right", "rejected": f"Sum {n}: wrong"}
        for n in range(20)
    ]
    rows[4]["rejected"] = "something else"
    ledger = Ledger()
    groups = load(tmp_path, rows, ledger)
    assert [group.responses for group in groups[:4]] == [(" right", " wrong")] * 4
    assert groups[4].responses == ("Sum 4: right", "something else")
    assert (ledger.kept, ledger.count("prompt_in_response")) == (20, 19)
    assert (
        ledger.to_dict()["changed"]["prompt_in_response"]["examples"][0]["source"] == "rows.jsonl:1"
    )


def test_a_few_responses_that_begin_with_their_prompt_are_told_and_left(tmp_path: Path) -> None:
    rows = [{"prompt": f"Hi {n}", "chosen": "Hello", "rejected": "Bye"} for n in range(9)]
    rows += [{"prompt": "Hi", "chosen": "Hi there", "rejected": "Hi you"}]
    ledger = Ledger()
    assert load(tmp_path, rows, ledger)[-1].responses == ("Hi there", "Hi you")
    assert ledger.count("prompt_in_response") == 1


def test_a_response_that_is_the_prompt_alone_is_empty(tmp_path: Path) -> None:
    ledger = Ledger()
    assert load(tmp_path, [{"prompt": "x:", "chosen": "x: a", "rejected": "x:"}], ledger) == []
    assert ledger.to_dict()["dropped"]["empty_response"]["count"] == 1


# -- what fits no format -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"query": "i", "chosen": "a", "rejected": "b"},
            "the nearest is trl (prompt, chosen, rejected): missing prompt; rename query to prompt, "
            "or leave the file as it is and add --columns prompt=query (in a recipe data.columns)",
        ),
        (
            {"chosen": "a", "rejected": "b"},
            "add a column prompt, or write prompt and answer as a list of turns",
        ),
        (
            {"chosen": {"text": "a"}, "rejected": {"text": "b"}},
            "chosen holds an object with text, rejected holds an object with text, and no column prompt says to what; "
            "add a column prompt, or write prompt and answer as a list of turns",
        ),
    ],
)
def test_columns_that_fit_no_format_are_described(
    tmp_path: Path, row: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as error:
        load(tmp_path, [row])
    assert message in str(error.value)
    assert "name the format" not in str(error.value)
    assert "\n" not in str(error.value)


def test_objects_and_turns_of_other_names_say_what_they_hold(tmp_path: Path) -> None:
    ledger = Ledger()
    rows = [
        {"prompt": "x", "chosen": {"speaker": "gpt", "text": "a"}, "rejected": "b"},
        {"prompt": "x", "chosen": [{"from": "Socrates", "value": "a"}], "rejected": "b"},
    ]
    assert load(tmp_path, rows, ledger) == []
    first, second = (
        example["detail"] for example in ledger.to_dict()["dropped"]["missing_field"]["examples"]
    )
    assert first.startswith(
        "chosen is an object with speaker, text; expected text or a list of turns"
    )
    assert second.endswith(
        "without the texts role and content; from is Socrates, expected human or gpt"
    )
