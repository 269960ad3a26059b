"""Cases that are tried one by one in a process of their own: what came of each, how long, how much memory."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from select import select
from typing import Any, NamedTuple

LONGEST = 10.0
"""Seconds of the processor that a command may take."""

LATEST = 60.0
"""Seconds after which a case is given up."""

DEADEST = 90.0
"""Seconds after which a process that says nothing is killed: it does not hear the alarm."""

LARGEST = 300
"""MiB that a case may take above what the process had before."""


Judge = Callable[[Any], tuple[str, float]]
"""Returns what came of a case, and the seconds of the slowest command; 0: there is one command."""

Prepared = Callable[[str], AbstractContextManager[Any]]
"""Makes of a case what is judged, which is gone afterwards."""


class Outcome(NamedTuple):
    """What came of a case."""

    name: str
    verdict: str
    seconds: float = 0.0
    mib: float = 0.0

    @property
    def fault(self) -> str:
        """What is wrong with it; empty: nothing."""
        if not self.verdict.startswith(("groups", "refused")):
            return self.verdict
        if self.seconds > LONGEST:
            return f"took {self.seconds:.0f} s"
        if self.mib > LARGEST:
            return f"took {self.mib:.0f} MiB"
        return ""

    def line(self) -> str:
        return (
            f"{self.name}: {self.fault or self.verdict} ({self.seconds:.2f} s, {self.mib:.0f} MiB)"
        )


class Late(BaseException):
    """The time of a case is over."""


def outcomes(
    cases: Sequence[str], prepared: Prepared, judge: Judge, at_once: int = 20
) -> Iterator[Outcome]:
    """Judge every case, `at_once` of them in each process, and yield what came of it."""
    rest = list(cases)
    while rest:
        done = 0
        for outcome in _of_process(rest[:at_once], prepared, judge):
            done += 1
            yield outcome
        if done < len(rest[:at_once]):
            done += 1
            yield Outcome(rest[done - 1], "the process ended, or was killed for its silence")
        rest = rest[done:]


def _of_process(cases: Sequence[str], prepared: Prepared, judge: Judge) -> Iterator[Outcome]:
    """Yield the outcomes that a process tells before it ends."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        os.close(reading)
        _tell(cases, prepared, judge, writing)
    os.close(writing)
    told = b""
    while select([reading], [], [], DEADEST)[0] and (block := os.read(reading, 1 << 16)):
        *lines, told = (told + block).split(b"\n")
        for line in lines:
            yield Outcome(*json.loads(line))
    os.kill(process, signal.SIGKILL)  # it has ended, or is silent
    os.close(reading)
    os.waitpid(process, 0)


def _tell(cases: Sequence[str], prepared: Prepared, judge: Judge, writing: int) -> None:
    """Write down the outcome of every case, and end the process."""
    signal.signal(signal.SIGALRM, _late)
    with os.fdopen(writing, "w") as told:
        try:
            for case in cases:
                with prepared(case) as subject:
                    outcome = judged(case, subject, judge)
                told.write(json.dumps(outcome) + "\n")
                told.flush()
        except BaseException:
            traceback.print_exc()
        finally:
            told.flush()
            os._exit(0)


def _late(*_: Any) -> None:
    raise Late


def judged(case: str, subject: Any, judge: Judge) -> Outcome:
    """Judge a case under the clock, and look at the highest memory meanwhile."""
    Path("/proc/self/clear_refs").write_text("5")  # begins the highest anew
    before = _memory("VmRSS")
    begun = time.process_time()
    slowest = 0.0
    signal.setitimer(signal.ITIMER_REAL, LATEST)
    try:
        verdict, slowest = judge(subject)
    except Late:
        verdict = f"too late: more than {LATEST:.0f} s"
    except BaseException as error:
        verdict = f"{type(error).__name__}: {error}"[:300]
    signal.setitimer(signal.ITIMER_REAL, 0)
    seconds = time.process_time() - begun
    return Outcome(case, verdict, slowest or seconds, (_memory("VmHWM") - before) / 1024)


def _memory(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise LookupError(field)


def made_elsewhere(make: Callable[[], Path]) -> Path:
    """Let another process make a file: what it takes is not counted."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            os.write(writing, os.fsencode(make()))
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(process, 0)
    with os.fdopen(reading, "rb") as told:
        path = told.read()
    if not path:
        raise RuntimeError("the file could not be made")
    return Path(os.fsdecode(path))
