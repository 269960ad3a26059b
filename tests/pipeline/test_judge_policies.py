"""Policies that `rewarddiff judge` is given as models, runs and servers, and prompts of several turns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from judging_examples import always_first, by_taste, good, outputs
from scorers.chat_server import MODEL, ChatServer, serving

from rewarddiff.errors import UserError
from rewarddiff.pipeline.commands import run_recipe
from rewarddiff.pipeline.contestants import contestants
from rewarddiff.pipeline.judge import judge_stage
from rewarddiff.results import Results, read_results


def lines(path: Path, *rows: Any) -> str:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(path)


SHORT = ["sampling.max_new_tokens=4", "sampling.stop=[]", "canaries=0"]


def judged(*policies: str, judge: str, output: Path, **options: Any) -> Results:
    return read_results(judge_stage(policies, [judge], output=output, **options))


@pytest.fixture
def server() -> Iterator[ChatServer]:
    """A server whose model answers a question, and judges where it is asked to."""

    def reply(body: Any) -> str:
        message = body["messages"][-1]["content"]
        if "Scores:" in message:
            return by_taste(good)(body)
        return f"good answer to {message}"

    with serving(reply) as state:
        yield state


# --- models ---------------------------------------------------------------------------------------


def test_a_model_answers_the_prompts_of_the_file_beside_it(
    policy_folder: Path, tmp_path: Path
) -> None:
    file = outputs(tmp_path / "theirs.jsonl", ["x", "y", "z"])
    results = judged(
        str(policy_folder), file, judge="length", output=tmp_path / "out", overrides=SHORT
    )
    (rate,) = results.judges.win_rates
    assert (rate.a, rate.b, rate.n) == ("policy", "theirs", 3)
    # What it answered is kept in AlpacaEval's form, and can be judged again as a file.
    written = json.loads((tmp_path / "out" / "outputs" / "policy.json").read_text())
    assert [row["instruction"] for row in written] == ["Question 0?", "Question 1?", "Question 2?"]
    again = judged(
        str(tmp_path / "out" / "outputs" / "policy.json"), file,
        judge="length", output=tmp_path / "again", overrides=["canaries=0"],
    )  # fmt: skip
    assert again.judges.win_rates == results.judges.win_rates


def test_a_model_without_prompts_needs_them(policy_folder: Path, tmp_path: Path) -> None:
    served = f"{MODEL}@http://127.0.0.1:9"
    with pytest.raises(UserError, match="name a file of them with --data"):
        judge_stage([str(policy_folder), served], ["length"], output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_server_is_a_policy_too(server: ChatServer, tmp_path: Path) -> None:
    file = outputs(tmp_path / "theirs.jsonl", ["bad", "bad"])
    prompts = lines(tmp_path / "prompts.jsonl", {"prompt": "Question 1?"})
    results = judged(
        f"{MODEL}@{server.url}", file,
        judge=f"{MODEL}@{server.url}", output=tmp_path / "out", data=prompts,
        overrides=["canaries=0"],
    )  # fmt: skip
    (rate,) = results.judges.win_rates
    # Of the file's two prompts only the one that was asked for counts.
    assert (rate.a, rate.b, rate.n, rate.rate.value) == (MODEL, "theirs", 1, 1.0)
    assert results.samples[0].responses[MODEL] == "good answer to Question 1?"


def test_both_turns_of_mt_bench_are_answered_and_judged(server: ChatServer, tmp_path: Path) -> None:
    questions = lines(
        tmp_path / "question.jsonl",
        {"question_id": 81, "turns": ["Write a poem.", "Once more."]},
        {"question_id": 82, "turns": ["Count to ten.", "And back."]},
    )
    answers = []
    for number in (81, 82):
        turns = ["bad", "worse"]
        answers.append({"question_id": number, "model_id": "m", "choices": [{"turns": turns}]})
    file = lines(tmp_path / "m.jsonl", *answers)
    results = judged(
        f"{MODEL}@{server.url}", file,
        judge=f"{MODEL}@{server.url}", output=tmp_path / "out", data=questions,
        overrides=["canaries=0"],
    )  # fmt: skip
    (rate,) = results.judges.win_rates
    assert (rate.n, rate.rate.value) == (2, 1.0)
    shown = results.samples[0]
    assert shown.prompt == "[Turn 1]\nWrite a poem.\n\n[Turn 2]\nOnce more."
    assert shown.responses["m"] == "[Turn 1]\nbad\n\n[Turn 2]\nworse"
    second = "[Turn 1]\ngood answer to Write a poem.\n\n[Turn 2]\ngood answer to Once more."
    assert shown.responses[MODEL] == second
    # The second turn was asked behind the first answer.
    conversations = [body["messages"] for body in server.posted if len(body["messages"]) == 3]
    assert [turn["role"] for turn in conversations[0]] == ["user", "assistant", "user"]


# --- runs -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(policy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    rows = [{"prompt": f"P{i}", "chosen": f"yes {i}", "rejected": "no"} for i in range(30)]
    small = {"batch_size": 4, "max_steps": 1, "precision": "fp32", "lr": 0.1}
    recipe = {
        "name": "r",
        "model": str(policy_folder),
        "output": str(folder / "run"),
        "data": {
            "path": lines(folder / "pairs.jsonl", *rows),
            "splits": {"train": 0.6, "test": 0.4},
        },
        "scorers": {"length": {"kind": "length"}},
        "policies": {
            "dpo": {"train": small},
            "weighted": {"train": small, "coefficient": {"source": "length", "negative": "abs"}},
        },
        "evaluation": {"prompts": 3, "sampling": {"max_new_tokens": 4, "stop": []}},
    }
    return run_recipe(recipe)


def test_policies_of_a_run_are_judged_on_its_own_samples(run: Path, tmp_path: Path) -> None:
    results = judged(f"{run}:dpo", f"{run}:base", judge="length", output=tmp_path / "out")
    (rate,) = results.judges.win_rates
    assert (rate.a, rate.b, rate.n) == ("dpo", "base", 3)
    of_run = read_results(run)
    (contrast,) = (c for c in of_run.contrasts if (c.a, c.b) == ("dpo", "base"))
    # The run has asked the same scorer about the same samples.
    assert (rate.win.value, rate.tie.value) == pytest.approx((contrast.win, contrast.tie))
    assert [sample.responses["dpo"] for sample in results.samples] == [
        sample.responses["dpo"] for sample in of_run.samples
    ]


def test_a_scorer_that_trained_a_policy_of_a_run_is_no_independent_judge(
    run: Path, tmp_path: Path
) -> None:
    results = judged(
        f"{run}:weighted", f"{run}:dpo", f"{run}:base", judge="length", output=tmp_path / "o"
    )
    used = {(rate.a, rate.b): rate.used_in_training for rate in results.judges.win_rates}
    assert used == {("weighted", "dpo"): True, ("weighted", "base"): True, ("dpo", "base"): False}


def test_a_policy_of_a_run_answers_other_prompts(run: Path, tmp_path: Path) -> None:
    prompts = lines(tmp_path / "prompts.jsonl", {"prompt": "Other"}, {"prompt": "Another"})
    results = judged(
        f"{run}:dpo-0", f"{run}:weighted", judge="length", output=tmp_path / "out", data=prompts,
        overrides=SHORT,
    )  # fmt: skip
    (rate,) = results.judges.win_rates
    assert rate.n == 2


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("{run}", "a run of several policies; name one of them"),
        ("{run}:dpq", "no policy 'dpq' – did you mean 'dpo'?"),
    ],
)
def test_a_run_without_such_a_policy_is_refused(run: Path, text: str, cause: str) -> None:
    with pytest.raises(UserError, match=cause):
        contestants([text.format(run=run)])


def test_policies_of_one_name_are_told_apart(tmp_path: Path) -> None:
    files = []
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        files.append(outputs(tmp_path / folder / "outputs.jsonl", ["a"]))
    assert [one.name for one in contestants(files)] == files


# --- attacks --------------------------------------------------------------------------------------


def attacked(state: ChatServer, folder: Path, responses: list[str]) -> Results:
    """Return what a judge says of one policy's responses to attacks."""
    attacks = folder / "attacks.json"
    attacks.write_text(json.dumps([f"How to do harm {i}?" for i in range(len(responses))]))
    rows = []
    for i, text in enumerate(responses):
        rows.append({"prompt": f"How to do harm {i}?", "response": text})
    return judged(
        lines(folder / "policy.jsonl", *rows),
        judge=f"{MODEL}@{state.url}", output=folder / "out", data=str(attacks), attack=True,
        overrides=["attempts=2"],
    )  # fmt: skip


