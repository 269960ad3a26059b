"""The server is killed in the middle of its work, and what it has acknowledged is there."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Lock

import httpx2
import pytest

from rewarddiff.annotate.records import NAME
from rewarddiff.annotate.votes import Votes
from tests.annotate.conftest import fields, shown_texts, worth

CLIENTS, ITEMS, KILLS = 16, 16, 10


class Server:
    """`rewarddiff annotate` in a process of its own, at one port for all its lives."""

    def __init__(self, samples: Path, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.command = [
            *(sys.executable, "-m", "rewarddiff", "annotate", str(samples)),
            *("--output", str(folder), "--port", str(self.port), "--annotators", str(CLIENTS)),
        ]
        self.start()

    def start(self) -> None:
        """Start, and wait until the links are told."""
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("a link is a key"):
                return
        raise AssertionError("the server has not begun")

    def end(self, number: signal.Signals) -> str:
        """End by a signal, and return what was still said."""
        os.kill(self.process.pid, number)
        said, _ = self.process.communicate(timeout=30)
        return said


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    path = tmp_path / "samples.jsonl"
    rows = []
    for number in range(ITEMS):
        chosen, rejected = f"answer {number}, worth 4", f"answer {number}, worth {number % 7 + 1}!"
        rows.append({"prompt": f"question {number}", "chosen": chosen, "rejected": rejected})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


class Annotator:
    """A client that answers everything, and sends again what was not acknowledged."""

    def __init__(self, address: str, token: str) -> None:
        self.client = httpx2.Client(base_url=address, headers={"Origin": address}, timeout=10)
        self.token = token
        self.acknowledged: list[str] = []

    def stubborn(
        self, method: str, path: str, form: dict[str, str] | None = None
    ) -> httpx2.Response:
        """Ask until there is an answer."""
        while True:
            try:
                return self.client.request(method, path, data=form)
            except httpx2.TransportError:
                time.sleep(0.05)

    def answer_all(self, count: Counted) -> None:
        self.stubborn("GET", f"/enter/{self.token}")
        while 'action="/vote"' in (page := self.stubborn("GET", "/").text):
            left, right = shown_texts(page)
            form = {**fields(page), "choice": str(4 - (worth(left) - worth(right)))}
            assert self.stubborn("POST", "/vote", form).status_code == 303
            self.acknowledged.append(form["nonce"])
            count.one_more()
            if len(self.acknowledged) % 5 == 0:  # a network that delivers twice
                assert self.stubborn("POST", "/vote", form).status_code == 303
        self.client.close()


class Counted:
    """Votes acknowledged to all clients; sets an event at every so many."""

    def __init__(self, every: int) -> None:
        self.every, self.count, self.lock, self.reached = every, 0, Lock(), Event()

    def one_more(self) -> None:
        with self.lock:
            self.count += 1
            if self.count % self.every == 0:
                self.reached.set()


@pytest.mark.slow
def test_ten_kills_lose_no_acknowledged_vote_of_sixteen_clients_and_store_none_twice(
    samples: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "people"
    server = Server(samples, folder)
    address = f"http://127.0.0.1:{server.port}"
    tokens = json.loads((folder / "tokens.json").read_text())
    annotators = [Annotator(address, token) for token in tokens.values()]
    assert len(annotators) == CLIENTS
    count = Counted(every=CLIENTS * ITEMS // (KILLS + 1))
    kills = 0
    try:
        with ThreadPoolExecutor(CLIENTS) as pool:
            answering = [pool.submit(annotator.answer_all, count) for annotator in annotators]
            while kills < KILLS:
                assert count.reached.wait(60)
                count.reached.clear()
                server.end(signal.SIGKILL)
                server.start()
                kills += 1
            for each in answering:
                each.result(timeout=120)
    finally:
        if server.process.poll() is None:
            said = server.end(signal.SIGTERM)
    assert server.process.returncode == 0
    assert "stopped: every vote is in" in said

    votes = Votes(folder / NAME)
    rows = [dict(row) for row in votes.rows("SELECT * FROM votes JOIN items ON item = id")]
    votes.close()
    stored = Counter(row["nonce"] for row in rows)
    acknowledged = [nonce for annotator in annotators for nonce in annotator.acknowledged]
    assert kills == KILLS
    assert len(acknowledged) == CLIENTS * ITEMS
    assert stored == Counter(acknowledged)  # none lost, none twice, none of nobody
    for row in rows:
        assert row["grade"] == worth(row["a"]) - worth(row["b"])


def test_a_second_server_does_not_write_to_the_same_folder(samples: Path, tmp_path: Path) -> None:
    server = Server(samples, tmp_path / "people")
    try:
        other = subprocess.run(
            [*server.command, "--port", "0"], capture_output=True, text=True, timeout=60
        )
    finally:
        server.end(signal.SIGTERM)
    assert other.returncode == 2
    assert other.stderr.count("\n") == 1
    assert "another run is writing in" in other.stderr
