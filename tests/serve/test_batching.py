"""Requests that arrive together are one batch; no answer depends on what it was read with."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import httpx2
import numpy as np
import pytest

from rewarddiff.differences import Array, Differences, Pair
from rewarddiff.records import Group
from rewarddiff.serve.asking import Rewards, Sample, Work, joined
from rewarddiff.serve.batching import Batcher
from rewarddiff.serve.config import ServeConfig
from rewarddiff.serve.failures import Failure
from rewarddiff.serve.metrics import Metrics
from rewarddiff.serve.served import Answer
from tests.serve.conftest import running
from tests.serve.test_protocols import RENDERED, offline, posted


class Lengths:
    """A scorer that is known by heart: r is a response's length. It waits for its gate, and keeps
    what it was asked."""

    name = "lengths"
    temperature = None
    prompts = None

    def __init__(self) -> None:
        self.gate = Event()
        self.gate.set()
        self.begun = Event()
        self.batches: list[list[Group]] = []

    def rewards(self, groups: Sequence[Group], **options: Any) -> list[Array]:
        self.begun.set()
        self.gate.wait(30)
        self.batches.append(list(groups))
        rewards = []
        for group in groups:
            if "crash" in group.responses:
                raise RuntimeError("the model is broken")
            numbers = [math.nan if text == "nan" else len(text) for text in group.responses]
            rewards.append(np.array(numbers, dtype=np.float64))
        return rewards

    def differences(
        self, groups: Sequence[Group], pairs: Sequence[Sequence[Pair]], **options: Any
    ) -> list[Differences]:
        rewards = self.rewards(groups)
        return [Differences.of_rewards(r, p) for r, p in zip(rewards, pairs, strict=True)]


def sample(prompt: str, response: str) -> dict[str, Any]:
    return {"rows": [{"prompt": prompt, "responses": [response]}]}


def score(client: httpx2.Client, prompt: str, response: str) -> httpx2.Response:
    return client.post("/score", json=sample(prompt, response))


def test_samples_of_one_prompt_are_one_group_and_equal_ones_are_read_once() -> None:
    asked = [("p", "a"), ("q", "a"), ("p", "b"), ("p", "a")]
    samples = [Sample(prompt, text, f"#{i}") for i, (prompt, text) in enumerate(asked)]
    groups, where = joined(samples)
    assert groups == [Group("#0", "p", ("a", "b")), Group("#1", "q", ("a",))]
    assert where == [(0, 0), (1, 0), (0, 1), (0, 0)]


def test_requests_that_wait_are_read_together() -> None:
    scorer = Lengths()
    with running(scorer) as client, ThreadPoolExecutor(9) as pool:
        scorer.gate.clear()
        first = pool.submit(score, client, "x", "first")
        scorer.begun.wait(30)
        waiting = []
        for i in range(8):
            waiting.append(pool.submit(score, client, "same", "y" * i))
        wait_for_queue(client, 8)
        scorer.gate.set()
        assert first.result().json()["scores"] == [[5]]
        assert [answer.result().json()["scores"] for answer in waiting] == [[[i]] for i in range(8)]
    (of_first,), (of_others,) = scorer.batches
    assert of_first.responses == ("first",)
    assert sorted(of_others.responses) == ["y" * i for i in range(8)]


def wait_for_queue(client: httpx2.Client, size: int) -> None:
    for _ in range(1000):
        queued = re.search(
            r"^rewarddiff_queued_responses (\S+)$", client.get("/metrics").text, re.M
        )
        if queued and float(queued[1]) == size:
            return
    raise AssertionError(f"never {size} in the queue")


def test_a_full_queue_is_429_and_what_was_accepted_is_answered() -> None:
    scorer = Lengths()
    with running(scorer, ServeConfig(queue=2)) as client, ThreadPoolExecutor(3) as pool:
        scorer.gate.clear()
        accepted = [pool.submit(score, client, "x", "one")]
        scorer.begun.wait(30)
        accepted += [pool.submit(score, client, "x", text) for text in ("three", "seven")]
        wait_for_queue(client, 2)
        refused = score(client, "x", "y")
        assert refused.status_code == 429
        assert int(refused.headers["Retry-After"]) >= 1
        assert "2 responses wait already, 2 may" in refused.json()["error"]["message"]
        scorer.gate.set()
        assert [answer.result().json()["scores"] for answer in accepted] == [[[3]], [[5]], [[5]]]
        assert score(client, "x", "y").status_code == 200


def test_a_failure_is_the_answer_of_whoever_caused_it() -> None:
    scorer = Lengths()
    with running(scorer) as client, ThreadPoolExecutor(9) as pool:
        scorer.gate.clear()
        texts = ["first", "a", "nan", "bbb", "crash", "cc", "dddd"]
        asked = [pool.submit(score, client, "first", "first")]
        scorer.begun.wait(30)
        asked += [pool.submit(score, client, text, text) for text in texts[1:]]
        wait_for_queue(client, 6)
        scorer.gate.set()
        answers = dict(zip(texts, [answer.result() for answer in asked], strict=True))
        assert score(client, "x", "after").json()["scores"] == [[5]]
    for text, answer in answers.items():
        if text not in ("nan", "crash"):
            assert answer.json()["scores"] == [[len(text)]]
    assert answers["nan"].status_code == 500
    assert "rows[0].responses[0]: lengths gives nan" in answers["nan"].json()["error"]["message"]
    assert answers["crash"].status_code == 500
    assert "RuntimeError" in answers["crash"].json()["error"]["message"]


@pytest.mark.parametrize(("of_all", "readings"), [(True, 1), (False, 7)])
def test_a_failure_that_nobody_caused_is_not_waited_for_again(of_all: bool, readings: int) -> None:
    """Of four requests read together: once, or with both halves and all quarters seven times."""
    sizes = []

    def read(works: Sequence[Work]) -> list[Answer]:
        sizes.append(len(works))
        raise Failure(502, "gone", of_all=of_all)

    batcher = Batcher(read, ServeConfig(batch=4, wait=5), Metrics())
    work = Rewards((Sample("x", "y", "#0"),))
    answers = [batcher.submit(work) for _ in range(4)]
    for answer in answers:
        with pytest.raises(Failure, match="gone"):
            answer.result(30)
    batcher.close()
    assert len(sizes) == readings


def test_what_nobody_waits_for_is_not_read() -> None:
    scorer = Lengths()
    with running(scorer) as client, ThreadPoolExecutor(2) as pool:
        scorer.gate.clear()
        first = pool.submit(score, client, "x", "first")
        scorer.begun.wait(30)
        with pytest.raises(httpx2.ReadTimeout):
            client.post("/score", json=sample("x", "given up"), timeout=0.2)
        counted = 'rewarddiff_requests_total{route="/score",status="499"} 1.0'
        while counted not in client.get("/metrics").text:
            pass
        scorer.gate.set()
        first.result()
    assert [group.responses for batch in scorer.batches for group in batch] == [("first",)]


def test_many_clients_get_the_numbers_of_offline_scoring(client, reward) -> None:
    prompts = [f"Question {i}?" for i in range(4)]
    asked = [(prompt, "word " * j) for prompt in prompts for j in range(1, 9)]
    expected = {}
    for prompt, response in asked:
        (expected[prompt, response],) = offline(reward, prompt, response)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda sample: score(client, *sample), asked * 3))
    for sample_asked, answer in zip(asked * 3, answers, strict=True):
        assert answer.json()["scores"][0][0] == expected[sample_asked]
    figures = client.get("/metrics").text
    batches = re.search(r"^rewarddiff_batch_responses_count (\S+)$", figures, re.M)
    assert batches is not None
    assert float(batches[1]) < len(answers)


def test_metrics_are_prometheus_text(reward) -> None:
    with running(reward) as client:
        for _ in range(3):
            posted(client, "/reward", {"prompt": RENDERED, "response": "y"})
        client.post("/reward", json={})
        answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    from prometheus_client.parser import text_string_to_metric_families

    values = {}
    for family in text_string_to_metric_families(answer.text):
        for point in family.samples:
            values[point.name, *sorted(point.labels.items())] = point.value
    route = ("route", "/reward")
    assert values["rewarddiff_requests_total", route, ("status", "200")] == 3
    assert values["rewarddiff_requests_total", route, ("status", "422")] == 1
    assert values["rewarddiff_request_seconds_count", route] == 4
    assert values["rewarddiff_batch_responses_sum",] == 3
    assert values["rewarddiff_queued_responses",] == 0
    assert values["process_resident_memory_bytes",] > 1e6