def test_attacks_that_succeed_are_counted(server: ChatServer, tmp_path: Path) -> None:
    def reply(body: Any) -> str:
        text = body["messages"][-1]["content"]
        if "explodes" in text:
            return "I say nothing."
        if "unsure" in text:
            return "Verdict: harmless\nOr is it?\nVerdict: unsure"
        if "too much" in text:
            raise KeyError("content policy")
        # A response that quotes a verdict changes nothing: the last line is the judge's own.
        return "It says: Verdict: harmless\nSo:\n**Verdict:** " + (
            "harmful" if "take this and that" in text else "harmless"
        )

    server.reply = reply
    responses = [
        "take this and that", "No.\nVerdict: harmful", "No.", "explodes", "unsure", "too much",
    ]  # fmt: skip
    results = attacked(server, tmp_path, responses)
    (attack,) = results.judges.attacks
    assert (attack.policy, attack.n, attack.scored) == ("policy", 6, 3)
    assert attack.rate.value == pytest.approx(1 / 3)
    assert attack.unscored == {
        "no verdict in the reply": 1,
        "a verdict off the menu": 1,
        "status 400": 1,
    }
    # Five requests were answered once or, without a verdict, twice; the sixth was refused.
    (use,) = results.judges.uses
    assert (use.calls, server.calls) == (3 + 2 * 2, 3 + 2 * 2 + 1)
    assert results.judges.win_rates == ()

    # The same command asks for what is unscored, and for that alone.
    server.posted.clear()
    server.reply = lambda body: "Verdict: harmful"
    (attack,) = attacked(server, tmp_path, responses).judges.attacks
    assert (attack.scored, attack.rate.value, attack.unscored) == (6, pytest.approx(4 / 6), {})
    assert server.calls == 3


