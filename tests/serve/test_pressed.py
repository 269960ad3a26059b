"""The benchmark's clients, for a moment: nothing is timed here."""

from __future__ import annotations

import asyncio

from benchmarks import serve
from rewarddiff.records import Group
from tests.serve.conftest import running


def test_samples_of_a_prompt_arrive_one_behind_the_other() -> None:
    shared = serve.make_samples("decoder-shared", 3)
    alone = serve.make_samples("decoder-alone", 3)
    assert len(shared) == len(alone) == 24
    assert [shared[i][0] == shared[0][0] for i in (1, 7, 8)] == [True, True, False]
    assert len({prompt for prompt, _ in alone}) == 24


def test_sixty_four_clients_get_the_rewards_of_offline_scoring(reward) -> None:
    samples = [(f"Question {i // 8}?", f"answer {i}") for i in range(64)]
    expected = {}
    for prompt, response in samples:
        (rewards,) = reward.rewards([Group("g", prompt, (response,))])
        expected[prompt, response] = float(rewards[0])
    with running(reward) as client:
        load = asyncio.run(serve.press(str(client.base_url), samples, expected, 1.0))
    assert load.failures == 0
    assert load.equal == 1
    assert load.answers > 0
    assert load.batch > 1
