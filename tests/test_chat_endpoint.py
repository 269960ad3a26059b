"""Chat completions: what servers refuse is left out once and said; what they answer is read whole."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from answering_server import AnsweringServer, answering, completion

from rewarddiff.endpoints.answers import Failed
from rewarddiff.endpoints.chat import Asked, Chat, Reply, base
from rewarddiff.endpoints.client import Patience

ASKED = Asked(
    ({"role": "user", "content": "Hi"},), max_tokens=9, temperature=0.5, seed=1, stop=("x",), top_logprobs=2
)  # fmt: skip

# What servers say, as their users have posted it.
OPENAI_TOKENS = {
    "error": {
        "message": "Unsupported parameter: 'max_tokens' is not supported with this model. "
        "Use 'max_completion_tokens' instead.",
        "type": "invalid_request_error",
        "param": "max_tokens",
        "code": "unsupported_parameter",
    }
}
OPENAI_TEMPERATURE = {
    "error": {
        "message": "Unsupported value: 'temperature' does not support 0.5 with this model. "
        "Only the default (1) value is supported.",
        "param": "temperature",
    }
}
OPENAI_LOGPROBS = {"error": {"message": "You are not allowed to request logprobs from this model."}}
GEMINI_LOGPROBS = [{"error": {"code": 400, "message": "Logprobs is not enabled for models/a"}}]
OPENAI_STOP = {
    "error": {"message": "Unsupported parameter: 'stop' is not supported with this model."}
}
FASTAPI_SEED = {
    "detail": [
        {"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}
    ]
}  # fmt: skip
MISTRAL_SEED = {"object": "error", "message": FASTAPI_SEED, "type": "invalid_request_error"}
SEED_NOTE = "heeds no seed: what it samples with a temperature cannot be had again"
TEMPERATURE_NOTE = "takes no temperature: it samples at its own, so its answers are not greedy"


def refusing(parameter: str, status: int, message: Any) -> Any:
    """A rule: refuse whatever has the parameter, answer the rest."""
    return lambda body: (status, message) if parameter in body else with_tokens(body)


def with_tokens(body: dict[str, Any]) -> Any:
    """Answer with log-probabilities where they are asked for."""
    answer: Any = completion("Yes")
    if body.get("logprobs"):
        other = [{"token": "Yes", "logprob": -0.1}, {"token": "No", "logprob": -2.5}]
        tokens = [{"token": "Yes", "logprob": -0.1, "top_logprobs": other}]
        answer["choices"][0]["logprobs"] = {"content": tokens}
    return answer


def chat(server: AnsweringServer) -> Chat:
    return Chat(server.url, "org/chat", key_env=None, patience=Patience(attempts=3, wait=0.001))


@pytest.mark.parametrize(
    ("parameter", "status", "message", "missing", "notes"),
    [
        ("max_tokens", 400, OPENAI_TOKENS, {"max_tokens"}, []),
        ("stop", 400, OPENAI_STOP, {"stop"}, []),
        ("seed", 422, FASTAPI_SEED, {"seed"}, [SEED_NOTE]),
        ("seed", 422, MISTRAL_SEED, {"seed"}, [SEED_NOTE]),
        ("temperature", 400, OPENAI_TEMPERATURE, {"temperature"}, [TEMPERATURE_NOTE]),
        (
            "logprobs",
            400,
            GEMINI_LOGPROBS,
            {"logprobs", "top_logprobs"},
            ["gives no log-probabilities"],
        ),
        (
            "logprobs",
            403,
            OPENAI_LOGPROBS,
            {"logprobs", "top_logprobs"},
            ["gives no log-probabilities"],
        ),
    ],
)
def test_what_a_model_refuses_is_left_out_from_then_on(
    parameter: str,
    status: int,
    message: Any,
    missing: set[str],
    notes: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with (
        answering(refusing(parameter, status, message)) as server,
        caplog.at_level(logging.WARNING),
    ):
        asking = chat(server)
        assert [asking.reply(ASKED).text for _ in range(3)] == ["Yes"] * 3
    first, *later = server.posted
    assert missing <= first.keys()
    assert len(later) == 3  # refused once
    for body in later:
        assert first.keys() - body.keys() == missing
        if parameter == "max_tokens":
            assert body["max_completion_tokens"] == 9
    assert asking.notes == notes
    assert [record.getMessage() for record in caplog.records] == [
        f"{server.url}/v1: org/chat {note}" for note in notes
    ]


def test_a_model_that_refuses_several_learns_them_one_by_one() -> None:
    refusals = {"max_tokens": OPENAI_TOKENS, "temperature": OPENAI_TEMPERATURE, "stop": OPENAI_STOP}

    def rule(body: dict[str, Any]) -> Any:
        for name, message in refusals.items():
            if name in body:
                return 400, message
        return with_tokens(body)

    with answering(rule) as server:
        asking = chat(server)
        assert asking.reply(ASKED).text == "Yes"
        assert len(server.posted) == 4
        assert asking.reply(ASKED).text == "Yes"
    assert len(server.posted) == 5
    assert asking.notes == [TEMPERATURE_NOTE]


def test_many_at_once_learn_it_together() -> None:
    """All eight are refused, since none knows yet; each asks once more, and it is said once."""
    all_there = threading.Barrier(8)

    def rule(body: dict[str, Any]) -> Any:
        if "seed" in body:
            all_there.wait(10)
            return 422, FASTAPI_SEED
        return with_tokens(body)

    with answering(rule) as server, ThreadPoolExecutor(8) as pool:
        asking = chat(server)
        replies = list(pool.map(asking.reply, [ASKED] * 8))
    assert [reply.text for reply in replies] == ["Yes"] * 8
    assert len(server.posted) == 16
    assert asking.notes == [SEED_NOTE]


@pytest.mark.parametrize(
    ("status", "message", "told"),
    [
        # vLLM's, which names both keys and refuses neither.
        (
            400,
            {"error": {"message": "'max_tokens' or 'max_completion_tokens' is too large: 9999."}},
            "status 400, 'max_tokens' or 'max_completion_tokens' is too large: 9999",
        ),
        (400, {"error": "this model does not support images"}, "status 400, this model does not"),
        (404, OPENAI_TOKENS, "status 404, Unsupported parameter"),
        (400, {"detail": [{"loc": None, "msg": "no messages"}]}, "status 400, request: no messages"),
        (400, {"detail": ["no room"]}, "status 400, no room"),
        (400, [[[[[["unsupported seed"]]]]]], "status 400"),
    ],
)  # fmt: skip
def test_any_other_refusal_is_a_failure_after_one_request(
    status: int, message: Any, told: str
) -> None:
    with answering(lambda body: (status, message)) as server, pytest.raises(Failed) as failed:
        chat(server).reply(ASKED)
    assert failed.value.cause.startswith(told)
    assert len(server.posted) == 1


def test_what_is_refused_with_and_without_it_ends() -> None:
    with answering(lambda body: (400, OPENAI_TOKENS)) as server, pytest.raises(Failed):
        chat(server).reply(ASKED)
    assert [name for body in server.posted for name in body if name.startswith("max_")] == [
        "max_tokens",
        "max_completion_tokens",
    ]


def test_log_probabilities_that_are_passed_over_are_missed() -> None:
    with answering(lambda body: "Yes") as server:
        asking = chat(server)
        replies = [asking.reply(ASKED), asking.reply(ASKED)]
    assert [reply.tokens for reply in replies] == [(), ()]
    assert asking.notes == ["gives no log-probabilities"]


def test_they_are_read_where_they_are_given() -> None:
    with answering(with_tokens) as server:
        asking = chat(server)
        (token,) = asking.reply(ASKED).tokens
    assert (token.text, token.alternatives) == ("Yes", {"Yes": -0.1, "No": -2.5})
    assert asking.notes == []


@pytest.fixture
def flaky() -> Iterator[AnsweringServer]:
    """Answers in a way that is none, then as it should."""
    with answering(lambda body: "never") as server:
        yield server


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"choices": []},
        {"choices": [{"message": {"content": "a"}}, {"message": {"content": "b"}}]},
        {"choices": [{"finish_reason": "stop"}]},
        {"choices": [{"message": {"content": ["a"]}}]},
        {"choices": [{"message": {"content": None, "tool_calls": [{"id": "x"}]}}]},
    ],
)
def test_an_answer_without_one_reply_is_asked_for_again(
    broken: Any, flaky: AnsweringServer
) -> None:
    flaky.rule = lambda body: broken if len(flaky.posted) == 1 else "whole"
    reply = chat(flaky).reply(ASKED)
    assert reply == Reply("whole", prompt_tokens=7, completion_tokens=3)
    assert len(flaky.posted) == 2


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://host:8000", "http://host:8000/v1"),
        ("http://host:8000/", "http://host:8000/v1"),
        ("https://api.openai.com/v1", "https://api.openai.com/v1"),
        ("https://api.openai.com/v1/chat/completions", "https://api.openai.com/v1"),
        ("https://host/openai/v2/", "https://host/openai/v2"),
    ],
)
def test_an_address_with_or_without_its_path(url: str, address: str) -> None:
    assert base(url) == address
