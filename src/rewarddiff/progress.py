"""Progress with time left: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rewarddiff.writing import console, printable, say


class Task:
    """One piece of work; call `advance` as parts of it are done.

    Args:
        before: how much of it an earlier run has done; its speed says nothing of the time left.
        every: seconds between lines.
    """

    def __init__(self, name: str, total: float, before: float = 0.0, every: float = 10.0) -> None:
        self.name, self.total, self.done, self.before = name, total, before, before
        self._start = self._shown = time.monotonic()
        self._every = every

    def advance(self, amount: float = 1, note: str = "") -> None:
        self.done += amount
        now = time.monotonic()
        if now - self._shown >= self._every and self.done < self.total:
            self._shown = now
            self._line(
                f"{self.done / self.total:4.0%}, {_clock(self.left())} left{', ' + note if note else ''}"
            )

    def left(self) -> float:
        """Seconds left at the mean speed of this run; NaN before it has done anything."""
        done_now = self.done - self.before
        if not done_now:
            return float("nan")
        return (time.monotonic() - self._start) / done_now * (self.total - self.done)

    def finish(self, note: str = "") -> None:
        self._line(f"done in {_clock(time.monotonic() - self._start)}{', ' + note if note else ''}")

    def _line(self, text: str) -> None:
        say(f"  {self.name}: {text}", error=True)


class _Bar(Task):
    """The same on a terminal, drawn by rich."""

    def __init__(self, name: str, total: float, before: float = 0.0) -> None:
        from rich.progress import (
            BarColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        super().__init__(name, total, before)
        # A name may hold what rich would take for markup, and so may a note.
        described, noted = (
            TextColumn(form, markup=False)
            for form in ("  {task.description}", "{task.fields[note]}")
        )
        clocks = TimeElapsedColumn(), "left", TimeRemainingColumn()
        columns = described, BarColumn(24), "{task.percentage:3.0f}%", *clocks, noted
        self._bar = Progress(*columns, console=console(error=True))
        self._task = self._bar.add_task(
            printable(name), total=total, completed=int(before), note=""
        )
        self._bar.start()

    def advance(self, amount: float = 1, note: str = "") -> None:
        self.done += amount
        self._bar.update(self._task, completed=self.done, note=printable(note))

    def finish(self, note: str = "") -> None:
        self._bar.update(self._task, completed=self.total, note=printable(note))
        self._bar.stop()


@contextmanager
def task(name: str, total: float, before: float = 0.0) -> Iterator[Task]:
    """Show progress of `total` units, `before` of them done by an earlier run, while the block
    runs."""
    shown = _Bar(name, total, before) if sys.stderr.isatty() else Task(name, total, before)
    try:
        yield shown
    except BaseException:
        if isinstance(shown, _Bar):
            shown._bar.stop()
        raise
    shown.finish()


def _clock(seconds: float) -> str:
    if seconds != seconds:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes else f"{rest} s"
