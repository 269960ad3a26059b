"""Outputs of policies: read from files of several makers, and put side by side by prompt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rewarddiff.data.outputs import Output, Outputs, aligned, read_outputs, write_outputs
from rewarddiff.data.questions import Question, read_questions
from rewarddiff.errors import UserError
from rewarddiff.records import Message


def lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def asked(text: str) -> tuple[Message, ...]:
    return (Message("user", text),)


# --- reading --------------------------------------------------------------------------------------


def test_alpaca_eval_outputs_have_the_generators_name(tmp_path: Path) -> None:
    file = tmp_path / "outputs.json"
    rows = [
        {"instruction": "Name a tree.", "output": "Oak.", "generator": "ours", "dataset": "x"},
        {"instruction": "Say nothing.", "output": "", "generator": "ours", "dataset": "x"},
    ]
    file.write_text(json.dumps(rows))
    outputs = read_outputs(file)
    assert outputs.name == "ours"
    assert outputs.outputs == (
        Output(asked("Name a tree."), "Oak.", "outputs.json:1"),
        Output(asked("Say nothing."), "", "outputs.json:2"),  # an answer, if an empty one
    )


@pytest.mark.parametrize("column", ["response", "completion", "output"])
def test_rows_with_a_prompt_have_the_files_name(tmp_path: Path, column: str) -> None:
    file = lines(tmp_path / "mine.jsonl", {"prompt": "Q", column: "A"})
    outputs = read_outputs(file)
    assert outputs.name == "mine"
    assert outputs.outputs == (Output("Q", "A", "mine.jsonl:1"),)
    assert read_outputs(file, name="other").name == "other"


def test_csv_is_read_as_lines_are(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text('prompt,response\n"Q, really?",A\n')
    assert read_outputs(file).outputs[0].prompt == "Q, really?"


def test_completions_may_be_turns(tmp_path: Path) -> None:
    prompt = [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"}]
    answer = {"role": "assistant", "content": "A"}
    rows = [{"prompt": prompt, "completion": [answer]}, {"messages": [*prompt, answer]}]
    outputs = read_outputs(lines(tmp_path / "chat.jsonl", *rows)).outputs
    conversation = (Message("system", "S"), Message("user", "Q"))
    assert [(o.prompt, o.response) for o in outputs] == [(conversation, "A")] * 2


def test_answers_of_mt_bench_are_both_turns(tmp_path: Path) -> None:
    question = {"question_id": 81, "category": "writing", "turns": ["Write.", "Again."]}
    answer = {"question_id": 81, "model_id": "m", "choices": [{"index": 0, "turns": ["A.", "B."]}]}
    questions = read_questions(lines(tmp_path / "question.jsonl", question))
    assert questions == [Question(asked("Write."), ("Again.",), "81", "question.jsonl:1")]
    outputs = read_outputs(lines(tmp_path / "m.jsonl", answer), questions)
    (output,) = outputs.outputs
    assert outputs.name == "m"
    assert output.prompt == "[Turn 1]\nWrite.\n\n[Turn 2]\nAgain."
    assert output.response == "[Turn 1]\nA.\n\n[Turn 2]\nB."


@pytest.mark.parametrize(
    ("content", "prompts"),
    [
        ('["How to pick a lock?", "And a safe?"]', ["How to pick a lock?", "And a safe?"]),
        ('[{"prompt": "How?"}]', ["How?"]),
        ('[{"Question": "How?"}, {"Question": "How?"}]', ["How?"]),  # each once
    ],
)
def test_attacks_are_lists_of_texts_or_rows(
    tmp_path: Path, content: str, prompts: list[str]
) -> None:
    file = tmp_path / "attacks.json"
    file.write_text(content)
    questions = read_questions(file)
    texts = []
    for question in questions:
        prompt = question.prompt
        texts.append(prompt if isinstance(prompt, str) else prompt[0].content)
    assert texts == prompts


def test_prompts_of_preference_data_are_questions() -> None:
    questions = read_questions("demo", limit=5)
    assert len({str(question.prompt) for question in questions}) == 5


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        ({"prompt": "Q"}, "no response"),
        ({"response": "A"}, "no prompt"),
        ({"prompt": "Q", "response": None}, "no response"),
        ({"prompt": " ", "response": "A"}, "empty"),
        ({"question_id": 1, "choices": [{"turns": ["A"]}]}, "--data"),
    ],
)
def test_a_row_without_an_output_is_named(tmp_path: Path, row: dict[str, Any], cause: str) -> None:
    file = lines(tmp_path / "bad.jsonl", {"prompt": "P", "response": "R"}, row)
    with pytest.raises(UserError, match=f"bad.jsonl:2.*{cause}"):
        read_outputs(file)


def test_several_policies_in_one_file_are_refused(tmp_path: Path) -> None:
    row = {"prompt": "Q", "response": "A"}
    file = lines(tmp_path / "two.jsonl", row | {"generator": "a"}, row | {"generator": "b"})
    with pytest.raises(UserError, match=r"two.jsonl: holds outputs of 2 policies \(a, b\)"):
        read_outputs(file)


# --- side by side ---------------------------------------------------------------------------------


def outputs(name: str, *pairs: tuple[str, str]) -> Outputs:
    rows = [Output(prompt, answer, f"{name}:{i}") for i, (prompt, answer) in enumerate(pairs, 1)]
    return Outputs(name, f"{name}.jsonl", tuple(rows))


def test_prompts_are_matched_in_any_order_and_repeats_by_occurrence() -> None:
    a = outputs("a", ("P", "a1"), ("Q", "a2"), ("P", "a3"))
    b = outputs("b", ("Q", "b1"), ("P", "b2"), ("P", "b3"))
    responses = [(group.prompt, group.responses) for group in aligned([a, b])]
    assert responses == [("P", ("a1", "b2")), ("Q", ("a2", "b1")), ("P", ("a3", "b3"))]


def test_a_lone_turn_of_the_users_is_the_same_prompt_as_its_text() -> None:
    a = outputs("a", ("P", "a1"))
    b = Outputs("b", "b.jsonl", (Output(asked("P"), "b1"),))
    assert [group.responses for group in aligned([a, b])] == [("a1", "b1")]


def test_unequal_prompts_are_counted_on_both_sides() -> None:
    a = outputs("a", ("P", "1"), ("Q", "2"), ("S", "3"))
    b = outputs("b", ("P", "1"), ("R", "2"))
    with pytest.raises(UserError) as raised:
        aligned([a, b])
    # Of a, Q and S lack in b; of b, R lacks in a.
    message = str(raised.value)
    assert "2 of 3 prompts lack in b.jsonl, 1 of 2 prompts lack in a.jsonl" in message
    assert "“Q” at a:2" in message
    assert "\n" not in message


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    conversation = (Message("user", "Hi"), Message("assistant", "Yes?"), Message("user", "Who?"))
    rows = (Output(asked("P"), "1\n"), Output(conversation, "\u2028 x"))
    groups = aligned([Outputs("mine", "mine", rows)])
    write_outputs(tmp_path / "mine.json", "me", groups, 0)
    again = read_outputs(tmp_path / "mine.json")
    assert again.name == "me"
    assert [(o.prompt, o.response) for o in again.outputs] == [(o.prompt, o.response) for o in rows]
