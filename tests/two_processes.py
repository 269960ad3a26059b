"""A group of two processes on this machine, as a launcher would start them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent


def on_two_processes(tmp_path: Path, code: str) -> list[tuple[int, str]]:
    """Run code as both ranks of a group of two; return their exit statuses and stderr."""
    own = [str(TESTS), str(TESTS / "policies")]
    script = tmp_path / "two.py"
    script.write_text(f"import sys\nsys.path[:0] = {own!r}\n{code}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    common = {**os.environ, **group, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"}
    ranks = [
        subprocess.Popen(
            [sys.executable, str(script)],
            env={**common, "RANK": str(r), "LOCAL_RANK": str(r)},
            stderr=subprocess.PIPE,
            cwd=tmp_path,
        )
        for r in range(2)
    ]
    try:
        errors = [p.communicate(timeout=120)[1].decode() for p in ranks]
    finally:
        for p in ranks:
            p.kill()
    return [(p.returncode, error) for p, error in zip(ranks, errors, strict=True)]
