"""What goes wrong between a judge and us, and what is left of it: a verdict, a cause, or one line."""

from __future__ import annotations

import logging
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from rewarddiff.errors import UserError
from rewarddiff.scorers.judging import served
from rewarddiff.scorers.judging.options import Judge
from rewarddiff.scorers.judging.scorer import judge_of
from rewarddiff.store import Store

from . import chat_server
from .chat_server import (
    FAULTS,
    MODEL,
    AtRandom,
    Body,
    ChatServer,
    Handler,
    asked_text,
    serving,
)
from .judge_stubs import KEY, every_pair, expected, groups, honest, judge, saying, values


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "FIRST_WAIT", 0.001)


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with serving(saying(honest)) as state:
        yield state


CAUSES = {
    "busy": "status 429",
    "busy_without_retry_after": "status 429",
    "broken": "status 500",
    "too_slow": "no answer",
    "hung_up": "no answer",
    "cut": "no answer",
    "malformed": "a reply that is none",
    "wrong_count": "a reply that is none",
    "off_menu": "a verdict off the menu",
    "refusal": "the judge refuses",
    "empty": "an empty reply",
}
"""What each fault is counted as, also where the next attempt has made it good."""


def counted(made: Mapping[str, int], form: str) -> dict[str, int]:
    causes = dict(CAUSES)
    if form == "grades":  # the stub's last line has scores, which are no grade
        causes["off_menu"] = "no verdict at the end of the reply"
    failures: Counter[str] = Counter()
    for name, count in made.items():
        failures[causes[name]] += count
    return dict(failures)


@pytest.mark.parametrize(("form", "count"), [("scores", 500), ("grades", 100)])
def test_thirty_of_a_hundred_requests_fail_and_the_table_is_the_same(
    server, tmp_path, form, count
) -> None:
    """Ten kinds of faults, in both orders of each pair; some requests fail several times.

    One fails twelve times in a row with a probability of 0.3¹², 1 in 1.9 million.
    """
    made = groups(count)
    faults = AtRandom(0.3)
    server.fault = faults
    scorer = judge(server, form=form, timeout=0.5, attempts=12, concurrency=16)
    with Store(tmp_path / "store.sqlite") as store:
        verdicts = scorer.verdicts(made, every_pair(made), store=store)
        assert values(verdicts) == expected(count)
        assert set(faults.made) == {fault.__name__ for fault in FAULTS}
        # Two questions for each pair, and one attempt more for each fault.
        total = faults.made.total()
        assert server.calls == 2 * count + total
        assert 0.25 < total / server.calls < 0.35
        assert scorer.usage.failures == counted(faults.made, form)
        server.fault = None
        calls = server.calls
        again = judge(server, form=form).verdicts(made, every_pair(made), store=store)
        assert values(again) == expected(count)
        assert server.calls == calls


OF_THE_REPLY = ("off_menu", "refusal", "empty", "wrong_count", "malformed")
"""Faults in an answer that has come."""


def of_pair(place: int, fault: Callable[[Handler, Any], None]) -> chat_server.Fault:
    """Make a fault of every answer to one pair."""

    def wanted(handler: Handler, number: int, answer: Any) -> bool:
        if f"Prompt {place}?" not in asked_text(handler.state.posted[number]):
            return False
        fault(handler, answer)
        return True

    return wanted


@pytest.mark.parametrize("name", OF_THE_REPLY)
def test_a_pair_without_a_verdict_is_unscored_and_asked_again(server, tmp_path, name) -> None:
    made = groups(6)
    server.fault = of_pair(3, getattr(chat_server, name))
    with Store(tmp_path / "store.sqlite") as store:
        scorer = judge(server, attempts=3)
        verdicts = scorer.verdicts(made, every_pair(made), store=store)
        assert [v.scored.tolist() for v in verdicts] == [[place != 3] for place in range(6)]
        assert [v.causes for v in verdicts if not v.scored.all()] == [(CAUSES[name],)]
        assert scorer.usage.failures == {CAUSES[name]: 2 * 3}  # in either order
        assert server.calls == 10 + 2 * 3  # three attempts each
        (d,) = scorer.differences(made[3:4], [[(0, 1)]], store=store)
        assert str(d.mean.tolist()) == "[nan]"
        # Nothing of it was stored: the next run asks for it, and for it alone.
        server.fault = None
        server.posted.clear()
        verdicts = judge(server).verdicts(made, every_pair(made), store=store)
        assert values(verdicts) == expected(6)
        assert all("Prompt 3?" in asked_text(body) for body in server.posted)
        assert server.calls == 2


