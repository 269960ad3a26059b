"""Rewards of trainers from a scorer behind `rewarddiff serve`: the numbers of the folder itself."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest
import uvicorn

from rewarddiff.integrations import verl
from rewarddiff.integrations.trl import reward_function
from rewarddiff.integrations.trl.rewards import AsyncRewardFunction
from rewarddiff.scorers.neural.build import load_scorer
from rewarddiff.serve.app import Application
from rewarddiff.serve.config import ServeConfig
from rewarddiff.serve.served import Served

PROMPTS = ["Name a colour.", "Name a colour.", "2 + 2?", "2 + 2?"]
COMPLETIONS = [" Red.", " No", " 4", " I would say five."]


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a scorer on loopback; yield the URL."""
    application = Application(Served(load_scorer(folder)), ServeConfig(), None)
    options = uvicorn.Config(application.starlette(), log_config=None, ws="none")
    server = uvicorn.Server(options)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(60)


@pytest.mark.parametrize("kind", ["reward", "difference"])
def test_a_url_gives_the_rewards_of_the_folder(
    kind: str, reward_folder: Path, difference_folder: Path
) -> None:
    folder = {"reward": reward_folder, "difference": difference_folder}[kind]
    here = reward_function(folder)(prompts=PROMPTS, completions=COMPLETIONS)
    with served(folder) as url:
        function = reward_function(url, name="served")
        assert isinstance(function, AsyncRewardFunction)
        there = asyncio.run(function(prompts=PROMPTS, completions=COMPLETIONS))
    assert there == here
    assert len(set(here)) == 4


def test_verl_asks_a_url(reward_folder: Path) -> None:
    turns = [{"role": "user", "content": "Name a colour."}]
    extra_info = {"prompt": turns}
    here = verl.compute_score("hh", " Red.", "", extra_info, scorer=str(reward_folder))
    with served(reward_folder) as url:
        assert verl.compute_score("hh", " Red.", "", extra_info, scorer=url) == here
