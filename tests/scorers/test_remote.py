"""Reward models behind HTTP: what is asked, what is made of the answers, and all that goes wrong."""

from __future__ import annotations

import json
import logging
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rewarddiff.errors import UserError
from rewarddiff.records import Group, Message
from rewarddiff.scorers.neural.build import save_scorer
from rewarddiff.scorers.protocol import Pointwise, Scorer
from rewarddiff.scorers.ranking import scores
from rewarddiff.scorers.remote import connection
from rewarddiff.scorers.remote.options import Remote
from rewarddiff.scorers.remote.scorer import open_remote
from rewarddiff.store import Store

from .conftest import make
from .reward_server import NAME, Handler, RewardServer, reward, serving

GROUPS = [
    Group("a", "What is tea?", ("A drink.", "Leaf", "Grün ☕"), source="tea.jsonl:1"),
    Group("b", "Name a colour: ", ("Red", "", "half \ud83d"), source="tea.jsonl:2"),
    *(
        Group(f"g{i}", f"Prompt {i} ", ("one", "two"), source=f"tea.jsonl:{i + 3}")
        for i in range(6)
    ),
]
CHAT = Group("c", (Message("user", "Two and two?"),), ("Four.", "Five"), source="tea.jsonl:20")
APIS = ["vllm", "vllm-pooling", "sglang", "sglang-embeddings", "rewarddiff"]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "FIRST_WAIT", 0.001)


@pytest.fixture
def vllm() -> Iterator[RewardServer]:
    with serving("vllm") as server:
        yield server


def asked(server: RewardServer, **options: Any) -> Scorer:
    settings = {"batch": 2, "concurrency": 3, "timeout": 5.0, **options}
    return Remote(url=server.url, **settings).scorer("scorers.judge")


def table(scorer: Scorer, groups: list[Group] = GROUPS, **options: Any) -> list[list[float]]:
    assert isinstance(scorer, Pointwise)
    return [rewards.tolist() for rewards in scorer.rewards(groups, **options)]


def by_rule(groups: list[Group] = GROUPS, *, split: bool = False) -> list[list[float]]:
    """The table, by the rule itself: of whole texts, or of prompt and response apart."""
    rewards = []
    for group in groups:
        texts = [[group.prompt, r] if split else group.prompt + r for r in group.responses]
        rewards.append([reward(text) for text in texts])
    return rewards


@pytest.mark.parametrize("api", APIS)
def test_every_api_gives_the_rewards_in_their_order(api: str) -> None:
    with serving(api.partition("-")[0].replace("rewarddiff", "")) as server:
        assert table(asked(server, api=api)) == by_rule(split=api == "rewarddiff")
        assert all(len(str(body)) for _, body in server.posted)


def test_what_is_sent_is_what_the_servers_document(vllm) -> None:
    scorer = asked(vllm, batch=100)
    table(scorer, [GROUPS[0], CHAT])
    turns = [{"role": "user", "content": "Two and two?"}]
    four, five = ({"role": "assistant", "content": text} for text in ("Four.", "Five"))
    texts = ["What is tea?A drink.", "What is tea?Leaf", "What is tea?Grün ☕"]
    fixed = {"model": NAME, "use_activation": False}
    expected = [
        ("/classify", {**fixed, "input": texts}),
        ("/classify", {**fixed, "messages": [*turns, four]}),
        ("/classify", {**fixed, "messages": [*turns, five]}),
    ]
    assert sorted(vllm.posted, key=str) == sorted(expected, key=str)


def test_rewarddiff_serve_gets_each_prompt_once_with_its_responses() -> None:
    with serving("") as server:
        scorer = asked(server, batch=100)
        table(scorer, [GROUPS[0], CHAT])
        rows = [
            {"prompt": "What is tea?", "responses": ["A drink.", "Leaf", "Grün ☕"]},
            {
                "prompt": [{"role": "user", "content": "Two and two?"}],
                "responses": ["Four.", "Five"],
            },
        ]
        assert server.posted == [("/score", {"rows": rows})]


