"""Two commands on one output: the second stops at once and says who writes there; a dead owner is taken over.

    python tests/faults/two_runs.py 26                 # so many cases, of every command that writes
    python tests/faults/two_runs.py 26 score,weigh     # of these alone

The first command is stopped at a random moment while it holds its output. The second has to end with status 2
and one line that names the first one's process and machine, and may not wait. Then the first is killed, and a
third command has to end with what one ends with that was alone. At last two are started at once: one is refused,
and the other ends as if it had been alone.
"""

from __future__ import annotations

import fcntl
import io
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

import compare
import tiny
from commands import Command, commands
from tally import Tally

from rewarddiff.outputs import LOCK

SOON = 2.0
"""Seconds of the processor, and seconds asleep, within which the second command has to end."""

GOOD = "refused, then taken over"
ONE_WON = "of two at once one was refused"
TOO_LATE = "the first had ended"

ATTEMPTS = 5
"""To stop the first command while it holds its output, each time sooner."""


class Ended(NamedTuple):
    """How a command ended.

    Attributes:
        seconds: by the clock. cpu: of the processor, user and system.
        asleep: by the clock, without those in which it had a processor, or was waiting for one.
    """

    status: int
    text: str
    seconds: float
    cpu: float
    asleep: float

    def __str__(self) -> str:
        lines = self.text.strip().splitlines()[-1:]
        times = f"{self.cpu:.2f} s of the processor, {self.seconds:.2f} s by the clock, {self.asleep:.2f} s asleep"
        return " | ".join([times, *lines])


def tried_on(models: tiny.Models, place: Path) -> dict[str, Command]:
    """Return the commands that are tried; each takes long enough to be met in the middle."""
    recipe = tiny.recipe(models, place / "o", tiny.TRAIN | {"max_steps": 12})
    every = commands(models, place, recipe, pairs=2400, few=12)
    del every["score to Parquet"]  # it holds its output as `score` does
    return every


# --- commands that run ------------------------------------------------------------------------------------------------


def started(command: Command, at: Path, log: Path) -> subprocess.Popen[bytes]:
    at.mkdir(exist_ok=True)
    arguments = [sys.executable, "-m", "rewarddiff", *command.arguments(at)]
    with log.open("wb") as file:
        return subprocess.Popen(arguments, stdout=file, stderr=file, cwd=at)


def ended(command: Command, at: Path, log: Path, *, until: float = 300.0) -> Ended:
    """Run a command to its end; one that serves is stopped once it does."""
    begun = time.monotonic()
    process = started(command, at, log)
    if command.made is None:
        _wait_for(lambda: "http://" in log.read_text() or _is_over(process), until)
        if not _is_over(process):
            process.send_signal(signal.SIGINT)
    return waited_for(process, begun, log)


def waited_for(process: subprocess.Popen[bytes], begun: float, log: Path) -> Ended:
    """Wait for a command that began at a time, and return how it ended."""
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    seconds = time.monotonic() - begun
    on_processor, for_processor, _ = Path(f"/proc/{process.pid}/schedstat").read_text().split()
    asleep = seconds - (int(on_processor) + int(for_processor)) / 1e9
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    cpu = usage.ru_utime + usage.ru_stime
    return Ended(process.returncode, log.read_text(), seconds, cpu, asleep)


