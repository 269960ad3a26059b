"""The application: routes, and how a request becomes work and work an answer."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager

from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rewarddiff.errors import UserError
from rewarddiff.rates import Rates
from rewarddiff.serve.batching import Batcher
from rewarddiff.serve.config import ServeConfig
from rewarddiff.serve.failures import Failure, refused
from rewarddiff.serve.limits import body_of, require_key, require_rate
from rewarddiff.serve.metrics import Metrics
from rewarddiff.serve.protocols import PROTOCOLS, Protocol
from rewarddiff.serve.protocols.base import Json
from rewarddiff.serve.served import Answer, Served

GONE = 499
"""Status in the counts where the client did not wait for its answer; nobody reads it."""

log = logging.getLogger(__name__)


class Application:
    """What the routes share.

    Args:
        key: that requests must bear; None: none.

    Attributes:
        unanswered: requests that the server's end came before.
    """

    def __init__(self, served: Served, config: ServeConfig, key: str | None = None) -> None:
        self._served = served
        self._config = config
        self._key = key
        self._rates = Rates(config.rate)
        self.unanswered = 0
        self._metrics = Metrics()
        self._batcher = Batcher(served.answers, config, self._metrics)

    def starlette(self) -> Starlette:
        """Return the application; when it ends, what is queued has been read."""
        routes = [
            Route(protocol.route, self._asked(protocol), methods=["POST"]) for protocol in PROTOCOLS
        ]
        routes += [
            Route("/health", self._counted("/health", self._health)),
            Route("/metrics", self._counted("/metrics", self._figures)),
            Route("/v1/models", self._counted("/v1/models", self._models)),
        ]
        handlers = {HTTPException: _no_such_route}
        return Starlette(routes=routes, lifespan=self._life, exception_handlers=handlers)  # type: ignore[arg-type]

    @asynccontextmanager
    async def _life(self, app: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(self._batcher.close)

    def _asked(self, protocol: type[Protocol]) -> Callable[[Request], Awaitable[Response]]:
        """Return the route of a protocol."""

        async def route(request: Request) -> Response:
            self._require(request)
            asked = parsed(protocol, await body_of(request, self._config))
            return _json(await self._answered(request, asked))

        return self._counted(protocol.route, route)

    async def _answered(self, request: Request, asked: Protocol) -> Json:
        """Return the answer to a request that could be read."""
        try:
            work = asked.work(self._served)
        except UserError as error:
            raise refused(str(error)) from error
        answer = await awaited(self._batcher.submit(work), request)
        return asked.answer(self._served, answer)

    def _counted(
        self, name: str, route: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """Return a route whose answers are counted and whose failures are answers."""

        async def counted(request: Request) -> Response:
            start = time.perf_counter()
            try:
                response = await route(request)
            except Failure as failure:
                response = _failed(failure)
            except asyncio.CancelledError:  # the time for what is under way at the end is over
                self.unanswered += 1
                response = _failed(Failure(503, "the server has stopped", retry_after=1))
            except Exception:
                log.exception("%s failed", name)
                response = _failed(Failure(500, "the server failed; see its log"))
            self._metrics.requests.labels(name, response.status_code).inc()
            self._metrics.seconds.labels(name).observe(time.perf_counter() - start)
            return response

        return counted

    def _require(self, request: Request) -> None:
        """Raise a Failure unless this client may ask, and now."""
        require_key(request, self._key)
        require_rate(self._rates, request.client.host if request.client else "")

    async def _health(self, request: Request) -> Response:
        served = self._served
        return _json({"status": "ok", "model": served.name, "fingerprint": served.fingerprint})

    async def _figures(self, request: Request) -> Response:
        require_key(request, self._key)
        return Response(self._metrics.text(), media_type=CONTENT_TYPE_LATEST)

    async def _models(self, request: Request) -> Response:
        """List the one model, as clients of vLLM look for its name."""
        require_key(request, self._key)
        return _json({"object": "list", "data": [{"id": self._served.name, "object": "model"}]})


def parsed(protocol: type[Protocol], body: bytes) -> Protocol:
    """Return a body as a request.

    Raises:
        Failure: 400 where it is no JSON, 422 where it is not what the protocol has.
    """
    try:
        return protocol.model_validate_json(body)
    except ValidationError as error:
        problem, *others = error.errors(include_url=False, include_input=False)
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "json_invalid":
            raise Failure(400, f"the body is no JSON: {message}") from None
        more = f" (and {len(others)} more)" if others else ""
        raise refused(f"{_place(problem['loc'])}: {message}{more}") from None


def _place(parts: tuple[int | str, ...]) -> str:
    """Return where in a body something stands.

    >>> _place(("rows", 0, "prompt"))
    'rows[0].prompt'
    """
    place = ""
    for part in parts:
        place += f"[{part}]" if isinstance(part, int) else f".{part}"
    return place.removeprefix(".") or "the body"


async def awaited(future: Future[Answer], request: Request) -> Answer:
    """Return an answer when it is there.

    What nobody waits for any more is not read.

    Raises:
        Failure: that of the work, or the client has gone.
    """
    answer = asyncio.wrap_future(future)
    gone = asyncio.ensure_future(_gone(request))
    gone.add_done_callback(lambda _: answer.cancel())
    try:
        return await answer
    except asyncio.CancelledError:
        if gone.done():
            raise Failure(GONE, "the client has gone") from None
        raise
    finally:
        gone.cancel()


async def _gone(request: Request) -> None:
    """Return when the client has closed its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _no_such_route(request: Request, error: HTTPException) -> Response:
    routes = ", ".join(protocol.route for protocol in PROTOCOLS)
    message = f"no such route; POST to {routes}"
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        message = f"{request.url.path} takes {allowed}"
    response = _failed(Failure(error.status_code, message))
    response.headers.update(error.headers or {})
    return response


def _json(content: Json) -> Response:
    """Return JSON with numbers as Python writes them, which reads back to the same bits."""
    return Response(json.dumps(content, allow_nan=False), media_type="application/json")


def _failed(failure: Failure) -> Response:
    content = {"error": {"message": failure.message, "code": failure.status}}
    headers = {}
    if failure.retry_after is not None:
        headers["Retry-After"] = str(failure.retry_after)
    body = json.dumps(content)
    return Response(body, failure.status, headers=headers, media_type="application/json")
