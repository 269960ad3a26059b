"""JSON over HTTP, with protections: an answer is whole and as expected, or there is none.

What may pass is tried again (a lost connection, a busy server, a cut answer), with waits that
double and are never quite alike, and as long as the server asks for. What will not pass is a
`Failed` with its cause and mend. Redirects are not followed: a key would go where they lead.
"""

from __future__ import annotations

import json
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, TypeVar

import httpx2

from rewarddiff.endpoints.addresses import require_address
from rewarddiff.endpoints.answers import (
    OF_CONTENT,
    PASSING,
    Failed,
    message_in,
    parsed,
    retry_after,
)
from rewarddiff.errors import UserError

logger = logging.getLogger(__name__)

Job = TypeVar("Job")
Value = TypeVar("Value")

CONNECT_SECONDS = 10.0
MOST_BYTES = 64 * 2**20
"""An answer beyond this is none."""
LONGEST_WAIT = 300.0
"""A server that asks for more is given up."""
QUIET_SECONDS = 5.0
"""Between two lines that say what is waited for."""
SHOWN = 200
"""Characters of a server's own message that an error repeats."""


@dataclass(frozen=True)
class Patience:
    """How long and how often a client tries.

    Attributes:
        timeout: seconds that one answer may take.
        attempts: how often a request is sent before it has failed.
        wait: seconds before the second attempt; doubled before each further one.
    """

    timeout: float = 60.0
    attempts: int = 6
    wait: float = 0.5


