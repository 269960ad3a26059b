"""Interrupts that wait for the end of a step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def stop_between_steps() -> Iterator[threading.Event]:
    """Turn the first interrupt or termination signal into an event; a second one acts as always."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # handlers are the main thread's
        yield stopped
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def note(*_: Any) -> None:
        stopped.set()
        restore()

    for number in previous:
        signal.signal(number, note)
    try:
        yield stopped
    finally:
        restore()
