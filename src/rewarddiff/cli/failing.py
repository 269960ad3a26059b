"""One line on stderr for whatever goes wrong, and a place for its traceback."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rewarddiff import launch
from rewarddiff.writing import on_terminal, print_lines, say

TRACEBACKS = (None, "/var/tmp", ".")
"""Folders for tracebacks, the first that takes a file; None: the system's own for such files."""


HEAD_START = 3.0
"""Seconds that the main process of a launcher has to say first what fails in all of them."""


def ended(message: str, status: int) -> int:
    """Say a message in one line on stderr, and return the exit status.

    What fails in all processes that a launcher has started is said once: by the main one, whose end makes
    the launcher end the others.
    """
    if not launch.is_main():
        time.sleep(HEAD_START)
        message = f"{message} (in process {launch.rank()})"
    with suppress(OSError):  # stderr itself may be on a full disk
        print_lines(f"rewarddiff: {' '.join(message.split())}", error=True)
    return status


def failed(error: BaseException, message: str, status: int, *, debug: bool) -> int:
    """Say what failed, after its traceback if that was asked for, and return the exit status."""
    if debug:
        say(_traceback(error).removesuffix("\n"), error=True)
    return ended(f"error: {message}", status)


def failed_elsewhere(error: BaseException, *, debug: bool) -> int:
    """Say what failed in another process, which the launcher may end before it can; return the status.

    The main one speaks for all, and its end is the end of all.
    """
    if launch.is_main():
        return failed(error, str(error), 2, debug=debug)
    time.sleep(2 * HEAD_START)
    return 2


@contextmanager
def terminations_as_interrupts() -> Iterator[None]:
    """Let SIGTERM end a command as an interrupt does, with a line; trainings and servers have ways of their own.

    A process that waits for others would heed it only once they answer: of several each ends at once.
    """
    is_main_thread = threading.current_thread() is threading.main_thread()  # handlers are its own
    if launch.size() > 1 or not is_main_thread:
        yield
        return
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def mute_stdout() -> None:
    """Print nothing more: Python would try once more at exit, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def kept(error: BaseException) -> str:
    """Keep the traceback in a file of the first folder that takes it; return words for where."""
    reasons = []
    for folder in TRACEBACKS:
        try:
            return f"traceback in {os.path.abspath(_written(_traceback(error), folder))}"
        except OSError as failure:
            reasons.append(failure.strerror)
    return f"its traceback could not be kept: {reasons[0]}; --debug shows it"


def _traceback(error: BaseException) -> str:
    # Also for a file: people look at it with a pager.
    return on_terminal("".join(traceback.format_exception(error)))


def _written(text: str, folder: str | None) -> str:
    """Write a text to a new file in a folder, and return its name."""
    handle, name = tempfile.mkstemp(dir=folder, prefix="rewarddiff-", suffix=".traceback.txt")
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError:
        os.unlink(name)
        raise
    return name