def test_a_conversation_for_a_server_of_texts_needs_a_template() -> None:
    with serving("sglang") as server, pytest.raises(UserError) as caught:
        table(asked(server), [CHAT])
    assert "tea.jsonl:20 is a conversation, and sglang takes texts: name" in str(caught.value)


@pytest.mark.parametrize("owner", ["vllm", "sglang"])
def test_a_real_model_behind_a_server_scores_as_here(folders, tmp_path, owner) -> None:
    """With the model's template: tokens are sent, and read by transformers' own forward pass."""
    local = make(folders["decoder"])
    local.trained = True
    save_scorer(local, tmp_path / "reward")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward").eval()

    def read(tokens: list[int]) -> float:
        with torch.no_grad():
            return float(model(torch.tensor([tokens])).logits)

    groups = [GROUPS[0], CHAT]
    with serving(owner) as server:
        server.rule = read
        remote = asked(server, template=str(tmp_path / "reward"))
        for theirs, ours in zip(table(remote, groups), scores(local, groups), strict=True):
            np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=1e-6)
    assert AutoTokenizer.from_pretrained(tmp_path / "reward").eos_token_id is not None


def test_differences_ask_for_what_is_compared_alone(vllm) -> None:
    scorer = asked(vllm, batch=1)
    (one, two) = scorer.differences(GROUPS[:2], [[(0, 2), (2, 0)], []])
    rewards = by_rule(GROUPS[:1])[0]
    assert one.mean.tolist() == [rewards[0] - rewards[2], rewards[2] - rewards[0]]
    assert two.mean.size == 0
    assert len(vllm.posted) == 2


def test_a_served_difference_model_is_asked_both_ways() -> None:
    with serving("") as server:
        scorer = asked(server, api="rewarddiff-compare")
        assert not isinstance(scorer, Pointwise)
        first, second = scorer.differences(GROUPS[:2], [[(0, 2), (1, 0)], []])
        (a, b, c), *_ = by_rule(GROUPS[:1], split=True)
        assert first.mean.tolist() == [a - c, b - a]
        assert second.mean.size == 0
        (swapped,) = scorer.differences(GROUPS[:1], [[(2, 0), (0, 1)]])
        assert swapped.mean.tolist() == (-first.mean).tolist()


# --- what serves ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("owner", "path", "route"),
    [
        ("vllm", "", "/classify"),
        ("vllm", "/classify", "/classify"),
        ("vllm", "/pooling/", "/pooling"),
        ("sglang", "/v1", "/classify"),
        ("sglang", "/v1/embeddings", "/v1/embeddings"),
        ("", "", "/score"),
        ("", "/score", "/score"),
    ],
)
def test_an_address_is_enough(owner: str, path: str, route: str) -> None:
    with serving(owner) as server:
        assert table(open_remote(server.url + path)) == by_rule(split=not owner)
        assert {where for where, body in server.posted if body != {"rows": []}} == {route}


