"""`kind: remote` at a real server: what it states is what the served scorer states here."""

from __future__ import annotations

import socket
from itertools import permutations

import httpx2
import numpy as np
import pytest

from rewarddiff.errors import UserError
from rewarddiff.evaluation.comparisons import compare
from rewarddiff.records import Group, Message
from rewarddiff.scorers.neural.scorer import NeuralScorer
from rewarddiff.scorers.protocol import Pointwise
from rewarddiff.scorers.ranking import scores
from rewarddiff.scorers.remote import connection
from rewarddiff.scorers.remote.options import Remote
from rewarddiff.scorers.remote.scorer import open_remote
from rewarddiff.serve.config import ServeConfig

from .conftest import running

CHAT = (Message("system", "Be brief."), Message("user", "Two and two?"))
GROUPS = [
    Group("a", "What is tea? ", ("A drink.", "Leaf", "Grün ☕", ""), (3, 1, 2, 0)),
    Group("b", CHAT, ("Four.", "Five, I think."), (1, 0)),
    *(Group(f"g{i}", f"Prompt {i} ", ("one", "two"), (0, 1)) for i in range(20)),
]
PAIRS = [list(permutations(range(len(group.responses)), 2)) for group in GROUPS]


def address(client: httpx2.Client) -> str:
    return str(client.base_url).rstrip("/")


@pytest.mark.parametrize("api", [None, "rewarddiff", "vllm"])
def test_rewards_are_the_same_to_the_bit(client, reward: NeuralScorer, api) -> None:
    options = {"model": reward.name} if api == "vllm" else {}
    remote = Remote(url=address(client), api=api, batch=3, **options).scorer("remote")
    groups = GROUPS[1:2] if api == "vllm" else GROUPS  # as messages; plain text has no end there
    assert isinstance(remote, Pointwise)
    for theirs, ours in zip(remote.rewards(groups), scores(reward, groups), strict=True):
        np.testing.assert_array_equal(theirs, ours)
    for theirs, ours in zip(compare(remote, groups), compare(reward, groups), strict=True):
        assert theirs == ours


def test_differences_are_the_same_to_the_bit(difference: NeuralScorer) -> None:
    with running(difference) as client:
        remote = open_remote(address(client))
        assert not isinstance(remote, Pointwise)
        theirs = remote.differences(GROUPS[:2], PAIRS[:2])
        ours = difference.differences(GROUPS[:2], PAIRS[:2])
        for one, other in zip(theirs, ours, strict=True):
            np.testing.assert_array_equal(one.mean, other.mean)
        with pytest.raises(UserError, match="a difference model gives a response no reward"):
            scores(Remote(url=address(client), api="rewarddiff").scorer("x"), GROUPS[:1])


def test_a_server_that_is_full_is_asked_again(reward, monkeypatch) -> None:
    """Its queue holds one sample: all others are answered 429 at first."""
    monkeypatch.setattr(connection, "FIRST_WAIT", 0.01)
    with running(reward, ServeConfig(queue=1)) as client:
        options = Remote(url=address(client), batch=1, concurrency=6, attempts=30)
        remote = options.scorer("remote")
        monkeypatch.setattr("rewarddiff.endpoints.client.retry_after", lambda text: 0.01)
        for theirs, ours in zip(remote.rewards(GROUPS), scores(reward, GROUPS), strict=True):
            np.testing.assert_array_equal(theirs, ours)
        figures = client.get("/metrics").text
    assert 'status="429"' in figures


def test_a_key_is_asked_for(reward, monkeypatch) -> None:
    monkeypatch.setenv("SERVER_KEY", "tea")
    with running(reward, key="tea") as client:
        named = Remote(url=address(client), key_env="SERVER_KEY").scorer("remote")
        np.testing.assert_array_equal(
            np.concatenate(named.rewards(GROUPS[:2])), np.concatenate(scores(reward, GROUPS[:2]))
        )
        with pytest.raises(UserError, match=r"status 401.*name that as key_env"):
            scores(Remote(url=address(client)).scorer("remote"), GROUPS[:1])


def test_a_server_behind_that_is_gone_is_502_in_words_for_a_client() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with running(Remote(url=url, attempts=1).scorer("behind")) as client:
        answer = client.post("/reward", json={"prompt": "What is tea?", "response": "A drink."})
    assert answer.status_code == 502
    message = answer.json()["error"]["message"]
    assert message.startswith("behind: cannot be reached (")
    assert message.endswith("; the scorer is read by a server behind this one: ask again later")


def test_what_the_server_behind_refuses_is_refused(reward) -> None:
    with (
        running(reward, ServeConfig(body=2000)) as behind,
        running(Remote(url=address(behind)).scorer("behind")) as client,
    ):
        answer = client.post("/reward", json={"prompt": "x" * 3000, "response": "y"})
        assert answer.status_code == 422
        assert "behind: status 413, the body is longer than 2000" in answer.text
        assert client.post("/reward", json={"prompt": "x", "response": "y"}).status_code == 200