def test_a_reply_cut_by_max_tokens_is_unscored(server) -> None:
    server.finish = lambda text: "length"
    (verdicts,) = judge(server).verdicts(groups(1), [[(0, 1)]])
    assert verdicts.causes == ("a reply cut by max_tokens",)


def test_one_order_without_a_verdict_leaves_the_pair_unscored(server) -> None:
    """No half of an answer: the other order alone would let a bias through."""
    honest_reply = server.reply

    def one_order_alone(body: Body) -> str:
        message = asked_text(body)
        ahead = message.index("one answer") < message.index("another answer")
        return honest_reply(body) if ahead else "I cannot say."

    server.reply = one_order_alone
    (verdicts,) = judge(server).verdicts(groups(1), [[(0, 1)]])
    assert verdicts.forward.tolist() == expected(1)
    assert str(verdicts.backward.tolist()) == "[nan]"
    assert not verdicts.scored.any()
    assert verdicts.causes == ("no verdict at the end of the reply",)


def too_long(prompt: str, reply: Callable[[Body], str]) -> Callable[[Body], str]:
    """A model that refuses one prompt, as servers do that find it too long."""

    def checked(body: Body) -> str:
        if prompt in asked_text(body):
            raise KeyError("maximum context length is 4096 tokens")
        return reply(body)

    return checked


def test_a_pair_that_the_server_refuses_is_unscored_and_the_rest_goes_on(server, caplog) -> None:
    server.reply = too_long("Prompt 0?", saying(honest))
    made = groups(30)
    scorer = judge(server, concurrency=1)
    verdicts = scorer.verdicts(made, every_pair(made))
    assert values(verdicts)[1:] == expected(30)[1:]
    assert verdicts[0].causes == ("status 400",)
    assert scorer.usage.failures == {"status 400": 2}
    # Not asked twice: what is refused for its content is refused again.
    assert server.calls == 60
    assert "status 400, maximum context length is 4096 tokens (x.jsonl:1)" in caplog.text


def test_a_server_that_refuses_everything_ends_the_command(server) -> None:
    server.reply = too_long("", saying(honest))
    for count in (20, 1):
        with pytest.raises(UserError, match="status 400, maximum context length"):
            judge(server).verdicts(groups(count), every_pair(groups(count)))


def test_a_filter_that_refuses_the_first_texts_ends_nothing(server) -> None:
    """Ten pairs, all refused in the same words, in either order, before one is answered."""
    honest_reply = server.reply

    def filtered(body: Body) -> str:
        if "Filtered" in asked_text(body):
            raise KeyError("content policy")
        return honest_reply(body)

    server.reply = filtered
    made = groups(10, prompt="Filtered") + groups(5)
    verdicts = judge(server, concurrency=1).verdicts(made, every_pair(made))
    assert [v.causes for v in verdicts[:10]] == [("status 400",)] * 10
    assert values(verdicts)[10:] == expected(5)


def test_a_refused_pair_that_is_left_alone_by_a_run_before_stays_unscored(server, tmp_path) -> None:
    server.reply = too_long("Prompt 2?", saying(honest))
    made = groups(3)
    with Store(tmp_path / "store.sqlite") as store:
        for _ in range(2):
            verdicts = judge(server).verdicts(made, every_pair(made), store=store)
            assert [v.scored.all() for v in verdicts] == [True, True, False]


# --- what ends the command ----------------------------------------------------------------------


def test_an_endpoint_that_is_down() -> None:
    with serving(saying(honest)) as server:
        url = server.url
    with pytest.raises(UserError) as caught:
        judge_of(Judge(url=url, model=MODEL, attempts=2), "x").verdicts(groups(2), [[(0, 1)]] * 2)
    message = str(caught.value)
    assert message.startswith(f"{url}/v1: cannot be reached")
    assert "see that the server runs and url is right" in message
    assert "\n" not in message


def test_a_wrong_model_name(server) -> None:
    with pytest.raises(UserError) as caught:
        judge(server, model="org/nope").verdicts(groups(2), [[(0, 1)]] * 2)
    assert str(caught.value).startswith(
        f"{server.url}/v1: status 404, The model `org/nope` does not exist"
    )
    assert "model" in str(caught.value).rpartition(";")[2]
    assert server.calls <= 4  # not tried again