def test_the_address_of_a_difference_model_is_enough() -> None:
    def refuse(handler: Handler, number: int, answer: Any) -> bool:
        if handler.path != "/score":
            return False
        handler.send(422, b'{"error": {"message": "a difference model gives no reward"}}')
        return True

    with serving("") as server:
        server.fault = refuse
        scorer = open_remote(server.url)
        assert not isinstance(scorer, Pointwise)
        assert scorer.differences(GROUPS[:1], [[(0, 1)]])[0].mean.shape == (1,)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://rm:8000/v1/classify", "answers 1.0 whatever it reads.*without /v1/classify"),
        ("rm:8000", "should be the address of a server, as http://host:8000"),
        ("http://", "should be the address of a server"),
        ("http://rm:80000", "should be the address of a server"),
        ("ftp://rm", "should be the address of a server"),
        ("http://me:secret@rm:8000", "has a key or options in it.*name that as key_env"),
        ("http://rm:8000?api_key=secret", "has a key or options in it"),
    ],
)
def test_addresses_that_cannot_be_are_refused(url: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        open_remote(url)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_of_something_else_is_refused(vllm) -> None:
    vllm.owner = "somebody"
    with pytest.raises(UserError, match=r"neither vLLM nor SGLang nor .* or name its api"):
        open_remote(vllm.url)
    assert table(asked(vllm, api="sglang-embeddings")) == by_rule()


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        ({"data": [{"embedding": [0.1] * 384}] * 2}, "384 numbers for a text, and a reward is one"),
        ({"data": [{"embedding": [1.0]}]}, "1 numbers for 2 texts"),
        (
            {"data": [{"index": 0, "embedding": [1.0]}] * 2},
            "entries whose index is missing or twice there",
        ),
        ({"data": [{"vector": [1.0]}] * 2}, "no embedding"),
        ({"data": [[1.0], [2.0]]}, "no list of entries"),
        ({"object": "error"}, "no data"),
        ([1.0, 2.0], "no data"),
        ({"data": [{"embedding": [None]}] * 2}, "None, which is no finite number"),
        ({"data": [{"embedding": [True]}] * 2}, "True, which is no finite number"),
        ({"data": [{"embedding": ["3"]}] * 2}, "3, which is no finite number"),
        ({"data": [{"embedding": [1e999]}] * 2}, "Infinity in the JSON, which is no number"),
    ],
)
def test_no_answer_of_another_shape_is_a_score(tmp_path, answer: Any, cause: str) -> None:
    def other(handler: Handler, number: int, _: Any) -> bool:
        handler.send(200, json.dumps(answer).encode())
        return True

    with serving("sglang") as server, Store(tmp_path / "store") as store:
        server.fault = other
        scorer = asked(server, api="sglang-embeddings", attempts=2)
        with pytest.raises(UserError) as caught:
            table(scorer, GROUPS[2:3], store=store)
        message = str(caught.value)
        assert message.startswith(f"{server.url}: answers to v1/embeddings with {cause}")
        assert message.endswith("(tea.jsonl:3 and 1 more); see that api names what serves there")
        assert len(server.posted) == 2
        server.fault = None
        assert table(scorer, GROUPS[2:3], store=store) == by_rule(GROUPS[2:3])


# --- what goes wrong ------------------------------------------------------------------------------------------------


def too_many(handler: Handler, answer: Any) -> None:
    handler.send(429, b'{"error": "busy"}', Retry_After="0")


def unavailable(handler: Handler, answer: Any) -> None:
    handler.send(503, b"<html>down</html>", Retry_After="Wed, 21 Oct 2015 07:28:00 GMT")


def broken(handler: Handler, answer: Any) -> None:
    handler.send(500, b'{"error": {"message": "CUDA error"}}')


def hung_up(handler: Handler, answer: Any) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def cut(handler: Handler, answer: Any) -> None:
    handler.send(200, json.dumps(answer).encode(), cut=9)


def malformed(handler: Handler, answer: Any) -> None:
    handler.send(200, json.dumps(answer).encode()[:-5])


def page(handler: Handler, answer: Any) -> None:
    handler.send(200, b"<!DOCTYPE html><title>Sign in</title>")


def one_short(handler: Handler, answer: Any) -> None:
    handler.send(200, json.dumps({"data": answer["data"][1:]}).encode())


def not_a_number(handler: Handler, answer: Any) -> None:
    handler.send(200, re.sub(rb'"probs": \[[^]]*', b'"probs": [NaN', json.dumps(answer).encode()))


def nothing(handler: Handler, answer: Any) -> None:
    handler.send(200, re.sub(rb'"probs": \[[^]]*', b'"probs": [null', json.dumps(answer).encode()))


def empty(handler: Handler, answer: Any) -> None:
    handler.send(200, b"")


def too_slow(handler: Handler, answer: Any) -> None:
    """Drips for longer than the client waits, each byte in time."""
    content = json.dumps(answer).encode()
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    for byte in content[:8]:
        handler.wfile.write(bytes([byte]))
        handler.wfile.flush()
        time.sleep(0.1)


