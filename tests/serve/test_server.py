"""The command: its start-up line, its errors, and what a signal does."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from rewarddiff import cli
from rewarddiff.records import Group
from rewarddiff.scorers.neural.build import load_scorer
from rewarddiff.scorers.opening import fingerprint_of
from tests.serve.conftest import running


@contextmanager
def command(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "rewarddiff", "serve", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_signal_ends_the_server_when_what_was_accepted_is_answered(reward_folder: Path) -> None:
    # Each request waits for others for two seconds, so that all are there when the signal comes.
    arguments = (str(reward_folder), "--port", "0", "--host", "0.0.0.0", "wait=2.0")
    with command(*arguments) as process, ThreadPoolExecutor(8) as pool:
        assert process.stdout is not None
        first, routes, warning = (process.stdout.readline() for _ in range(3))
        scorer = load_scorer(reward_folder)
        port = re.fullmatch(
            rf"serving {re.escape(str(reward_folder))} at http://0\.0\.0\.0:(\d+)  "
            rf"fingerprint {fingerprint_of(reward_folder)}\n",
            first,
        )
        assert port is not None
        assert "/get_reward (OpenRLHF), /classify (vLLM), /reward (slime)" in routes
        assert "nothing is encrypted" in warning
        address = f"http://127.0.0.1:{port[1]}"

        def asked(response: str) -> float:
            body = {"prompt": "Question?", "response": response}
            answer = httpx2.post(f"{address}/reward", json=body, timeout=30)
            assert answer.status_code == 200
            return float(answer.json())

        responses = [f"answer {i}" for i in range(8)]
        answers = [pool.submit(asked, response) for response in responses]
        while "rewarddiff_queued_responses 8.0" not in httpx2.get(f"{address}/metrics").text:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        rewards = [answer.result() for answer in answers]
        out, errors = process.communicate(timeout=30)
    (expected,) = scorer.rewards([Group("g", "Question?", tuple(responses))])
    assert rewards == expected.tolist()
    assert process.returncode == 0
    assert out == "stopped: all that was accepted is answered\n"
    assert errors == ""
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"{address}/health")


def test_the_end_waits_no_longer_than_it_says() -> None:
    with command("length", "--port", "0", "stop_seconds=1") as process:
        assert process.stdout is not None
        first, _ = (process.stdout.readline() for _ in range(2))
        port = int(re.search(r":(\d+)  ", first)[1])
        with socket.create_connection(("127.0.0.1", port), timeout=30) as slow:
            slow.sendall(b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
            assert httpx2.get(f"http://127.0.0.1:{port}/health").status_code == 200  # read by then
            process.send_signal(signal.SIGTERM)
            answer = slow.recv(1000)
        out, errors = process.communicate(timeout=30)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1" in answer
    assert process.returncode == 0
    assert out.startswith("stopped: 1 request took longer than the 1 s of stop_seconds")
    assert "Traceback" not in errors


@pytest.mark.parametrize("key", ["", " secret", "secret\n", "sec\tret"])
def test_a_key_that_no_request_could_bear(key, monkeypatch, capsys) -> None:
    monkeypatch.setenv("A_KEY", key)
    assert cli.main(["serve", "length", "--port", "0", "--key-env", "A_KEY"]) == 2
    error = capsys.readouterr().err
    assert "--key-env A_KEY: " in error
    assert error.count("\n") == 1


def test_grades_are_not_served(capsys) -> None:
    assert cli.main(["serve", "grades"]) == 2
    assert "grades are the data's own" in capsys.readouterr().err


def test_a_port_that_is_taken(
    reward_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is said before the server is imported, which takes seconds."""
    monkeypatch.delitem(sys.modules, "rewarddiff.serve.server", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        assert cli.main(["serve", str(reward_folder), "--port", port]) == 2
    error = capsys.readouterr().err
    assert f"127.0.0.1:{port}: cannot be served at (Address already in use)" in error
    assert error.count("\n") == 1
    assert "rewarddiff.serve.server" not in sys.modules


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["--host", "203.0.113.1"], "203.0.113.1:8000: cannot be served at"),
        (["--key-env", "NO_SUCH_KEY"], "--key-env NO_SUCH_KEY: no such variable"),
        (["--port", "0", "--policy-baseline", "nowhere.jsonl"], "nowhere.jsonl"),
        (["queue=0"], "queue is 0, should be at least 1"),
        (["que=10"], "did you mean 'queue'"),
    ],
)
def test_errors_in_one_line(arguments, cause, reward_folder: Path, capsys) -> None:
    assert cli.main(["serve", str(reward_folder), *arguments]) == 2
    error = capsys.readouterr().err
    assert cause in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("module", ["starlette", "uvicorn", "prometheus_client"])
def test_what_is_not_installed(module, monkeypatch, reward_folder: Path, capsys) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert cli.main(["serve", str(reward_folder)]) == 2
    assert "pip install 'rewarddiff[serve]'" in capsys.readouterr().err


def test_memory_is_flat(reward) -> None:
    """A server that has answered many requests holds what it held after the first ones."""
    with running(reward) as client, ThreadPoolExecutor(8) as pool:

        def ask(i: int) -> int:
            body = {"prompt": f"Question {i % 7}?", "response": "word " * (i % 20)}
            return client.post("/reward", json=body).status_code

        assert set(pool.map(ask, range(200))) == {200}
        before = resident()
        assert set(pool.map(ask, range(500))) == {200}
        assert resident() - before < 10e6


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
