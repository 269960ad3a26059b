"""A judging that is interrupted or killed: what was answered is kept, and the next one goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rewarddiff.store import Store

from .chat_server import ChatServer, serving
from .judge_stubs import KEY, every_pair, expected, groups, honest, judge, saying, values


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with serving(saying(honest)) as state:
        yield state


CHILD = """
    import signal
    import sys
    # Whoever runs the tests in the background has them ignore interrupts, and their children too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from pathlib import Path
    from rewarddiff.scorers.judging.options import Judge
    from rewarddiff.store import Store
    from scorers.judge_stubs import every_pair, groups
    made = groups(200)
    judge = Judge(url=sys.argv[1], model="org/chat", concurrency=4, key_env="JUDGE_KEY").scorer("gpt")
    with Store(Path(sys.argv[2])) as store:
        judge.verdicts(made, every_pair(made), store=store, progress="judging")
"""


def started(server: ChatServer, store: Path) -> subprocess.Popen[bytes]:
    """Start a judging of 200 pairs in a process of its own."""
    tests = Path(__file__).parents[1]
    path = os.pathsep.join([str(tests), str(tests.parent / "src")])
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), server.url, str(store)],
        env={**os.environ, "PYTHONPATH": path, "JUDGE_KEY": KEY},
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_judging_goes_on(server, tmp_path, ending) -> None:
    """What was answered when the process was ended is not asked again, but for what was under way."""
    server.seconds = 0.02
    server.key = KEY
    child = started(server, tmp_path / "store.sqlite")
    try:
        while server.calls < 60:
            assert child.poll() is None
            time.sleep(0.01)
        command = Path(f"/proc/{child.pid}/cmdline")
        assert not command.exists() or KEY.encode() not in command.read_bytes()
        child.send_signal(ending)
        child.wait(30)
    finally:
        child.kill()
    asked_before = server.calls
    assert asked_before < 400
    server.seconds = 0.0
    server.key = ""
    made = groups(200)
    with Store(tmp_path / "store.sqlite") as store:
        assert values(judge(server).verdicts(made, every_pair(made), store=store)) == expected(200)
    # Four were under way, and perhaps one answered and not yet written.
    assert server.calls - 400 <= 5


def interrupted(server: ChatServer, store: Path, times: int) -> tuple[float, int]:
    """Interrupt a judging so often; return the seconds that it then took, and its exit status."""
    child = started(server, store)
    try:
        while server.calls < 4:
            assert child.poll() is None
            time.sleep(0.01)
        time.sleep(0.2)
        begin = time.monotonic()
        for _ in range(times):
            child.send_signal(signal.SIGINT)
            time.sleep(0.2)
        child.wait(30)
        return time.monotonic() - begin, child.returncode
    finally:
        child.kill()


def test_what_is_under_way_when_a_judging_is_interrupted_is_kept(server, tmp_path) -> None:
    """Four requests are sent and paid for; all four are answered and kept, and no other is sent."""
    server.seconds = 2.0
    _, status = interrupted(server, tmp_path / "store.sqlite", 1)
    assert status != 0
    assert server.calls == 4
    server.seconds = 0.0
    made = groups(200)
    with Store(tmp_path / "store.sqlite") as store:
        assert values(judge(server).verdicts(made, every_pair(made), store=store)) == expected(200)
    assert server.calls == 400


def test_a_second_interrupt_ends_at_once(server, tmp_path) -> None:
    server.seconds = 20.0
    seconds, status = interrupted(server, tmp_path / "store.sqlite", 2)
    assert status != 0
    assert seconds < 10
