"""Windows done one after the other, by one process or by several at a time."""

from __future__ import annotations

import math
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing.connection import wait as wait_for
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, Protocol

from rewarddiff.data.ledger import Ledger
from rewarddiff.data.passing import PassingRow
from rewarddiff.differences import Array
from rewarddiff.errors import UserError
from rewarddiff.processes import by_itself, count, from_every_process, rank
from rewarddiff.progress import Task, task
from rewarddiff.scoring.parts import Parts
from rewarddiff.scoring.tables import Values
from rewarddiff.scoring.windows import WINDOW, Data
from rewarddiff.writing import counted, figure, guard, say

POLL = 0.5
"""Seconds between looks at what other processes have done."""


@dataclass(frozen=True)
class Done:
    """What a window has become.

    Attributes:
        rows: as they are to be kept.
        account: what was counted, ready for JSON.
        arrays: numbers to be kept apart from the rows.
    """

    rows: Sequence[Values]
    account: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=dict)


class Job(Protocol):
    """What is done with every window. It travels to other processes, so its fields are plain."""

    @property
    def data(self) -> Data: ...

    def begin(self, folder: Path) -> Callable[[Sequence[PassingRow]], Done]:
        """Load what is needed, once in every process; return what does a window.

        Args:
            folder: of the windows, where answers may be kept.
        """
        ...


@dataclass(frozen=True)
class Speed:
    """Rows that were done now, and the seconds it took; not what an earlier call had done."""

    rows: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.rows / self.seconds if self.seconds else math.nan


def carry_out(job: Job, parts: Parts, name: str, processes: int = 1) -> Speed:
    """Do all windows that are not done yet.

    Processes that a launcher has started divide them. One that fails waits for no other: the launcher
    ends them, and what is done stays.

    Args:
        processes: how many are started for this.

    Raises:
        UserError: the data cannot be read, or not be scored.
    """
    together = count()
    own = rank()
    if together > 1 and processes > 1:
        raise UserError(f"processes: a launcher has started {together} already; leave it out")
    before = len(parts.done())
    total = job.data.count()
    rows_before = min(before * WINDOW, total) if total is not None else before * WINDOW
    if before:
        say(f"going on behind {counted(rows_before, 'row')} done before", error=True)
    start = time.monotonic()
    rows_left = (total - rows_before) / together if total else math.inf
    with task(name, rows_before + rows_left, rows_before) as line:
        if processes > 1:
            _in_processes(job, parts, processes, line, start)
        else:
            with by_itself():
                _share(job, parts, own, together, lambda rows: _advance(line, rows, start))
        rows = sum(from_every_process(round(line.done - line.before)))
    return Speed(rows, time.monotonic() - start)


def _advance(line: Task, rows: int, start: float) -> None:
    """Show so many more rows as done, and how many a second that is."""
    done_now = line.done + rows - line.before
    rate = done_now / max(time.monotonic() - start, 1e-9)
    line.advance(rows, f"{figure(rate, '.3g')} rows/s")


def _share(
    job: Job,
    parts: Parts,
    rank: int,
    of: int,
    on_window: Callable[[int], None],
    stop: Event | None = None,
) -> None:
    """Do every `of`-th window, beginning with number `rank`, unless it is done."""
    done = set(parts.done())
    work: Callable[[Sequence[PassingRow]], Done] | None = None
    for number, unread in job.data.windows():
        if stop is not None and stop.is_set():
            return
        if number % of != rank or number in done:
            continue
        if work is None:
            work = job.begin(parts.folder)
        rows = [row.read() for row in unread]
        result = work(rows)
        account = {"rows": len(rows), "ledger": _ledger(rows).to_dict(), **result.account}
        parts.write(number, result.rows, account, **result.arrays)
        on_window(len(rows))


def _ledger(rows: Sequence[PassingRow]) -> Ledger:
    ledger = Ledger()
    for row in rows:
        ledger.merge(row.ledger)
    return ledger


def _in_processes(job: Job, parts: Parts, count: int, line: Task, start: float) -> None:
    """Let several processes do the windows, and show what they have done together."""
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    with ProcessPoolExecutor(count, context, _begin_process, (stop,)) as pool:
        shares = [pool.submit(_share_of_process, job, parts, rank, count) for rank in range(count)]
        try:
            pending = set(shares)
            shown = len(parts.done())
            while pending:
                finished, pending = wait(pending, POLL)
                for share in finished:
                    share.result()
                done = len(parts.done())
                _advance(line, (done - shown) * WINDOW, start)
                shown = done
        except BrokenProcessPool:
            raise UserError(
                f"one of {count} processes was ended from outside, as by a lack of memory; use "
                "fewer processes, and start again to go on"
            ) from None
        finally:
            # What fails in one ends them all, each behind the window that it is doing.
            stop.set()


_stop: Event | None = None
"""Set when this process is to do no further window."""


def _begin_process(stop: Event) -> None:
    """Make a process end with the one that has started it, however that ends."""
    guard()
    global _stop
    _stop = stop
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        wait_for([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _share_of_process(job: Job, parts: Parts, rank: int, count: int) -> None:
    _divide_machine(rank, count)
    _share(job, parts, rank, count, lambda rows: None, _stop)


def _divide_machine(rank: int, count: int) -> None:
    """Take a part of the processors, and one of the accelerators."""
    import torch

    torch.set_num_threads(max(1, torch.get_num_threads() // count))
    if torch.cuda.is_available():
        torch.cuda.set_device(rank % torch.cuda.device_count())
