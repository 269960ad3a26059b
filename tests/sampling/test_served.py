"""A policy behind a server: what is asked of it, what is made of its answers, what is kept."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from answering_server import AnsweringServer, Rule, answering, completion

from rewarddiff.errors import UserError
from rewarddiff.machine import Meter
from rewarddiff.records import Message
from rewarddiff.sampling import Sample, SamplingConfig, served
from rewarddiff.sampling.conversations import conversations
from rewarddiff.sampling.served import Served, ServedModel
from rewarddiff.sampling.several import Beams, Temperature, several
from rewarddiff.store import Store

GREEDY = SamplingConfig(max_new_tokens=20, stop=())
WARM = replace(GREEDY, temperature=0.7, seed=3)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "FIRST_WAIT", 0.001)


def engine(server: AnsweringServer, **options: Any) -> Served:
    return Served(ServedModel(url=server.url, **{"model": "org/chat", **options}))


def echo(body: dict[str, Any]) -> str:
    """Say again what was said last, with the seed: an answer that tells what it was asked with."""
    return f"{body['messages'][-1]['content']}/{body.get('seed')}"


def test_a_prompt_is_a_turn_and_settings_are_sent() -> None:
    talk = (Message("system", "Be short."), Message("user", "Hi"))
    with answering(echo) as server:
        drawn = engine(server).samples(["Say ⅞ é 𝄞", talk], replace(WARM, stop=("\n\nHuman:",)))
    plain, turns = sorted(server.posted, key=lambda body: len(body["messages"]))
    assert plain["messages"] == [{"role": "user", "content": "Say ⅞ é 𝄞"}]
    assert [turn["role"] for turn in turns["messages"]] == ["system", "user"]
    for body in server.posted:
        assert (body["model"], body["max_tokens"], body["temperature"]) == ("org/chat", 20, 0.7)
        assert body["stop"] == ["\n\nHuman:"]
        assert not {"logprobs", "top_logprobs", "tools"} & body.keys()
    assert drawn[0] == Sample(f"Say ⅞ é 𝄞/{plain['seed']}", ended=True)


def test_greedy_needs_no_seed() -> None:
    with answering(echo) as server:
        (one,) = engine(server).samples(["Hi"], GREEDY)
    assert one.text == "Hi/None"
    assert server.posted[0]["temperature"] == 0


def test_a_seed_is_its_prompts_own_whatever_stands_beside_it() -> None:
    prompts = [f"Prompt {i}" for i in range(30)]
    shuffled = random.Random(0).sample(prompts, 30)
    with answering(echo) as server:
        alone = [engine(server).samples([prompt], WARM)[0] for prompt in prompts]
        together = engine(server).samples(prompts, WARM)
        mixed = engine(server, concurrency=1).samples(shuffled, replace(WARM, batch_size=1))
        other = engine(server).samples(prompts, replace(WARM, seed=4))
    assert together == alone
    assert sorted(mixed, key=lambda one: one.text) == sorted(alone, key=lambda one: one.text)
    seeds = {body["seed"] for body in server.posted}
    assert len(seeds) == 60  # 30 prompts, two seeds
    # What all servers read: llama.cpp has 32 bits, others 63.
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert not {one.text for one in other} & {one.text for one in alone}


@pytest.mark.parametrize(
    ("answer", "text", "ended"),
    [
        (completion("Whole."), "Whole.", True),
        (completion("Cut", "length"), "Cut", False),
        (completion("Half of it", "content_filter"), "Half of it", False),
        (completion("", "stop"), "", True),
        (completion(None, "length"), "", False),
        (completion(None, "stop", refusal="I can't help with that."), "I can't help with that.", True),
        # Servers that do not say why: 3 tokens of at most 20 are no cut.
        (completion("Short", None), "Short", True),
        ({**completion("Who knows", None), "usage": None}, "Who knows", False),
        (completion("Said.\n\nHuman: and more", "length"), "Said.", True),
        (completion("  Indented\n", "stop"), "  Indented", True),
    ],
)  # fmt: skip
def test_what_an_answer_comes_to(answer: Any, text: str, ended: bool) -> None:
    with answering(lambda body: answer) as server:
        drawn = engine(server).samples(["Hi"], replace(GREEDY, stop=("\n\nHuman:",)))
    assert drawn == [Sample(text, ended)]
    assert len(server.posted) == 1  # none of them is a failure


def test_a_text_ends_at_the_first_of_many_stops_which_servers_may_leave_in() -> None:
    stops = ("A", "B", "C", "D", "E")
    with answering(lambda body: "one E two A three") as server:
        (drawn,) = engine(server).samples(["Hi"], replace(GREEDY, stop=stops))
    assert drawn == Sample("one", ended=True)
    assert server.posted[0]["stop"] == ["A", "B", "C", "D"]  # OpenAI refuses more


def test_tools_are_passed_and_calls_are_the_answer() -> None:
    tool = {"type": "function", "function": {"name": "look", "parameters": {}}}
    prompt = (Message.of("user", "Look it up", {"tools": [tool]}),)
    call = {"id": "call_83", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    with answering(lambda body: completion(None, "tool_calls", tool_calls=[call])) as server:
        (drawn,) = engine(server).samples([prompt], GREEDY)
    assert server.posted[0]["tools"] == [tool]
    assert server.posted[0]["messages"] == [{"role": "user", "content": "Look it up"}]
    assert drawn == Sample('{"name": "look", "arguments": "{}"}', ended=True)


def test_a_server_without_tools_ends_it_with_its_own_words() -> None:
    refusal = (400, {"error": {"message": '"auto" tool choice requires --enable-auto-tool-choice'}})
    prompt = (Message.of("user", "Look", {"tools": [{"type": "function"}]}),)
    with (
        answering(lambda body: refusal) as server,
        pytest.raises(UserError, match=r"requires --enable-auto-tool-choice \(pairs.jsonl:4\)"),
    ):
        engine(server).samples([prompt], GREEDY, rows=["pairs.jsonl:4"])
    assert len(server.posted) == 1


def test_a_begun_reply_is_refused_before_anything_is_asked() -> None:
    begun = (Message("user", "Hi"), Message("assistant", "I"))
    with (
        answering(echo) as server,
        pytest.raises(UserError, match=r"prompt 2 of 2: ends with the assistant's own words"),
    ):
        engine(server).samples(["Hi", begun], GREEDY)
    assert server.posted == []


def test_what_was_answered_is_never_asked_again(tmp_path: Path) -> None:
    prompts = ["a", "b", "a", "c"]
    meter = Meter()
    with answering(echo) as server, Store(tmp_path / "store.sqlite") as store:
        asking = engine(server)
        first = asking.samples(prompts, WARM, store=store, meter=meter)
        assert len(server.posted) == 3  # equal prompts have one answer
        assert (asking.usage.calls, asking.usage.kept) == (3, 1)
        assert (asking.usage.prompt_tokens, asking.usage.completion_tokens) == (21, 9)
        assert meter.tokens == 9
        again = engine(server, concurrency=2, timeout=5.0).samples(
            prompts, replace(WARM, batch_size=3), store=store
        )
        assert again == first
        assert len(server.posted) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0.8},
        {"temperature": 0.0},
        {"max_new_tokens": 21},
        {"seed": 4},
        {"stop": ("x",)},
        {"prompt": "Hello."},
        {"prompt": (Message("system", ""), Message("user", "Hello"))},
        {"model": "org/other"},
    ],
    ids=str,
)  # fmt: skip
def test_each_input_by_itself_misses_the_store(change: dict[str, Any], tmp_path: Path) -> None:
    settings = dict(change)
    prompt = settings.pop("prompt", "Hello")
    model = settings.pop("model", "org/chat")
    with answering(echo) as server, Store(tmp_path / "store.sqlite") as store:
        engine(server).samples(["Hello"], WARM, store=store)
        engine(server, model=model).samples([prompt], replace(WARM, **settings), store=store)
        assert len(server.posted) == 2


def test_a_greedy_answer_is_the_same_for_all_seeds(tmp_path: Path) -> None:
    with answering(echo) as server, Store(tmp_path / "store.sqlite") as store:
        for seed in (0, 1):
            engine(server).samples(["Hello"], replace(GREEDY, seed=seed), store=store)
        assert len(server.posted) == 1


def test_a_failure_names_the_row_and_what_came_before_is_kept(tmp_path: Path) -> None:
    """A server that fails for good at the fourth prompt; then it is mended."""
    broken = [True]

    def rule(body: dict[str, Any]) -> Any:
        if broken[0] and body["messages"][0]["content"] == "d":
            return 503, {"error": {"message": "out of memory"}}
        return echo(body)

    prompts = list("abcde")
    rows = [f"prompts.jsonl:{row}" for row in range(1, 6)]
    with answering(rule) as server, Store(tmp_path / "store.sqlite") as store:
        asking = engine(server, attempts=2, concurrency=1)
        with pytest.raises(UserError) as failed:
            asking.samples(prompts, GREEDY, rows=rows, store=store)
        assert str(failed.value) == (
            f"{server.url}/v1: status 503, out of memory (prompts.jsonl:4); "
            "see the server's log, then run the same command again, what was answered is kept"
        )
        assert len(server.posted) == 5  # a, b, c, and d twice
        broken[0] = False
        drawn = asking.samples(prompts, GREEDY, rows=rows, store=store)
        assert [one.text for one in drawn] == [f"{prompt}/None" for prompt in prompts]
        assert [body["messages"][0]["content"] for body in server.posted[5:]] == ["d", "e"]


def test_a_wrong_name_says_so() -> None:
    unknown = (404, {"error": {"message": "The model `org/chat` does not exist."}})
    with (
        answering(lambda body: unknown) as server,
        pytest.raises(UserError, match=r"does not exist \(prompt 1 of 1\); correct url, or model"),
    ):
        engine(server).samples(["Hi"], GREEDY)


def test_no_more_are_under_way_than_asked_for() -> None:
    with answering(echo) as server:
        server.seconds = 0.02
        engine(server, concurrency=3).samples([f"{i}" for i in range(12)], GREEDY)
    assert server.most == 3


def test_diverse_beams_are_refused_and_draws_are_not() -> None:
    with answering(echo) as server:
        with pytest.raises(UserError, match="searches no diverse beams; draw by temperature"):
            several(engine(server), ["Hi"], Beams(), GREEDY)
        assert server.posted == []
        (drawn,) = several(engine(server), ["Hi"], Temperature(k=3), GREEDY)
    assert len({one.text for one in drawn}) == 3  # each draw has a seed of its own


def test_each_turn_is_asked_with_the_answers_before_it(tmp_path: Path) -> None:
    def rule(body: dict[str, Any]) -> str:
        return f"answer to {body['messages'][-1]['content']}"

    questions = [["a1", "a2"], ["b1"], ["c1", "c2", "c3"]]
    with answering(rule) as server, Store(tmp_path / "store.sqlite") as store:
        first = [turns[0] for turns in questions]
        later = [turns[1:] for turns in questions]
        answers = conversations(engine(server), first, later, GREEDY, store=store)
        texts = [[answer.text for answer in of_question] for of_question in answers]
        assert texts == [[f"answer to {turn}" for turn in turns] for turns in questions]
        assert len(server.posted) == 6
        (last,) = [b for b in server.posted if len(b["messages"]) == 5]
        assert [(turn["role"], turn["content"]) for turn in last["messages"]] == [
            ("user", "c1"), ("assistant", "answer to c1"),
            ("user", "c2"), ("assistant", "answer to c2"),
            ("user", "c3"),
        ]  # fmt: skip
        assert conversations(engine(server), first, later, GREEDY, store=store) == answers
        assert len(server.posted) == 6


def test_a_failed_second_turn_names_its_question() -> None:
    rule: Rule = lambda body: "x" if len(body["messages"]) == 1 else (422, {"detail": "no"})  # noqa: E731
    rows = ["questions.jsonl:1", "questions.jsonl:2"]
    with (
        answering(rule) as server,
        pytest.raises(UserError, match=r"status 422, no \(questions.jsonl:2\)"),
    ):
        conversations(engine(server), ["only one", "first"], [[], ["second"]], GREEDY, rows=rows)


def test_half_of_a_surrogate_pair_does_not_stop_it(tmp_path: Path) -> None:
    with answering(echo) as server, Store(tmp_path / "store.sqlite") as store:
        (drawn,) = engine(server).samples(["half \ud83d"], GREEDY, store=store)
        assert json.loads(json.dumps(drawn.text)) == "half \ud83d/None"