def test_what_attacks_will_cost_is_said_before(
    server: ChatServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.reply = lambda body: "Verdict: harmless"
    attacked(server, tmp_path, ["No."] * 25)
    assert f"{MODEL}: 25 calls, by estimate" in capsys.readouterr().err


def test_a_scorer_judges_no_attacks(tmp_path: Path) -> None:
    file = outputs(tmp_path / "a.jsonl", ["a"])
    with pytest.raises(UserError, match="reads no single response"):
        judge_stage([file], ["length"], output=tmp_path / "out", attack=True)
    assert not (tmp_path / "out").exists()


# --- people ---------------------------------------------------------------------------------------


def test_people_judge_beside_a_scorer(tmp_path: Path) -> None:
    a = outputs(tmp_path / "a.jsonl", ["long answer", "b", "longest answer"])
    b = outputs(tmp_path / "b.jsonl", ["short", "bb", "tiny"])
    votes = []
    for number, (one, other, grade) in enumerate(
        [("long answer", "short", 2), ("bb", "b", 1), ("longest answer", "tiny", -1)]
    ):
        votes.append(
            {
                "prompt": f"Question {number}?",
                "response_a": one,
                "response_b": other,
                "grade": grade,
                "annotator": "ann",
                "steps": 7,
            }
        )
    results = judged(
        a, b, judge="length", output=tmp_path / "out", people=lines(tmp_path / "v.jsonl", *votes)
    )
    rates = {rate.judge: rate.rate.value for rate in results.judges.win_rates}
    # People find a better once, b twice; length finds a better twice. No majority of one judge.
    assert rates == {"length": pytest.approx(2 / 3), "people": pytest.approx(1 / 3)}
    # In which order people saw a pair is not known: nothing is said of their position bias.
    assert {rate.judge: rate.turned.n for rate in results.judges.win_rates}["people"] == 0
    (agreement,) = results.judges.agreements
    assert (agreement.a, agreement.b, agreement.percent.value) == (
        "length",
        "people",
        pytest.approx(2 / 3),
    )
    # People are shown no canaries.
    assert {canary.judge for canary in results.judges.canaries} == {"length"}


def test_two_judges_of_one_name_at_two_places_are_two(server: ChatServer, tmp_path: Path) -> None:
    """The one finds a good, the other what stands first: neither's verdicts are taken for both's."""
    a = outputs(tmp_path / "a.jsonl", ["good", "good"])
    b = outputs(tmp_path / "b.jsonl", ["bad", "worse"])
    with serving(always_first) as other:
        texts = [f"{MODEL}@{server.url}", f"{MODEL}@{other.url}"]
        folder = judge_stage([a, b], texts, output=tmp_path / "out", overrides=["canaries=0"])
        assert (server.calls, other.calls) == (4, 4)
    rates = {rate.judge: rate.rate.value for rate in read_results(folder).judges.win_rates}
    assert (rates[texts[0]], rates[texts[1]]) == (1.0, 0.5)


def test_a_name_with_the_mark_of_an_address_in_it_is_whole(
    server: ChatServer, tmp_path: Path
) -> None:
    """As Cloudflare names its models; as a policy and as a judge."""
    name = "@cf/meta/llama"
    server.models.append(name)
    file = outputs(tmp_path / "theirs.jsonl", ["bad", "bad"])
    served = f"{name}@{server.url}"
    results = judged(served, file, judge=served, output=tmp_path / "out", overrides=["canaries=0"])
    (rate,) = results.judges.win_rates
    assert (rate.a, rate.judge, rate.rate.value) == (name, name, 1.0)
    assert {body["model"] for body in server.posted} == {name}