class Client:
    """Sends JSON to one server, from several threads.

    Args:
        url: where it is; paths are put behind it.
        key_env: name of the environment variable that holds the key; None: no key.
        on_repeat: called, by any thread, with every failure after which a request is sent again.

    Raises:
        UserError: the address is none, or the variable is not set.
    """

    def __init__(
        self,
        url: str,
        *,
        key_env: str | None = None,
        patience: Patience,
        on_repeat: Callable[[Failed], None] | None = None,
    ) -> None:
        require_address(url)
        self.url = url.rstrip("/")
        self._patience = patience
        self._on_repeat = on_repeat
        self._key_env = key_env
        self._key = _key(key_env, url)
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        seconds = patience.timeout
        timeout = httpx2.Timeout(seconds, connect=min(CONNECT_SECONDS, seconds), pool=None)
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=64)
        self._http = httpx2.Client(headers=headers, timeout=timeout, limits=limits)
        self._stopped = threading.Event()
        self._said_at = -QUIET_SECONDS

    def post(self, path: str, body: Mapping[str, Any], read: Callable[[Any], Value]) -> Value:
        """Send JSON and return what `read` takes from the answer.

        Args:
            read: raises a ValueError that says what is amiss with an answer.

        Raises:
            Failed: there is no such answer, after all attempts.
        """
        return self._persistently(lambda: self._asked("POST", path, body, read))

    def get(self, path: str, *, insist: bool = True) -> Any:
        """Return the JSON that lies at a path.

        Args:
            insist: try again; without, one answer that is none is enough.

        Raises:
            Failed: see `post`.
        """

        def attempt() -> Any:
            return self._asked("GET", path, None, lambda answer: answer)

        return self._persistently(attempt) if insist else attempt()

    def each(
        self, jobs: Iterable[Job], ask: Callable[[Job], Value], at_once: int
    ) -> Iterator[tuple[int, Value]]:
        """Yield the place and the answer of every job, as they come.

        After a failure or an interrupt nothing more is asked; what is under way is paid for, so it is
        waited for and yielded first. A second interrupt ends at once.

        Args:
            ask: posts one job.
            at_once: how many are under way together.
        """
        failure: BaseException | None = None
        rest = enumerate(jobs)
        under_way: dict[Future[Value], int] = {}
        try:
            while True:
                room = at_once - len(under_way) if failure is None else 0
                for place, job in islice(rest, room):
                    under_way[_begun(ask, job)] = place
                if not under_way:
                    break
                try:
                    done, _ = wait(under_way, return_when=FIRST_COMPLETED)
                except KeyboardInterrupt as interrupt:
                    if isinstance(failure, KeyboardInterrupt):
                        under_way.clear()
                        raise
                    failure = interrupt
                    self._stopped.set()
                    self._say_interrupted(len(under_way))
                    continue
                for future in done:
                    place = under_way.pop(future)
                    error = future.exception()
                    if error is None:
                        yield place, future.result()
                        continue
                    failure = failure or error
                    self._stopped.set()
        finally:
            # Where whoever takes the answers has failed too: what waits to ask again gives up.
            self._stopped.set()
            wait(under_way)
            self._stopped.clear()
        if failure is not None:
            raise failure

    @property
    def stopped(self) -> bool:
        """Whether nothing more is to be asked, since something has failed or was interrupted."""
        return self._stopped.is_set()

    def explained(self, error: Failed, *, row: str = "") -> UserError:
        """Return a failure as one line that names address, cause and mend.

        Args:
            row: where what was sent comes from.
        """
        about = f" ({row})" if row else ""
        return UserError(f"{self.url}: {error.cause}{about}; {self._mend(error)}")

    def _mend(self, error: Failed) -> str:
        again = "then run the same command again, what was answered is kept"
        if error.status in (401, 403):
            if self._key_env is None:
                return "give its key: put it into an environment variable, and name that as key_env"
            return f"put the right key into the environment variable {self._key_env}"
        if error.status == 404:
            return "correct url or api"
        if error.status in OF_CONTENT:
            return "mend what is sent, or leave it out"
        if error.status == 200:
            return "see that api names what serves there"
        if error.status == 429:
            return f"lower concurrency, {again}"
        if error.status is None:
            return f"see that the server runs and url is right, {again}"
        return f"see the server's log, {again}"

    def _persistently(self, attempt: Callable[[], Value]) -> Value:
        """Try as often as patience goes."""
        seconds = self._patience.wait
        for remaining in reversed(range(self._patience.attempts)):
            try:
                return attempt()
            except Failed as error:
                if not error.passes or not remaining or self._stopped.is_set():
                    raise
                pause = seconds * random.uniform(0.5, 1.5)
                if error.wait is not None:
                    pause = max(error.wait, pause)
                cause = error.cause
                if self._on_repeat is not None:
                    self._on_repeat(error)
            self._say_waiting(cause, pause, remaining)
            if self._stopped.wait(pause):
                raise Failed("not asked any more, since another request failed")
            seconds *= 2
        raise AssertionError("there is at least one attempt")

    def _say_waiting(self, cause: str, pause: float, remaining: int) -> None:
        """Say what is waited for: not of a short wait, and of many at once not of each."""
        now = time.monotonic()
        if pause >= 1 and now - self._said_at >= QUIET_SECONDS:
            self._said_at = now
            tries = "the last time" if remaining == 1 else f"{remaining} tries left"
            logger.warning("%s: %s; asked again in %.0f s (%s)", self.url, cause, pause, tries)

    def _say_interrupted(self, count: int) -> None:
        logger.warning(
            "%s: %d requests are under way, and their answers are kept; interrupt again to end at once",
            self.url,
            count,
        )

    def _asked(
        self,
        method: Literal["GET", "POST"],
        path: str,
        body: Mapping[str, Any] | None,
        read: Callable[[Any], Value],
    ) -> Value:
        """Send one request and return what is read of its answer."""
        status, content, headers = self._sent(method, path, body)
        if status >= 300:
            raise self._refusal(status, content, headers)
        try:
            return read(parsed(content))
        except ValueError as error:
            raise Failed(f"answers to {path} with {error}", status=status, passes=True) from error

    def _sent(
        self, method: str, path: str, body: Mapping[str, Any] | None
    ) -> tuple[int, bytes, httpx2.Headers]:
        """Return status, body and headers of the answer to one request."""
        ends = time.monotonic() + self._patience.timeout
        content = bytearray()
        target = f"{self.url}/{path.lstrip('/')}"
        # In ASCII: half of a surrogate pair, which texts may hold, cannot be sent as UTF-8.
        sent = None if body is None else json.dumps(body).encode()
        try:
            with self._http.stream(method, target, content=sent) as response:
                for chunk in response.iter_bytes():
                    content += chunk
                    if len(content) > MOST_BYTES:
                        raise Failed(f"answers to {path} with more than {MOST_BYTES >> 20} MB")
                    if time.monotonic() > ends:
                        raise httpx2.ReadTimeout("too slow")
                return response.status_code, bytes(content), response.headers
        except httpx2.TimeoutException as error:
            seconds = f"{self._patience.timeout:g} s"
            raise Failed(f"gives no answer to {path} within {seconds}", passes=True) from error
        except httpx2.DecodingError as error:
            raise Failed(f"answers to {path} with garbled content", passes=True) from error
        except httpx2.TransportError as error:
            raise Failed(f"cannot be reached ({self._shown(str(error))})", passes=True) from error

    def _refusal(self, status: int, content: bytes, headers: httpx2.Headers) -> Failed:
        """Return what an answer that is none tells."""
        if status < 400:
            place = self._shown(headers.get("Location", "elsewhere"))
            return Failed(f"status {status}, a redirect to {place}, not followed", status=status)
        cause = f"status {status}{self._message(content)}"
        pause = retry_after(headers.get("Retry-After"))
        if pause is not None and pause > LONGEST_WAIT:
            return Failed(f"{cause} (asks to wait for {pause:.0f} s)", status=status)
        return Failed(cause, status=status, passes=status in PASSING, wait=pause)

    def _message(self, content: bytes) -> str:
        """Return what a server says of an error, as an addition to its status."""
        message = message_in(content)
        return f", {self._shown(message)}" if message else ""

    def _shown(self, text: str) -> str:
        """Return a text of the server's as an error may repeat it: short, on one line, no key."""
        if self._key:
            text = text.replace(self._key, "[key]")
        return " ".join(text.split())[:SHOWN].rstrip(".")


def _begun(ask: Callable[[Job], Value], job: Job) -> Future[Value]:
    """Ask in a thread of its own, which does not keep the process alive where nobody waits for it."""
    future: Future[Value] = Future()

    def work() -> None:
        try:
            future.set_result(ask(job))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, name="rewarddiff-http", daemon=True).start()
    return future


def _key(key_env: str | None, url: str) -> str:
    if key_env is None:
        return ""
    key = os.environ.get(key_env, "").strip()
    if not key:
        raise UserError(
            f"{url}: the environment variable {key_env} is not set; put the key into it"
        )
    if not key.isascii() or not key.isprintable():
        raise UserError(f"{url}: the environment variable {key_env} holds no key; put it into it")
    return key
