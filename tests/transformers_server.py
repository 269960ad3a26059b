"""`transformers serve`: a real server with a real model, in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SECONDS_TO_START = 120
NEEDED = ("fastapi", "uvicorn", "openai")


@contextmanager
def transformers_serve(folder: Path, log: Path) -> Iterator[str]:
    """Serve a model's folder in float32 and yield the server's address; its name is the folder."""
    for package in NEEDED:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"transformers serve needs {package}, which is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder),
        "--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "float32",
    ]  # fmt: skip
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with log.open("wb") as written:
        process = subprocess.Popen(command, stdout=written, stderr=written, env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{url}/health", process, log, SECONDS_TO_START)
        yield url
    finally:
        process.kill()
        process.wait()


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path, seconds: float) -> None:
    """Wait until a server that was started answers; fail with the end of its log if it does not."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    pytest.fail(f"the server did not start: {log.read_text()[-2000:]}")
