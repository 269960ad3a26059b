"""`rewarddiff judge`, from files of outputs to results, with judges of known taste behind a server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from judging_examples import always_first, by_taste, good, outputs
from scorers.chat_server import MODEL, AtRandom, ChatServer, serving

from rewarddiff import cli
from rewarddiff.errors import UserError
from rewarddiff.pipeline.judge import judge_stage
from rewarddiff.results import MAJORITY, JudgeUse, Results, WinRate, read_results


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with serving(by_taste(good)) as state:
        yield state


def judge_of(state: ChatServer) -> str:
    return f"{MODEL}@{state.url}"


def judged(*policies: str, judge: str, output: Path, **options: Any) -> Results:
    return read_results(judge_stage(policies, [judge], output=output, **options))


def rate_of(results: Results, judge: str = MODEL) -> WinRate:
    (rate,) = (rate for rate in results.judges.win_rates if rate.judge == judge)
    return rate


FIRST = ("good", "good good", "bad", "same", "good")
SECOND = ("bad", "good", "good", "same", "good again good")
"""A wins two, loses two, and ties where both say the same."""


def test_two_files_are_judged(server: ChatServer, tmp_path: Path) -> None:
    a, b = outputs(tmp_path / "a.jsonl", FIRST), outputs(tmp_path / "b.jsonl", SECOND)
    results = judged(a, b, judge=judge_of(server), output=tmp_path / "out")
    rate = rate_of(results)
    assert (rate.a, rate.b, rate.n, rate.scored) == ("a", "b", 5, 5)
    shares = [interval.value for interval in (rate.win, rate.tie, rate.lose, rate.rate)]
    assert shares == [0.4, 0.2, 0.4, 0.5]
    assert rate.turned.value == 0
    # Four pairs differ, and each is asked in both orders; two canaries on five prompts, likewise.
    assert server.calls == 4 * 2 + 2 * 5 * 2
    assert results.command == "judge"
    assert [use.calls for use in results.judges.uses] == [server.calls]


def test_all_is_written(server: ChatServer, tmp_path: Path) -> None:
    a, b = outputs(tmp_path / "a.jsonl", FIRST), outputs(tmp_path / "b.jsonl", SECOND)
    judged(a, b, judge=judge_of(server), output=tmp_path / "out")
    out = tmp_path / "out"
    annotations = json.loads((out / "annotations.json").read_text())
    # AlpacaEval: 2 where output_2, the model that is evaluated, wins.
    assert [row["preference"] for row in annotations] == [2, 2, 1, 1.5, 1]
    assert annotations[0] == {
        "instruction": "Question 0?",
        "output_1": "bad",
        "generator_1": "b",
        "output_2": "good",
        "generator_2": "a",
        "annotator": MODEL,
        "preference": 2,
    }
    verdicts = [json.loads(line) for line in (out / "verdicts.jsonl").read_text().splitlines()]
    assert [row["value"] for row in verdicts] == [1, 1, -1, 0, -1]
    assert [row["asked"] for row in verdicts] == [[True, True]] * 3 + [[False, False], [True, True]]
    assert "<script" not in (out / "report.html").read_text()


def test_a_judge_of_the_order_alone_says_nothing(server: ChatServer, tmp_path: Path) -> None:
    server.reply = always_first
    a = outputs(tmp_path / "a.jsonl", [f"a{i}" for i in range(12)])
    b = outputs(tmp_path / "b.jsonl", [f"b{i}" for i in range(12)])
    results = judged(a, b, judge=judge_of(server), output=tmp_path / "out")
    rate = rate_of(results)
    assert (rate.rate.value, rate.tie.value) == (0.5, 1.0)
    assert (rate.turned.value, rate.first) == (1.0, 1.0)
    # A canary gets half of the points of such a judge, which is an alarm.
    assert [canary.rate.value for canary in results.judges.canaries] == [0.5, 0.5]
    assert all(canary.alarming for canary in results.judges.canaries)
    assert any("not to be relied on" in note for note in results.notes)


def test_sides_mirror_each_other(server: ChatServer, tmp_path: Path) -> None:
    a, b = outputs(tmp_path / "a.jsonl", FIRST), outputs(tmp_path / "b.jsonl", (*SECOND[:4], "x"))
    forth = rate_of(judged(a, b, judge=judge_of(server), output=tmp_path / "ab"))
    back = rate_of(judged(b, a, judge=judge_of(server), output=tmp_path / "ba"))
    assert (forth.a, forth.b) == (back.b, back.a)
    assert forth.win == back.lose
    assert forth.lose == back.win
    assert forth.tie == back.tie
    assert forth.rate.value == 1 - back.rate.value
    assert (forth.worst, forth.best) == (1 - back.best, 1 - back.worst)
    assert forth.p == back.p


def test_again_asks_nothing_again(server: ChatServer, tmp_path: Path) -> None:
    a, b = outputs(tmp_path / "a.jsonl", FIRST), outputs(tmp_path / "b.jsonl", SECOND)
    before = judged(a, b, judge=judge_of(server), output=tmp_path / "out")
    calls = server.calls
    after = judged(a, b, judge=judge_of(server), output=tmp_path / "out")
    assert server.calls == calls
    assert after.judges.win_rates == before.judges.win_rates


def test_what_is_no_verdict_is_unscored_with_its_cause(server: ChatServer, tmp_path: Path) -> None:
    honest = by_taste(good)

    def reply(body: Any) -> str:
        return "I would rather not say." if "secret" in str(body) else honest(body)

    server.reply = reply
    a = outputs(tmp_path / "a.jsonl", ["good", "secret", "bad"])
    b = outputs(tmp_path / "b.jsonl", ["bad", "good", "worse"])
    rate = rate_of(
        judged(a, b, judge=judge_of(server), output=tmp_path / "out", overrides=["attempts=2"])
    )
    assert (rate.n, rate.scored, sum(rate.unscored.values())) == (3, 2, 1)
    # A win, a tie and one that may be either: 1.5 or 2.5 points of 3.
    assert (rate.worst, rate.best) == (0.5, pytest.approx(2.5 / 3))


def test_several_policies_are_ranked_and_several_judges_have_a_majority(
    server: ChatServer, tmp_path: Path
) -> None:
    files = [
        outputs(tmp_path / "best.jsonl", ["good good good"] * 6),
        outputs(tmp_path / "mean.jsonl", ["good good"] * 6),
        outputs(tmp_path / "last.jsonl", ["good"] * 6),
    ]
    judges = [judge_of(server), "length"]
    folder = judge_stage(files, judges, output=tmp_path / "out", overrides=["canaries=0"])
    results = read_results(folder)
    pairs = {(rate.a, rate.b, rate.judge): rate.rate.value for rate in results.judges.win_rates}
    assert len(pairs) == 3 * 3  # pairs of policies; two judges and their majority
    assert set(pairs.values()) == {1.0}
    assert [rank.policy for rank in results.judges.ranking if rank.judge == MODEL] == [
        "best",
        "mean",
        "last",
    ]
    assert results.samples[0].verdicts == {MODEL: "win", "length": "win", MAJORITY: "win"}
    (agreement,) = results.judges.agreements
    assert (agreement.percent.value, agreement.n) == (1.0, 18)


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policies", "judge", "options", "cause"),
    [
        (["a", "a"], "length", {}, "given 2 times"),
        (["a"], "length", {}, "one policy"),
        (["a", "b"], None, {}, "--judge"),
        (["a", "none.jsonl"], "length", {}, "none.jsonl"),
        (["a", "b"], "nowhere/at/all", {}, "nowhere/at/all"),
        (["a", "fewer"], "length", {}, "1 of 5 prompts lack in"),
        (["a", "b"], "length", {"overrides": ["form=grades"]}, "form=grades"),
        (["a", "b"], "length", {"overrides": ["canaries=-1"]}, "canaries"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_leaves_no_folder(
    tmp_path: Path, policies: list[str], judge: str | None, options: dict[str, Any], cause: str
) -> None:
    outputs(tmp_path / "a.jsonl", FIRST)
    outputs(tmp_path / "b.jsonl", SECOND)
    outputs(tmp_path / "fewer.jsonl", SECOND[:4])
    texts = [str(tmp_path / (name if "." in name else f"{name}.jsonl")) for name in policies]
    with pytest.raises(UserError) as raised:
        judge_stage(texts, [judge] if judge else [], output=tmp_path / "out", **options)
    assert cause in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_what_a_language_model_needs_is_said_in_one_line(
    server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    a, b = outputs(tmp_path / "a.jsonl", FIRST), outputs(tmp_path / "b.jsonl", SECOND)
    (tmp_path / "prompt.txt").write_text("Which is better, {response_1} or {response_2}?")
    (tmp_path / "folder").mkdir()
    refused = {
        "OPENAI_API_KEY": ("gpt-4o@https://api.openai.com/v1", []),
        "{prompt} missing": (judge_of(server), [f"prompt={tmp_path / 'prompt.txt'}"]),
        "folder": (str(tmp_path / "folder"), []),
        "fom": (judge_of(server), ["fom=grades"]),
    }
    for cause, (judge, settings) in refused.items():
        with pytest.raises(UserError) as raised:
            judge_stage([a, b], [judge], output=tmp_path / "out", overrides=settings)
        assert cause in str(raised.value)
        assert "\n" not in str(raised.value)
        assert not (tmp_path / "out").exists()


def test_faults_on_the_way_change_no_figure(
    server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rewarddiff.scorers.judging.served.FIRST_WAIT", 0.01)
    a = outputs(tmp_path / "a.jsonl", ["good " * (i % 5) + f"a{i}" for i in range(60)])
    b = outputs(tmp_path / "b.jsonl", ["good " * (i % 3) + f"b{i}" for i in range(60)])
    settings = ["canaries=0", "timeout=0.5", "attempts=12", "concurrency=16"]
    judge = judge_of(server)
    quiet = judged(a, b, judge=judge, output=tmp_path / "quiet", overrides=settings)
    server.fault = faults = AtRandom(0.3)
    loud = judged(a, b, judge=judge, output=tmp_path / "loud", overrides=settings)
    assert sum(faults.made.values()) > 20
    assert loud.judges.win_rates == quiet.judges.win_rates


def test_the_command_line_ends_with_tables_or_with_one_line(
    server: ChatServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = outputs(tmp_path / "a.jsonl", FIRST), outputs(tmp_path / "b.jsonl", SECOND)
    output = ["--output", str(tmp_path / "out")]
    assert cli.main(["judge", a, b, "--judge", judge_of(server), "canaries=2", *output]) == 0
    shown = capsys.readouterr().out
    assert "a against b" in shown
    assert str(tmp_path / "out" / "report.html") in shown
    assert cli.main(["judge", a, a, "--judge", "length", *output]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_server_that_is_down_or_has_no_such_model_leaves_no_folder(
    server: ChatServer, tmp_path: Path
) -> None:
    a, b = outputs(tmp_path / "a.jsonl", FIRST), outputs(tmp_path / "b.jsonl", SECOND)
    for judge in (f"{MODEL}@http://127.0.0.1:9", f"other/model@{server.url}"):
        with pytest.raises(UserError) as raised:
            judge_stage([a, b], [judge], output=tmp_path / "out", overrides=["attempts=1"])
        assert "\n" not in str(raised.value)
        assert not (tmp_path / "out").exists()


def test_what_was_answered_before_a_failure_is_kept(server: ChatServer, tmp_path: Path) -> None:
    a, b = outputs(tmp_path / "a.jsonl", FIRST), outputs(tmp_path / "b.jsonl", SECOND)
    settings = ["attempts=1", "concurrency=1"]

    def breaks(handler: Any, count: int, answer: Any) -> bool:
        if count < 5:
            return False
        handler.send(401, {"error": {"message": "no key"}})
        return True

    server.fault = breaks
    with pytest.raises(UserError):
        judge_stage([a, b], [judge_of(server)], output=tmp_path / "out", overrides=settings)
    server.fault = None
    judge_stage([a, b], [judge_of(server)], output=tmp_path / "out", overrides=settings)
    # 28 verdicts in all; one request failed, and was asked again.
    assert server.calls == 4 * 2 + 2 * 5 * 2 + 1


def test_what_was_paid_before_a_failure_is_in_the_cost(server: ChatServer, tmp_path: Path) -> None:
    """A rerun asks for the rest, and the cost is that of both; a third asks nothing and says the same."""
    a, b = outputs(tmp_path / "a.jsonl", FIRST), outputs(tmp_path / "b.jsonl", SECOND)
    settings = ["attempts=1", "concurrency=1", "price_in=1e6", "price_out=1e6", "max_tokens=20"]

    def breaks(handler: Any, count: int, answer: Any) -> bool:
        if count >= 5:
            handler.send(401, {"error": {"message": "no key"}})
        return count >= 5

    def use() -> JudgeUse:
        results = judged(a, b, judge=judge_of(server), output=tmp_path / "out", overrides=settings)
        (of_judge,) = results.judges.uses
        return of_judge

    server.fault = breaks
    with pytest.raises(UserError):
        use()
    server.fault = None
    first, second = use(), use()
    total = 4 * 2 + 2 * 5 * 2
    assert (first.calls, first.kept) == (total, 5)
    assert (second.calls, second.kept) == (total, total)
    assert first.failures == second.failures == {"status 401": 1}
    # The server counts a token as four characters, of what it reads and writes; each costs 1.
    bodies = [body for place, body in enumerate(server.posted) if place != 5]
    read = sum(len(body["messages"][0]["content"]) // 4 for body in bodies)
    written = sum(len(server.reply(body)) // 4 for body in bodies)
    assert (first.price, second.price) == (read + written, read + written)
    # Foreseen were half of `max_tokens` for each reply, on canaries too.
    assert first.estimated_price == second.estimated_price == read + 10 * total


def test_what_a_server_does_not_do_is_in_the_results_also_of_a_rerun(
    server: ChatServer, tmp_path: Path
) -> None:
    def refuses_seeds(handler: Any, count: int, answer: Any) -> bool:
        has_seed = "seed" in handler.state.posted[count]
        if has_seed:
            handler.send(400, {"error": {"message": "Unsupported parameter: seed"}})
        return has_seed

    server.fault = refuses_seeds
    a, b = outputs(tmp_path / "a.jsonl", FIRST), outputs(tmp_path / "b.jsonl", SECOND)
    for _ in range(2):
        (use,) = judged(a, b, judge=judge_of(server), output=tmp_path / "out").judges.uses
        assert [note[:15] for note in use.notes] == ["heeds no seed: "]
        assert "heeds no seed: " in (tmp_path / "out" / "report.html").read_text()


def test_the_same_outputs_twice_are_one_line(server: ChatServer, tmp_path: Path) -> None:
    a, copy = outputs(tmp_path / "a.jsonl", FIRST), outputs(tmp_path / "copy.jsonl", FIRST)
    for again in (f"{tmp_path}/./a.jsonl", copy):
        with pytest.raises(UserError, match="give the same answer to every prompt") as raised:
            judge_stage([a, again], [judge_of(server)], output=tmp_path / "out")
        assert "\n" not in str(raised.value)
        assert not (tmp_path / "out").exists()
    assert server.calls == 0


def test_results_of_a_run_are_not_replaced(tmp_path: Path) -> None:
    a, b = outputs(tmp_path / "a.jsonl", FIRST), outputs(tmp_path / "b.jsonl", SECOND)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.json").write_text('{"command": "run"}')
    with pytest.raises(UserError, match="another command"):
        judge_stage([a, b], ["length"], output=tmp_path / "out")
