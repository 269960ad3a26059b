"""Real servers on loopback, with tiny random scorers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import httpx2
import pytest
import uvicorn

from rewarddiff.encoding import LengthConfig
from rewarddiff.listening import settings_of
from rewarddiff.scorers.neural.build import new_scorer, save_scorer
from rewarddiff.scorers.neural.config import ScorerConfig
from rewarddiff.scorers.neural.scorer import NeuralScorer
from rewarddiff.scorers.protocol import Scorer
from rewarddiff.serve.app import Application
from rewarddiff.serve.config import ServeConfig
from rewarddiff.serve.served import Served

LENGTHS = LengthConfig(max_response=256)
FINGERPRINT = "f1ce"


@contextmanager
def running(
    scorer: Scorer | Served, config: ServeConfig | None = None, key: str | None = None
) -> Iterator[httpx2.Client]:
    """Serve a scorer in a thread of its own; yield a client of it."""
    served = scorer if isinstance(scorer, Served) else Served(scorer, fingerprint=FINGERPRINT)
    application = Application(served, config or ServeConfig(), key)
    server = uvicorn.Server(settings_of(application.starlette(), 60))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        thread = Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            yield client
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def reward(policy_folder: Path) -> NeuralScorer:
    """A decoder's reward model that reads conversations by the tiny template."""
    config = ScorerConfig(kind="reward", backbone=str(policy_folder), lengths=LENGTHS)
    return new_scorer(config, seed=1)


@pytest.fixture(scope="session")
def difference(policy_folder: Path) -> NeuralScorer:
    """A difference model that reads two responses together."""
    config = ScorerConfig(
        kind="difference", backbone=str(policy_folder), head="segments", lengths=LENGTHS
    )
    return new_scorer(config, seed=1)


@pytest.fixture(scope="session")
def encoder(encoder_folder: Path) -> NeuralScorer:
    config = ScorerConfig(
        kind="reward", backbone=str(encoder_folder), pooling="mean", lengths=LENGTHS
    )
    return new_scorer(config, seed=1)


@pytest.fixture(scope="session")
def reward_folder(reward: NeuralScorer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scorers") / "reward"
    reward.trained = True
    save_scorer(reward, folder)
    return folder


@pytest.fixture(scope="session")
def client(reward: NeuralScorer) -> Iterator[httpx2.Client]:
    with running(reward) as client:
        yield client