def test_a_missing_key(server, monkeypatch) -> None:
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    with pytest.raises(UserError, match="the environment variable JUDGE_KEY is not set; put"):
        judge(server, key_env="JUDGE_KEY")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    openai = Judge(url="https://api.openai.com/v1", model="gpt-4o")
    with pytest.raises(UserError, match="the environment variable OPENAI_API_KEY is not set"):
        openai.scorer("scorers.gpt")
    server.key = "sk-1"
    with pytest.raises(UserError, match=r"status 401.*give its key.*name that as key_env"):
        judge(server).verdicts(groups(1), [[(0, 1)]])


def test_what_was_answered_before_a_server_went_down_is_kept(server, tmp_path) -> None:
    def down(handler: Handler, number: int, answer: Any) -> bool:
        if number < 7:
            return False
        chat_server.hung_up(handler, answer)
        return True

    server.fault = down
    made = groups(20)
    with Store(tmp_path / "store.sqlite") as store:
        with pytest.raises(UserError, match="what was answered is kept"):
            judge(server, concurrency=1).verdicts(made, every_pair(made), store=store)
        server.fault = None
        server.posted.clear()
        verdicts = judge(server).verdicts(made, every_pair(made), store=store)
        assert values(verdicts) == expected(20)
        assert server.calls == 40 - 7


# --- the key ------------------------------------------------------------------------------------


def test_a_key_is_sent_and_stands_nowhere(server, tmp_path, monkeypatch, caplog, capsys) -> None:
    """In no file, log, output, error, traceback or chain of exceptions, nor (above) in a command line."""
    monkeypatch.setenv("JUDGE_KEY", KEY)
    server.key = KEY
    server.fault = AtRandom(0.3)
    made = groups(30)
    options = Judge(url=server.url, model=MODEL, key_env="JUDGE_KEY", timeout=0.5, attempts=12)
    with caplog.at_level(logging.DEBUG), Store(tmp_path / "store.sqlite") as store:
        scorer = judge_of(options, "scorers.gpt")
        verdicts = scorer.verdicts(made, every_pair(made), store=store, progress="judging")
        assert values(verdicts) == expected(30)
        assert all(sent["Authorization"] == f"Bearer {KEY}" for sent in server.headers)
        server.key = "another"  # this server repeats what it was given
        with pytest.raises(UserError) as caught:
            scorer.verdicts(groups(40), every_pair(groups(40)), store=store)
    texts = [repr(options), options.fingerprint(), repr(scorer), caplog.text]
    texts += [str(caught.value), "".join(traceback.format_exception(caught.value))]
    texts += capsys.readouterr()
    error: BaseException | None = caught.value
    while error is not None:
        texts += [repr(error), repr(error.args)]
        error = error.__cause__ or error.__context__
    assert "Incorrect API key provided: Bearer [key]" in str(caught.value)
    assert "put the right key into the environment variable JUDGE_KEY" in str(caught.value)
    assert not any(KEY in text for text in texts)
    assert all(
        KEY.encode() not in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()
    )


def test_another_key_asks_nothing_anew(server, tmp_path, monkeypatch) -> None:
    with Store(tmp_path / "store.sqlite") as store:
        for key in ("sk-1", "sk-2"):
            monkeypatch.setenv("JUDGE_KEY", key)
            scorer = judge(server, key_env="JUDGE_KEY")
            scorer.verdicts(groups(2), [[(0, 1)]] * 2, store=store)
    assert server.calls == 4


def test_no_address_with_a_password_is_taken_or_repeated() -> None:
    with pytest.raises(UserError, match="has a key or options in it") as caught:
        judge_of(Judge(url="http://me:secret@host:8000/v1", model=MODEL), "scorers.gpt")
    assert "secret" not in str(caught.value)


def test_requests_under_way_are_bounded(server) -> None:
    server.seconds = 0.02
    judge(server, concurrency=3).verdicts(groups(20), every_pair(groups(20)))
    assert server.most == 3


def test_retry_after_is_waited_for(server) -> None:
    times: list[float] = []

    def once(handler: Handler, number: int, answer: Any) -> bool:
        times.append(time.monotonic())
        if number:
            return False
        handler.send(429, {}, Retry_After="1")
        return True

    server.fault = once
    judge(server, concurrency=1, orders="one").verdicts(groups(1), [[(0, 1)]])
    assert times[1] - times[0] >= 1
