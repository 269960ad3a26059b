"""What the formats of collections refuse, and in which words; the files themselves are in
`test_people_files`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rewarddiff.data import Ledger, read
from rewarddiff.data.formats import FORMATS, detect, misfit
from rewarddiff.records import Comparison, Group, Message


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def human(value: str) -> dict[str, str]:
    return {"from": "human", "value": value}


def gpt(value: str) -> dict[str, str]:
    return {"from": "gpt", "value": value}


def load(folder: Path, rows: list[Any], ledger: Ledger) -> list[Group]:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return list(read(path, ledger=ledger))


BATTLE = {
    "conversation_a": [user("Q"), assistant("a")],
    "conversation_b": [user("Q"), assistant("b")],
}
TEXTS = {"prompt": "Q", "response_a": "a", "response_b": "b"}
ALPACA = {"instruction": "Q", "input": "", "chosen": "a", "rejected": "b"}
SAFE = {"prompt": "Q", "response_0": "a", "response_1": "b", "safer_response_id": 0}
SHP = {"history": "Q", "human_ref_A": "a", "human_ref_B": "b", "score_A": 5, "score_B": 2}
VOTE = {"text": "Q", "completion_a": "a", "completion_b": "b", "expert_worker_annotations": []}
HELPSTEER3 = {"context": [user("Q")], "response1": "a", "response2": "b"}


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        (BATTLE | {"winner": "me"}, "missing_field", "winner is me, expected one of model_a, a, "),
        (BATTLE | {"winner": None}, "missing_field", "winner is None, expected one of model_a"),
        (BATTLE | {"winner": "tie", "turn": 2}, "missing_field", "turn is 2, and the conversation"),
        (
            BATTLE | {"winner": "tie", "conversation_a": [user("R"), assistant("a")]},
            "prompts_differ",
            "the two conversations differ before the last answer",
        ),
        (
            BATTLE | {"winner": "tie", "conversation_a": [user("Q")]},
            "no_answer",
            "conversation_a ends with a turn of user, expected assistant",
        ),
        (
            BATTLE | {"winner": "tie", "conversation_a": [user([{"type": "image"}])]},
            "missing_field",
            "conversation_a holds a turn with a part that is no text (image)",
        ),
        (
            {"prompt": '["Q"]', "response_a": "[null]", "response_b": '["b"]', "winner": "a"},
            "missing_field",
            "response_a is NoneType, expected text",
        ),
        (
            {"prompt": ["Q", "R"], "response_a": ["a", "c"], "response_b": ["b"], "winner": "a"},
            "missing_field",
            "2 texts in prompt but 1 in response_b",
        ),
        (
            TEXTS
            | {"prompt": '["Q", "R"]', "response_a": '["a", "c"]', "response_b": '["b", "d"]'}
            | {"winner": "a"},
            "prompts_differ",
            "the two responses differ before the last answer",
        ),
        (
            TEXTS | {"winner_model_a": 1, "winner_model_b": 1, "winner_tie": 0},
            "missing_field",
            "2 of the columns winner_… hold 1, expected one",
        ),
        (ALPACA | {"history": [["only"]]}, "missing_field", "history holds something else than"),
        (ALPACA | {"margin": -2}, "contradictory", "rejected is graded 2 above chosen"),
        (
            {"instruction": "Q", "output": ["a", "b", "c"]},
            "missing_field",
            "output holds 3 texts, expected one, or a better and a worse",
        ),
        (
            {"instruction": "Q", "output": "a", "kto_tag": "maybe"},
            "missing_field",
            "kto_tag is maybe, expected true or false",
        ),
        (
            {"conversations": [human("Q"), human("R")]},
            "no_answer",
            "conversations ends with a turn of user, expected assistant",
        ),
        ({"conversations": []}, "missing_field", "conversations holds no turn"),
        (
            {
                "conversations": [
                    human("Q"),
                    {"from": "function_call", "value": "call me"},
                    gpt("a"),
                ]
            },
            "missing_field",
            "conversations holds a function_call that is not JSON with name and arguments",
        ),
        (
            SAFE | {"better_response_id": 2},
            "missing_field",
            "better_response_id is 2, expected 0 or",
        ),
        (SHP | {"labels": 0}, "contradictory", "labels is 0 with scores (5.0, 2.0)"),
        (SHP | {"labels": 0.5}, "missing_field", "labels is 0.5, expected 0 or 1"),
        (VOTE | {"normal_worker_annotations": []}, "missing_field", "no annotation"),
        (
            VOTE | {"normal_worker_annotations": [{"overall_pref": "A"}]},
            "missing_field",
            "overall_pref is A, expected A-is-clearly-better, ",
        ),
        (
            HELPSTEER3 | {"overall_preference": 4},
            "missing_field",
            "overall_preference is 4, expected -3 to 3",
        ),
        (
            HELPSTEER3 | {"overall_preference": float("nan")},
            "non_finite_score",
            "overall_preference is nan",
        ),
        (
            {"prompt": "Q\n<extra_id_1>Robot\nx", "response": "a", "helpfulness": 3},
            "missing_field",
            "prompt holds a turn of Robot, expected User or Assistant",
        ),
        (
            {"instruction": "Q", "completions": [{"response": "a"}, {"response": "b"}]},
            "missing_field",
            "2 of 2 responses without a score",
        ),
        (
            {"prompt": "Q", "answers": [{"answer": "a", "rank": 1}, {"answer": "b", "rank": None}]},
            "missing_field",
            "no rank",
        ),
    ],
)
def test_a_row_that_cannot_be_used_is_counted_with_its_cause(
    tmp_path: Path, row: dict[str, Any], reason: str, detail: str
) -> None:
    ledger = Ledger()
    assert load(tmp_path, [row], ledger) == []
    (example,) = ledger.to_dict()["dropped"][reason]["examples"]
    assert example["source"] == "rows.jsonl:1"
    assert example["detail"].startswith(detail)


@pytest.mark.parametrize(
    ("verdict", "comparison", "labels"),
    [
        ("model_a", Comparison(0, 1), ()),
        ("MODEL_B", Comparison(1, 0), ()),
        ("A", Comparison(0, 1), ()),
        ("tie", Comparison(0, 1, 0.0), ()),
        ("tie (bothbad)", Comparison(0, 1, 0.0), (False, False)),
        ("both_bad", Comparison(0, 1, 0.0), (False, False)),
    ],
)
def test_both_bad_is_a_tie_of_undesirable_responses(
    verdict: str, comparison: Comparison, labels: tuple[bool, ...]
) -> None:
    row = {**BATTLE, "winner": verdict}
    form = detect(row)
    assert form is not None
    group = form.convert(row)
    assert (group.comparisons, group.labels) == ((comparison,), labels)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [human("Q")], "chosen": [gpt("a")], "rejected": [gpt("b")]},
        {"prompt": [human("Q")], "chosen": gpt("a"), "rejected": gpt("b")},
        {"chosen": [human("Q"), gpt("a")], "rejected": [human("Q"), gpt("b")]},
        {"prompt": "Q", "chosen": [human("Q"), gpt("a")], "rejected": [user("Q"), gpt("b")]},
        {"prompt": [user([{"type": "text", "text": "Q"}])], "chosen": "a", "rejected": "b"},
        {"conversations": [human("Q")], "chosen": assistant("a"), "rejected": [gpt("b")]},
        {"messages": [user("Q")], "chosen": assistant("a"), "rejected": assistant("b")},
        {"messages": [user("Q")], "chosen": "a", "rejected": "b"},
        {"context": "Q", "response1": "a", "response2": "b", "overall_preference": -1},
        {**HELPSTEER3, "context": [human("Q")], "overall_preference": -1},
        {**TEXTS, "winner": "model_a"},
        {**TEXTS, "prompt": [human("Q")], "winner": "model_a"},
        {
            "prompt": [user("Q")],
            "response_a": [assistant("a")],
            "response_b": [gpt("b")],
            "winner": "a",
        },
        {**SAFE, "prompt": [user("Q")], "better_response_id": 0},
        ALPACA,
        ALPACA | {"chosen": gpt("a"), "rejected": assistant("b")},
    ],
)
def test_turns_are_read_in_either_writing_wherever_a_prompt_is_asked(row: dict[str, Any]) -> None:
    form = detect(row)
    assert form is not None
    group = form.convert(row)
    assert group.prompt == (Message("user", "Q"),)
    assert group.responses == ("a", "b")
    assert [(c.chosen, c.rejected) for c in group.comparisons] == [(0, 1)]


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"prompt": "Q", "chosen": "a", "rejected": "b", "messages": [user("Q")]}, "trl"),
        ({"prompt": "Q", "response": "a", "helpfulness": 1}, "helpsteer"),
        ({"prompt": "Q", "completion": "a", "label": True}, "trl-unpaired"),
        ({"prompt": "Q", "answers": ["a", "b"]}, None),
        ({"prompt": "Q", "response": "a", "label": 1}, None),
        ({"messages": [user("Q"), assistant("a")], "kto_tag": True}, None),
        ({"instruction": "Q", "output": "a", "label": 1}, None),
    ],
)
def test_columns_that_several_formats_share(row: dict[str, Any], name: str | None) -> None:
    """Above all, a label is never left aside: such a response is not one of which nothing is known."""
    form = detect(row)
    assert (form.name if form else None) == name


@pytest.mark.parametrize(
    ("columns", "nearest"),
    [
        (
            "prompt chosen reject",
            "trl (prompt, chosen, rejected): missing rejected; rename reject to",
        ),
        ("Prompt Chosen Rejected", "--columns prompt=Prompt,chosen=Chosen,rejected=Rejected "),
        (
            "question good_answer bad_answer",
            "orca (question, chosen, rejected): missing chosen, rej",
        ),
        (
            "user_query good bad gap",
            "--columns prompt=user_query,chosen=good,rejected=bad,margin=gap ",
        ),
        ("question answer", "--columns prompt=question,response=answer "),
        ("q winner loser", "--columns chosen=winner,rejected=loser,prompt=COLUMN "),
        (
            "user_query completions ratings",
            "--columns prompt=user_query,responses=completions,scores=ratings ",
        ),
        (
            "prompt answer_a answer_b preferred",
            "rename answer_a to response_a, answer_b to response_b",
        ),
        ("prompt response label", "rename response to completion"),
        (
            "prompt response_1 response_2 strength",
            "missing preference_strength; rename the columns",
        ),
        ("height width", ""),
        ("", ""),
    ],
)
def test_a_refused_row_is_told_its_nearest_format_and_what_to_rename(
    columns: str, nearest: str
) -> None:
    row = dict.fromkeys(columns.split(), "x")
    assert detect(row) is None
    message = misfit(row)
    assert nearest in message
    assert "\n" not in message
    if not nearest:
        assert "rename them to those of one of: trl (prompt, chosen, rejected); scored (" in message


def test_what_is_told_to_be_renamed_can_be_read_then() -> None:
    """Of every format: one column mistyped, and the message names both writings."""
    for form in FORMATS:
        if len(form.columns) < 3:
            continue
        column = form.columns[0]
        row = dict.fromkeys([column + "x", *form.columns[1:]], "x")
        if detect(row) is None:
            message = misfit(row)
            renamed = f"{column}x to {column}" in message or f"{column}={column}x" in message
            assert renamed or "in no known format: chosen holds" in message, (form.name, message)


def test_what_a_shell_would_take_apart_is_quoted() -> None:
    row = {"my prompt": "Q", "chosen": "a", "rejected": "b"}
    assert "--columns 'prompt=my prompt' (in a recipe data.columns)" in misfit(row)