FAULTS = {
    too_many: "status 429, busy",
    unavailable: "status 503",
    broken: "status 500, CUDA error",
    hung_up: "cannot be reached",
    cut: "cannot be reached",
    malformed: "answers to classify with cut or malformed JSON",
    page: "answers to classify with a page, not JSON",
    one_short: "answers to classify with 1 numbers for 2 texts",
    not_a_number: "answers to classify with NaN in the JSON",
    nothing: "answers to classify with None, which is no finite number",
    empty: "answers to classify with nothing",
    too_slow: "gives no answer to classify within 0.4 s",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_that_passes_changes_nothing(vllm, tmp_path, fault) -> None:
    """Every third request fails: the table is that of a server without faults."""

    def third(handler: Handler, number: int, answer: Any) -> bool:
        if number % 3:
            return False
        fault(handler, answer)
        return True

    vllm.fault = third
    with Store(tmp_path / "store") as store:
        assert table(asked(vllm, timeout=0.4), store=store) == by_rule()
    assert len(vllm.posted) > 9  # 18 texts, of which two are alike, two a request


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_that_stays_is_one_line_and_no_score(vllm, tmp_path, fault) -> None:
    """What was answered before is kept; the next run asks for the rest alone."""

    def from_the_third(handler: Handler, number: int, answer: Any) -> bool:
        if number < 2:
            return False
        fault(handler, answer)
        return True

    with Store(tmp_path / "store") as store:
        vllm.fault = from_the_third
        scorer = asked(vllm, attempts=2, timeout=0.4, concurrency=1)
        with pytest.raises(UserError) as caught:
            table(scorer, store=store)
        message = str(caught.value)
        assert message.startswith(f"{vllm.url}: {FAULTS[fault]}")
        assert re.search(r"\(tea\.jsonl:2 and 1 more\); \w+", message)
        assert "\n" not in message
        assert len(vllm.posted) == 4  # two answers, and two attempts at the third
        vllm.fault = None
        vllm.posted.clear()
        assert table(scorer, store=store) == by_rule()
        sent = [text for _, body in vllm.posted for text in body["input"]]
        every = {group.prompt + r for group in GROUPS for r in group.responses}
        assert len(sent) == len(set(sent)) == len(every) - 4


def test_a_server_that_is_not_there(tmp_path) -> None:
    with serving("vllm") as server:
        url = server.url
    with pytest.raises(UserError, match=rf"{url}: cannot be reached .*; see that the server runs"):
        table(Remote(url=url, attempts=2).scorer("x"))


def test_the_row_that_a_server_refuses_is_named(vllm, tmp_path) -> None:
    """A batch is refused for one text: the others get their rewards, and the error names the row."""

    def long_text(handler: Handler, number: int, answer: Any) -> bool:
        body = vllm.posted[number][1]
        if "Name a colour: Red" not in body["input"]:
            return False
        handler.send(400, b'{"error": {"message": "maximum context length is\\n 4096 tokens."}}')
        return True

    vllm.fault = long_text
    with Store(tmp_path / "store") as store, pytest.raises(UserError) as caught:
        table(asked(vllm, batch=100), store=store)
    assert str(caught.value) == (
        f"{vllm.url}: status 400, maximum context length is 4096 tokens (tea.jsonl:2); "
        "mend what is sent, or leave it out"
    )


def test_retry_after_is_waited_for(vllm, caplog) -> None:
    times: list[float] = []

    def once(handler: Handler, number: int, answer: Any) -> bool:
        times.append(time.monotonic())
        if number:
            return False
        handler.send(429, b"{}", Retry_After="1")
        return True

    vllm.fault = once
    table(asked(vllm, batch=100), GROUPS[:1])
    assert times[1] - times[0] >= 1
    assert caplog.messages == [f"{vllm.url}: status 429; asked again in 1 s (5 tries left)"]


def test_a_server_that_asks_for_an_hour_is_given_up(vllm) -> None:
    def later(handler: Handler, number: int, answer: Any) -> bool:
        handler.send(429, b"{}", Retry_After="3600")
        return True

    vllm.fault = later
    with pytest.raises(
        UserError, match=r"status 429 \(asks to wait for 3600 s\).*lower concurrency"
    ):
        table(asked(vllm))


def test_requests_under_way_are_bounded(vllm) -> None:
    vllm.seconds = 0.02
    table(asked(vllm, batch=1, concurrency=4))
    assert vllm.most == 4


def test_rewards_that_have_passed_a_sigmoid_are_warned_of(vllm, caplog) -> None:
    vllm.rule = lambda text: 1 / (1 + np.exp(-reward(text)))
    groups = [Group(str(i), f"Prompt {i} ", ("one", "two")) for i in range(16)]
    with caplog.at_level(logging.WARNING):
        table(asked(vllm, batch=100), groups[:15])
        assert not caplog.records
        table(asked(vllm, batch=100), groups)
    assert "all 32 rewards lie between 0 and 1, as after a sigmoid" in caplog.text


# --- the key --------------------------------------------------------------------------------------------------------

KEY = "sk-a-very-secret-key"


def test_a_key_is_sent_and_stands_nowhere(vllm, tmp_path, monkeypatch, caplog) -> None:
    monkeypatch.setenv("REWARD_KEY", KEY)
    vllm.key = KEY
    options = Remote(url=vllm.url, key_env="REWARD_KEY")
    with caplog.at_level(logging.DEBUG), Store(tmp_path / "store") as store:
        scorer = options.scorer("scorers.judge")
        assert table(scorer, store=store) == by_rule()
        vllm.key = "another"  # this server repeats what it was given
        with pytest.raises(UserError) as caught:
            table(scorer, [Group("new", "new", ("new", "other"))], store=store)
    assert str(caught.value) == (
        f"{vllm.url}: status 401, wrong key: Bearer [key] (new and 1 more); "
        "put the right key into the environment variable REWARD_KEY"
    )
    texts = [repr(options), options.fingerprint(), repr(scorer), str(scorer), caplog.text]
    assert not any(KEY in text for text in texts)
    assert all(KEY.encode() not in file.read_bytes() for file in tmp_path.iterdir())
    monkeypatch.setenv("REWARD_KEY", "other")
    assert options.fingerprint() == Remote(url=vllm.url, key_env="REWARD_KEY").fingerprint()
    monkeypatch.delenv("REWARD_KEY")
    with pytest.raises(UserError, match="the environment variable REWARD_KEY is not set"):
        options.scorer("scorers.judge")


def test_no_key_is_carried_by_a_redirect(vllm, monkeypatch) -> None:
    monkeypatch.setenv("REWARD_KEY", KEY)
    with serving("vllm") as elsewhere:

        def redirect(handler: Handler, number: int, answer: Any) -> bool:
            handler.send(307, b"", Location=f"{elsewhere.url}/classify")
            return True

        vllm.fault = redirect
        with pytest.raises(UserError, match=rf"status 307, a redirect to {elsewhere.url}/classify"):
            table(asked(vllm, key_env="REWARD_KEY"))
        assert not elsewhere.posted


# --- what answers are kept under ------------------------------------------------------------------------------------


def test_answers_follow_a_model_that_is_named(vllm, tmp_path) -> None:
    """The same name at another address is the same model; without a name the address counts."""
    with serving("vllm") as other, Store(tmp_path / "store") as store:
        for named in ({"model": NAME}, {}):
            table(asked(vllm, **named), GROUPS[:1], store=store)
            before = len(other.posted)
            table(asked(other, **named), GROUPS[:1], store=store)
            assert (len(other.posted) > before) == (not named)


def test_a_recipe_may_ask_for_one() -> None:
    from rewarddiff.config import load_recipe
    from rewarddiff.pipeline.recipe import Recipe

    written = {"kind": "remote", "url": "http://rm:8000", "api": "vllm", "model": NAME}
    rest = {"name": "x", "data": {"path": "x"}}
    recipe = load_recipe({"scorers": {"judge": written}, **rest}, [], Recipe)
    assert recipe.scorers["judge"] == Remote(url="http://rm:8000", api="vllm", model=NAME)
    with pytest.raises(
        UserError, match=r"'scorers.judge.api' is 'vlm', should be .*did you mean 'vllm'"
    ):
        load_recipe({"scorers": {"judge": {**written, "api": "vlm"}}, **rest}, [], Recipe)
