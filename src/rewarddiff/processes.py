"""The processes that carry out one command together: who does what, and what one tells the others.

Every process runs the same code on the same data. What they compute is divided (`own_share`), and what
has an effect beside (a file, a request) is done by the main one alone (`once`). What fails in one fails in
all, so that none waits for good.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import PartialState

from rewarddiff import launch
from rewarddiff.errors import FailedElsewhere, UserError

Value = TypeVar("Value")

WHILE_ONE_ASKS = timedelta(days=1)
"""How long processes wait for what one of them does alone. The main one may ask a judge ten thousand
questions for hours. A launcher ends all when one ends, so that this wait is for one that hangs."""

WHILE_ALL_COMPUTE = timedelta(hours=2)
"""How long GPUs wait for each other in a pass. Nobody is asked anything there: the longest that one does
alone is to write a checkpoint, minutes also for hundreds of gigabytes. NCCL's own ten minutes are too
short for that on a slow disk; what hangs is known of within hours."""

LONGEST_REST = 10.0
"""How many seconds a process waits at its end for threads that a busy machine lets wait."""


class _Own:
    """What this process knows beside what Accelerate does."""

    depth = 0  # of blocks in which it works by itself
    is_shared = False  # what is remembered
    group: Any = None  # of the processes on CPUs, where the default one is of GPUs


def processes() -> PartialState:
    """Return what Accelerate knows of the processes that work together."""
    on_cpu = not torch.cuda.is_available()
    # On CPUs one group carries both plain values and gradients.
    patience = WHILE_ONE_ASKS if on_cpu else WHILE_ALL_COMPUTE
    # Accelerate has to be told: processes without a GPU would not find each other.
    state = PartialState(cpu=on_cpu, timeout=patience)
    if launch.size() > 1 and state.num_processes == 1:
        raise UserError(
            f"a launcher has started {launch.size()} processes, which do not find each other; start "
            "them by torchrun or accelerate launch"
        )
    return state


def count() -> int:
    """Return how many processes work together now: 1 where this one is by itself."""
    return 1 if _Own.depth else processes().num_processes


def rank() -> int:
    """Return which of the processes that work together this one is: 0 where it is by itself."""
    return 0 if count() == 1 else int(processes().process_index)


def own_share(number: int) -> range:
    """Return which of `number` things are this process's: all have as many, but for one."""
    return range(rank(), number, count())


def from_every_process(value: Value) -> list[Value]:
    """Return the value that every process has, in order; all have to call this together."""
    if count() == 1:
        return [value]
    values: list[Value] = [value] * processes().num_processes
    torch.distributed.all_gather_object(values, value, group=_group())
    return values


def done_by_every_process(work: Callable[[], Value]) -> list[Value]:
    """Return what `work` gives in every process, in order; where it fails in one, it fails in all.

    Each does its own part by itself. None waits for one that has failed.

    Raises:
        FailedElsewhere: `work` has failed in another process; in the one where it has, its own error.
    """
    if count() == 1:
        return [work()]
    failure: Exception | None = None
    done: list[Value] = []
    try:
        with by_itself():
            done.append(work())
    except Exception as error:
        failure = error
    messages = from_every_process(_message(failure))
    if failure is not None:
        raise failure
    _raise_first(messages)
    return from_every_process(done[0])


def once(work: Callable[[], Value]) -> Value:
    """Let the main process alone do `work`, and return in all of them what it gives.

    Raises:
        FailedElsewhere: `work` has failed in the main process, which raises its own error.
    """
    if count() == 1:
        return work()
    done: list[Value] = []
    failure: BaseException | None = None
    if launch.is_main():
        try:
            with by_itself():
                done.append(work())
        except BaseException as error:  # an interrupt too: the others would wait
            failure = error
    outcome = [(_message(failure), done)]
    torch.distributed.broadcast_object_list(outcome, src=0, group=_group())
    message, done = outcome[0]
    if failure is not None:
        raise failure
    _raise_first([message])
    return done[0]


def main_first(work: Callable[[], Value]) -> Value:
    """Return what `work` gives in each process; the main one does it first, and leaves files for the others."""
    if count() == 1:
        return work()
    done: list[Value] = []
    # What it gives stays where it is: it may be no value that travels.
    once(lambda: done.append(work()))
    if not done:
        with by_itself():
            done.append(work())
    return done[0]


@contextmanager
def by_itself() -> Iterator[None]:
    """Let this process work without the others meanwhile: it divides nothing, and waits for nobody."""
    _Own.depth += 1
    try:
        yield
    finally:
        _Own.depth -= 1


@contextmanager
def shared() -> Iterator[None]:
    """Let `remember` divide its work meanwhile: all processes ask for the same. Also a decorator.

    Elsewhere each process may ask for something of its own, as a trainer's that reads its own batch does.
    """
    before = _Own.is_shared
    _Own.is_shared = True
    try:
        yield
    finally:
        _Own.is_shared = before


def is_shared() -> bool:
    """Tell whether all processes do what this one does now, in the thread that began it."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    return _Own.is_shared and in_main_thread and count() > 1


def _message(failure: BaseException | None) -> str:
    """Return the words for a failure; empty where there is none."""
    return "" if failure is None else str(failure) or repr(failure)


def _raise_first(messages: list[str]) -> None:
    for process, message in enumerate(messages):
        if message:
            raise FailedElsewhere(f"{message} (in process {process})")


def _group() -> Any:
    """Return the group that plain values travel in: None for the default one.

    That of GPUs keeps them busy while it waits.
    """
    if processes().device.type == "cpu":
        return None
    if _Own.group is None:
        _Own.group = torch.distributed.new_group(backend="gloo", timeout=WHILE_ONE_ASKS)
    return _Own.group


def _close_groups() -> None:
    """Close Gloo's groups before the interpreter ends.

    A thread of its that still holds a tensor then aborts a process that has done all its work (status -6,
    "terminate called without an active exception"; pytorch/pytorch#179291). Groups of other backends stay
    open: closing NCCL's waits for the others, who may have failed.
    """
    distributed = torch.distributed
    if not distributed.is_available() or not distributed.is_initialized():
        return
    if distributed.get_backend() == "gloo":
        distributed.destroy_process_group()
    elif _Own.group is not None:
        distributed.destroy_process_group(_Own.group)
    _let_threads_rest()


def _let_threads_rest() -> None:
    """Wait until Gloo's threads have nothing in hand; where a weight was divided, a closed group keeps them.

    They need the interpreter to let go of a tensor: so one that sleeps has done so only where it has slept
    on while the interpreter was free.
    """
    rested = 0
    give_up = time.monotonic() + LONGEST_REST
    while rested < 2 and time.monotonic() < give_up:
        time.sleep(0.01)
        rested = rested + 1 if _threads_sleep() else 0


def _threads_sleep() -> bool:
    """Tell whether no thread of Gloo runs or waits for a processor, as far as the system tells."""
    for thread in Path("/proc/self/task").glob("*"):
        try:
            name, _, rest = (thread / "stat").read_text().rpartition(")")
        except OSError:  # it has just ended
            continue
        if "gloo" in name and rest.split()[0] != "S":
            return False
    return True


atexit.register(_close_groups)
