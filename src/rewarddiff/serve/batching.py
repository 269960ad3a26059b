"""Requests that arrive together are read together, by the one thread that has the model."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Condition, Thread

from rewarddiff.serve.asking import Work
from rewarddiff.serve.config import ServeConfig
from rewarddiff.serve.failures import Failure
from rewarddiff.serve.metrics import Metrics
from rewarddiff.serve.served import Answer

PATIENCE = 10
"""A batch is read at the latest after so many times the `wait`, however fast more comes."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Waiting:
    """A request's work, and where its answer goes."""

    work: Work
    answer: Future[Answer] = field(default_factory=Future)


class Batcher:
    """A bounded queue, and the thread that reads what has gathered in it.

    Args:
        read: gives the answers to several pieces of work, or raises where any is at fault.
    """

    def __init__(
        self,
        read: Callable[[Sequence[Work]], list[Answer]],
        config: ServeConfig,
        metrics: Metrics,
    ) -> None:
        self._read = read
        self._config = config
        self._metrics = metrics
        self._changed = Condition()
        self._waiting: deque[Waiting] = deque()
        self._size = 0
        self._closing = False
        self._seconds_a_response = 0.0
        self._thread = Thread(target=self._run, name="scorer", daemon=True)
        self._thread.start()

    def submit(self, work: Work) -> Future[Answer]:
        """Queue a piece of work.

        Raises:
            Failure: the queue is full, or never had room for so much.
        """
        limit = self._config.queue
        if work.size > limit:
            raise Failure(413, f"{work.size} responses in one request; send at most {limit}")
        with self._changed:
            if self._closing:
                raise Failure(503, "the server is stopping", retry_after=1)
            if self._size + work.size > limit:
                raise Failure(
                    429,
                    f"{self._size} responses wait already, {limit} may; come again later",
                    retry_after=self._retry_after(),
                )
            waiting = Waiting(work)
            self._waiting.append(waiting)
            self._grow(work.size)
        return waiting.answer

    def close(self) -> None:
        """Read what is queued, and end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def _grow(self, by: int) -> None:
        self._size += by
        self._metrics.queued.set(self._size)
        self._changed.notify_all()

    def _retry_after(self) -> int:
        """Return the seconds that half of what waits takes to read."""
        return max(1, math.ceil(self._size * self._seconds_a_response / 2))

    def _run(self) -> None:
        while self._has_work():
            batch = self._taken()
            if batch:
                self._answer(batch)

    def _has_work(self) -> bool:
        """Wait for work and for what comes with it; False once the queue is closed and empty."""
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            self._await_more()
            return bool(self._waiting)

    def _taken(self) -> list[Waiting]:
        """Take what is to be read next out of the queue."""
        batch: list[Waiting] = []
        size = 0
        with self._changed:
            while self._waiting and (not batch or self._fits(size)):
                waiting = self._waiting.popleft()
                self._grow(-waiting.work.size)
                # Whoever asked may have gone.
                if waiting.answer.set_running_or_notify_cancel():
                    batch.append(waiting)
                    size += waiting.work.size
        return batch

    def _fits(self, size: int) -> bool:
        return size + self._waiting[0].work.size <= self._config.batch

    def _await_more(self) -> None:
        """Wait until nothing more comes, a batch is full, or patience ends."""
        end = time.monotonic() + PATIENCE * self._config.wait
        while self._waiting and self._size < self._config.batch and not self._closing:
            size = self._size
            self._changed.wait(self._config.wait)
            if self._size == size or time.monotonic() > end:
                return

    def _answer(self, batch: Sequence[Waiting]) -> None:
        start = time.perf_counter()
        self._settle(batch)
        seconds = time.perf_counter() - start
        size = sum(waiting.work.size for waiting in batch)
        self._metrics.batch_seconds.observe(seconds)
        self._metrics.batch_responses.observe(size)
        if size:
            self._seconds_a_response = seconds / size

    def _settle(self, batch: Sequence[Waiting]) -> None:
        """Answer every request of a batch; where it fails, halves of it are read apart.

        So a failure is the answer of whoever caused it, and of no other. One that nobody of them
        caused is everybody's answer at once, since each half would wait for it again.
        """
        try:
            answers = self._read([waiting.work for waiting in batch])
        except Exception as error:
            if isinstance(error, Failure) and error.of_all:
                for waiting in batch:
                    waiting.answer.set_exception(error)
                return
            if len(batch) > 1:
                middle = len(batch) // 2
                self._settle(batch[:middle])
                self._settle(batch[middle:])
                return
            if not isinstance(error, Failure):
                log.exception("a request failed")
                error = Failure(
                    500, f"scoring failed ({type(error).__name__}); see the server's log"
                )
            batch[0].answer.set_exception(error)
            return
        for waiting, answer in zip(batch, answers, strict=True):
            waiting.answer.set_result(answer)
