"""What `judge` refuses before anything is paid, and how it says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest
from judging_examples import by_taste, good, outputs
from scorers.chat_server import MODEL, ChatServer, serving

from rewarddiff.cli.arguments import command_line
from rewarddiff.cli.looking import _look_at_contest
from rewarddiff.cli.parser import parsed
from rewarddiff.data.vote_files import read_votes
from rewarddiff.errors import UserError
from rewarddiff.outputs import LOCK, run_folder_for
from rewarddiff.pipeline.contestants import contestant
from rewarddiff.pipeline.judge import judge_stage
from rewarddiff.results import read_results
from rewarddiff.scorers.opening import open_judge


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with serving(by_taste(good)) as state:
        yield state


def test_a_model_that_is_not_served_is_noticed_before_another_judge_is_paid(
    server: ChatServer, tmp_path: Path
) -> None:
    a, b = outputs(tmp_path / "a.jsonl", ["good"]), outputs(tmp_path / "b.jsonl", ["bad"])
    judges = [f"{MODEL}@{server.url}", f"org/nosuch@{server.url}"]
    with pytest.raises(UserError, match=r"status 404.*org/nosuch"):
        judge_stage([a, b], judges, output=tmp_path / "out")
    # One token of the model that no list has; no verdict.
    assert [(body["model"], body["max_tokens"]) for body in server.posted] == [("org/nosuch", 1)]
    assert not (tmp_path / "out").exists()


def test_a_second_command_leaves_what_the_first_has_begun_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first makes the folder between the second's look, whether it is there, and its try to hold it."""
    a, b = outputs(tmp_path / "a.jsonl", ["good"]), outputs(tmp_path / "b.jsonl", ["bad"])
    with ExitStack() as first:

        def after_the_first(folder: Path) -> AbstractContextManager[None]:
            first.enter_context(run_folder_for(folder))
            return run_folder_for(folder)

        monkeypatch.setattr("rewarddiff.pipeline.judge.run_folder_for", after_the_first)
        with pytest.raises(UserError, match="another run is writing"):
            judge_stage([a, b], ["length"], output=tmp_path / "out")
        assert (tmp_path / "out" / LOCK).exists()


def test_what_is_judged_already_asks_no_server(server: ChatServer, tmp_path: Path) -> None:
    a, b = outputs(tmp_path / "a.jsonl", ["good"]), outputs(tmp_path / "b.jsonl", ["bad"])
    judge_stage([a, b], [f"{MODEL}@{server.url}"], output=tmp_path / "out")
    server.models = []
    judge_stage([a, b], [f"{MODEL}@{server.url}"], output=tmp_path / "out")


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("nosuch.jsonl", "nosuch.jsonl: no such file"),
        ("runs/nope:dpo", "runs/nope: no such run"),
        ("nosuch@notaurl", "no server's address behind the @"),
        ("org/a@127.0.0.1:9", "write a model as org/a@http://127.0.0.1:9"),
    ],
)
def test_a_policy_that_is_none_is_named_for_what_it_looks_like(policy: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        contestant(policy)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("judge", "message"),
    [
        ("lengt", "lengt: no such scorer – did you mean 'length'?"),
        ("votes.csv", "votes.csv: no such file"),
        ("org/a@127.0.0.1:9", "write a model as org/a@http://127.0.0.1:9"),
    ],
)
def test_a_judge_that_is_none_likewise(judge: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        open_judge(judge)
    assert message in str(error.value)


def test_a_mistyped_file_is_answered_with_the_one_beside_it(tmp_path: Path) -> None:
    outputs(tmp_path / "answers.jsonl", ["good"])
    with pytest.raises(UserError, match=r"did you mean '.*/answers\.jsonl'"):
        contestant(str(tmp_path / "answrs.jsonl"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["a", "b"], "no judge: name one"),
        (["a", "--judge", "length"], "one policy"),
        (["a", "a", "--judge", "length"], "a: given 2 times"),
        (["a", "nosuch.jsonl", "--judge", "length"], "nosuch.jsonl: no such file"),
        (["a", "b", "--judge", "lengt"], "did you mean 'length'"),
    ],
)
def test_what_needs_no_import_is_seen_first(line: list[str], message: str) -> None:
    args = parsed(command_line(), ["judge", *line])
    with pytest.raises(UserError) as error:
        _look_at_contest(args)
    assert message in str(error.value)


def test_people_are_named_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed(command_line(), ["judge", "a", "b", "--people", "x", "--people", "y"])
    assert ended.value.code == 2
    assert "--people: is given twice" in capsys.readouterr().err


def test_a_repeated_prompt_is_named_as_such(tmp_path: Path) -> None:
    ours = outputs(tmp_path / "ours.jsonl", ["good", "bad"])
    twice = tmp_path / "twice.jsonl"
    lines = Path(ours).read_text().splitlines()
    twice.write_text("\n".join([*lines, lines[0]]))
    for policies in ([ours, str(twice)], [str(twice), ours]):
        with pytest.raises(UserError) as error:
            judge_stage(policies, ["length"], output=tmp_path / "out")
        message = str(error.value)
        assert "twice.jsonl:3: repeats the prompt of " in message
        assert "twice.jsonl:1" in message


def test_empty_answers_are_counted_by_policy(tmp_path: Path) -> None:
    a = outputs(tmp_path / "a.jsonl", ["good", "bad", "x"])
    b = outputs(tmp_path / "b.jsonl", ["", " ", "y"])
    results = read_results(judge_stage([a, b], ["length"], output=tmp_path / "out"))
    assert "2 of 3 answers of b are empty." in results.notes
    assert not any("of a are empty" in note for note in results.notes)


def test_an_option_of_judge_that_is_wrong_is_named_by_its_override(tmp_path: Path) -> None:
    a, b = outputs(tmp_path / "a.jsonl", ["good"]), outputs(tmp_path / "b.jsonl", ["bad"])
    with pytest.raises(UserError) as error:
        judge_stage([a, b], ["length"], output=tmp_path / "out", overrides=["prompts=0"])
    assert str(error.value) == "override 'prompts=0': prompts is 0, should be at least 1"


def test_a_prompt_file_that_is_not_there_lists_the_presets_once(tmp_path: Path) -> None:
    judge = "org/a@http://127.0.0.1:9"
    with pytest.raises(UserError) as error:
        open_judge(judge, ["prompt=nosuch.txt"])
    assert str(error.value).count("harmless") == 1
    assert json.dumps(str(error.value)).count("\\n") == 0


def test_votes_with_other_columns_are_not_sent_to_an_option_that_judge_lacks(
    tmp_path: Path,
) -> None:
    votes = tmp_path / "votes.csv"
    votes.write_text("who,what\nme,good\n")
    with pytest.raises(UserError) as error:
        read_votes(votes)
    message = str(error.value)
    assert "are those of no votes; rename them in the file" in message
    assert "--columns" not in message
