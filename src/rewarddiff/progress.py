"""Progress with time left: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from rewarddiff.writing import console, guarded, on_terminal, say

LINE_SECONDS = 10.0
"""How often a line is written where there is no terminal."""


class Task:
    """One piece of work; call `advance` as parts of it are done.

    Args:
        total: infinite where that is not known; then no time left is shown.
        before: how much of it an earlier run has done; its speed says nothing of the time left.
        inner: it is a part of other work that is shown: where it was short, nothing is said of its
            end.
    """

    def __init__(
        self, name: str, total: float, before: float = 0.0, *, inner: bool = False
    ) -> None:
        self.name = name
        self.total = total
        self.before = before
        self.inner = inner
        self.done = before
        self._start = time.monotonic()
        self._shown = self._start

    def advance(self, amount: float = 1, note: str = "") -> None:
        """Count so much more as done, and show it with a note if the last line is old enough."""
        self.done += amount
        now = time.monotonic()
        if now - self._shown >= LINE_SECONDS and self.done < self.total:
            self._shown = now
            self._line(self._position(), note)

    def left(self) -> float:
        """Return the seconds left at this run's mean speed; NaN before it has done anything."""
        done_now = self.done - self.before
        if not done_now:
            return float("nan")
        return (time.monotonic() - self._start) / done_now * (self.total - self.done)

    def finish(self) -> None:
        """Say that the work is done."""
        seconds = time.monotonic() - self._start
        if not self.inner or seconds >= LINE_SECONDS:
            self._line(f"done in {_clock(seconds)}")

    def stop(self) -> None:
        """Show nothing more: the work has failed."""

    def _position(self) -> str:
        if math.isinf(self.total):
            return f"{self.done:,.0f} done"
        return f"{self.done / self.total:4.0%}, {_clock(self.left())} left"

    def _line(self, text: str, note: str = "") -> None:
        if note:
            text = f"{text}, {note}"
        say(f"  {self.name}: {text}", error=True)


class _Bar(Task):
    """The same on a terminal, drawn by rich."""

    def __init__(
        self, name: str, total: float, before: float = 0.0, *, inner: bool = False
    ) -> None:
        from rich.progress import (
            BarColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        super().__init__(name, total, before, inner=inner)
        self._bar = Progress(
            # A name may hold what rich would take for markup, and so may a note.
            TextColumn("  {task.description}", markup=False),
            BarColumn(24),
            "{task.percentage:3.0f}%",
            TimeElapsedColumn(),
            "left",
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=console(error=True),
        )
        self._task = self._bar.add_task(
            on_terminal(name),
            total=None if math.isinf(total) else total,
            completed=int(before),
            note="",
        )
        self._shown_until_stopped = ExitStack()
        self._shown_until_stopped.enter_context(self._bar)
        # Rich stands before the streams now, and would take foreign colours and links for its own.
        self._shown_until_stopped.enter_context(guarded())

    def advance(self, amount: float = 1, note: str = "") -> None:
        self.done += amount
        self._bar.update(self._task, completed=self.done, note=on_terminal(note))

    def finish(self) -> None:
        completed = self.done if math.isinf(self.total) else self.total
        self._bar.update(self._task, completed=completed, note="")
        self.stop()

    def stop(self) -> None:
        self._shown_until_stopped.close()


@contextmanager
def task(name: str, total: float, before: float = 0.0, *, inner: bool = False) -> Iterator[Task]:
    """Show progress of `total` units while the block runs; an earlier run has done `before`."""
    kind = _Bar if sys.stderr.isatty() else Task
    shown = kind(name, total, before, inner=inner)
    try:
        yield shown
    except BaseException:
        shown.stop()
        raise
    shown.finish()


def _clock(seconds: float) -> str:
    if math.isnan(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes else f"{rest} s"