def _is_over(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether a process has ended, and leave its use of the processor to be asked for."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def holder(at: Path) -> int | None:
    """Return the process that holds an output, by the note in its lock; None where none does."""
    for place in at.rglob(f"{LOCK}*"):
        with place.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                words = lock.read().split()
                return int(words[1]) if len(words) > 1 else None
    return None


def _wait_for(met: Callable[[], bool], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if met():
            return True
        time.sleep(0.01)
    return False


# --- what came of it --------------------------------------------------------------------------------------------------


def case(
    command: Command, whole: Any, held: float, at: Path, rng: random.Random
) -> tuple[str, Ended | None]:
    """Let a first, a second and a third command write to one output.

    Args:
        held: seconds for which a command that is alone holds its output.
    """
    first = started(command, at, at.with_suffix(".log"))
    try:
        if not _wait_for(lambda: holder(at) is not None or first.poll() is not None, 120):
            return "the first never held", None
        time.sleep(rng.uniform(0, 0.3 * held))
        first.send_signal(signal.SIGSTOP)
        if holder(at) != first.pid or first.poll() is not None:
            return TOO_LATE, None
        before = _listed(at)
        second = ended(command, at, at.with_suffix(".second"))
        after = _listed(at)
    finally:
        first.kill()
        first.wait()
    fault = fault_of_refusal(second, first.pid)
    if fault:
        return fault, second
    if second.cpu > SOON:  # of two at once one is refused when it has imported all
        return f"after {second.cpu:.1f} s of the processor", second
    if before != after:
        return "the second wrote", second
    if rng.random() < 0.5:
        _reuse_number(at)
    third = ended(command, at, at.with_suffix(".third"))
    if command.made is None:
        return (GOOD if third.status in (0, 130) else f"third: {third.text[-200:]}"), second
    if third.status:
        return f"third: {third.text[-300:]}", second
    return compare.fault(whole, command.made(at)) or GOOD, second


def fault_of_refusal(refused: Ended, owner: int) -> str:
    """Return what is wrong with how a command ended whose output another process holds; or ""."""
    if refused.status != 2:
        return f"status {refused.status}"
    lines = [line for line in refused.text.splitlines() if line.startswith("rewarddiff:")]
    if len(lines) != 1 or f"process {owner} on {platform.node()} since" not in lines[0]:
        return "it does not say who"
    if refused.asleep > SOON:
        return f"after {refused.asleep:.1f} s asleep"
    return ""


def at_once(command: Command, whole: Any, at: Path) -> tuple[str, Ended | None]:
    """Start two commands that end by themselves on one output; return the verdict, and how the refused one ended."""
    begun = time.monotonic()
    logs = [at.with_suffix(f".{number}") for number in range(2)]
    both = [started(command, at, log) for log in logs]
    while not any(_is_over(process) for process in both):
        time.sleep(0.01)
    quicker = int(_is_over(both[1]))
    ends = {
        number: waited_for(both[number], begun, logs[number]) for number in (quicker, 1 - quicker)
    }
    if [one.status for one in ends.values()] == [0, 0]:
        return TOO_LATE, None
    refused, winner = sorted(ends, key=lambda number: -ends[number].status)
    fault = fault_of_refusal(ends[refused], both[winner].pid)
    if fault or ends[winner].status:
        return fault or f"status {ends[winner].status} of the winner", ends[refused]
    reached = command.made(at) if command.made else whole
    return compare.fault(whole, reached) or ONE_WON, ends[refused]


def _reuse_number(at: Path) -> None:
    """Let the note that the dead owner left name a process that lives: this one."""
    for lock in at.rglob(f"{LOCK}*"):
        lock.write_text(f"process {os.getpid()} on {platform.node()} since 2020-01-01 00:00:00\n")


def _listed(at: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of every file."""
    return {
        str(path): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in at.rglob("*")
        if path.is_file()
    }


def alone(command: Command, at: Path) -> tuple[Any, float]:
    """Run a command alone; return what it makes, and for how long it holds its output."""
    log = at.with_suffix(".log")
    process = started(command, at, log)
    _wait_for(lambda: holder(at) is not None or process.poll() is not None, 120)
    begun = time.monotonic()
    if command.made is None:
        _wait_for(lambda: "http://" in log.read_text() or process.poll() is not None, 120)
        held = time.monotonic() - begun
        process.send_signal(signal.SIGINT)
        process.wait()
        return None, held
    status = process.wait()
    if status:
        sys.exit(f"{command.arguments(at)}: {log.read_text()[-2000:]}")
    return command.made(at), time.monotonic() - begun


def met(
    command: Command, of_one_alone: tuple[Any, float], place: Path, rng: random.Random | None
) -> tuple[str, Ended | None]:
    """Try a case again until the first command is met while it holds its output.

    Args:
        of_one_alone: what a command that is alone makes, and for how long it holds its output.
        rng: None where two commands are started at once.
    """
    whole, held = of_one_alone
    for attempt in range(ATTEMPTS):
        at = place.with_name(f"{place.name}-{attempt}")
        if rng is None:
            verdict, second = at_once(command, whole, at)
        else:
            verdict, second = case(command, whole, held / 2**attempt, at, rng)
        if verdict != TOO_LATE:
            break
    return verdict, second


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 26
    wanted = sys.argv[2] if len(sys.argv) > 2 else ""
    rng = random.Random(0)
    tally = Tally([GOOD, ONE_WON])
    slowest, longest_asleep = Ended(0, "", 0.0, 0.0, 0.0), 0.0
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        models = tiny.models(place)
        with redirect_stdout(io.StringIO()):
            tried = tried_on(models, place / "read")
        if wanted:
            tried = {name: tried[name] for name in wanted.split(",")}
        of_those_alone: dict[str, tuple[Any, float]] = {}
        kinds = [*islice(cycle(tried), count), next(iter(tried))]
        for number, kind in enumerate(kinds):
            if kind not in of_those_alone:
                of_those_alone[kind] = alone(tried[kind], place / f"alone-{kind}")
            is_last = number == count
            verdict, second = met(
                tried[kind],
                of_those_alone[kind],
                place / f"case-{number}",
                None if is_last else rng,
            )
            tally.add(f"two at once: {kind}" if is_last else kind, verdict, str(second or ""))
            if second is not None:
                longest_asleep = max(longest_asleep, second.asleep)
                if not is_last:
                    slowest = max(slowest, second, key=lambda one: one.cpu)
    print(f"slowest refusal: {slowest.cpu:.2f} s of the processor, {slowest.seconds:.2f} s")
    print(f"longest asleep: {longest_asleep:.2f} s")
    tally.end()


if __name__ == "__main__":
    main()
