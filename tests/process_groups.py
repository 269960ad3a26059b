"""Groups of processes on this machine, as a launcher would start them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent


def on_processes(tmp_path: Path, code: str, count: int = 2) -> list[tuple[int, str]]:
    """Run code in every process of a group; return their exit statuses and stderr, by rank."""
    own = [str(TESTS), str(TESTS / "policies")]
    script = tmp_path / f"on_{count}.py"
    script.write_text(f"import sys\nsys.path[:0] = {own!r}\n{code}")
    return launched(tmp_path, [str(script)], count)


def launched(
    tmp_path: Path, arguments: list[str], count: int = 2, *, seconds: float = 240
) -> list[tuple[int, str]]:
    """Run Python with these arguments in every process of a group, as `on_processes` does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    group = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    common = {**os.environ, **group, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"}
    ranks = [
        subprocess.Popen(
            [sys.executable, *arguments],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            cwd=tmp_path,
        )
        for rank in range(count)
    ]
    try:
        errors = [process.communicate(timeout=seconds)[1].decode() for process in ranks]
    finally:
        for process in ranks:
            process.kill()
    return [(p.returncode, error) for p, error in zip(ranks, errors, strict=True)]
