"""Children of one process that has imported everything: a run then begins at once."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

PATIENCE = 300.0
"""Seconds after which a child is taken to hang."""

BROKEN = 70
"""The status of a child whose work raised an error."""


def forked(work: Callable[[], int], log: Path) -> int:
    """Return the id of a child that does `work`, ends with the status that it gives, and writes to a log."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    status = BROKEN
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(descriptor, stream)
        status = work()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def ended(child: int) -> int:
    """Wait for a child and return its status; negative: the signal that ended it.

    Raises:
        TimeoutError: it hangs; it has been killed.
    """
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        ended_child, status = os.waitpid(child, os.WNOHANG)
        if ended_child:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise TimeoutError(f"a child did not end within {PATIENCE:.0f} s")


def killed_after(child: int, seconds: float) -> int:
    """Kill a child after so long, and return its status: that of SIGKILL, or its own if it was faster."""
    time.sleep(seconds)
    ended_child, status = os.waitpid(child, os.WNOHANG)
    if ended_child:
        return os.waitstatus_to_exitcode(status)
    os.kill(child, signal.SIGKILL)
    return ended(child)
