"""The routes: what each page shows, and what its forms do."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import sqlite3
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from importlib.resources import files as resources

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from rewarddiff.annotate import pages
from rewarddiff.annotate.guards import (
    Headers,
    Refused,
    form_key,
    form_of,
    require_form_key,
    require_host,
    require_origin,
    require_rate,
)
from rewarddiff.annotate.keys import Preferences
from rewarddiff.annotate.pages import LONGEST_REASON, LastVote, Reader
from rewarddiff.annotate.records import Answer
from rewarddiff.annotate.scale import labels, toward_first
from rewarddiff.annotate.votes import Votes
from rewarddiff.rates import Rates

COOKIE_SECONDS = 90 * 24 * 3600
NONCE = re.compile(r"[\w-]{16,64}")
SKIPS = "skip"

STATIC = {"annotate.css": "text/css", "annotate.js": "text/javascript"}

NOTES = {
    "undone": "Your last answer was taken back.",
    "answered": "This pair had an answer of yours already; that one stays.",
}

NO_LINK = "This page is for annotators. Open the link that you were given."
STOPPED = "The server has stopped. What you answered before is kept. Try again later."
FAILED = "The server failed. What you answered before is kept. Try again."
NO_COOKIE = "This browser keeps no cookie of this page. Allow it, and open your link again."

log = logging.getLogger(__name__)

Handler = Callable[[Request], Awaitable[Response]]


class Application:
    """What the routes share.

    Args:
        hosts: names (with ports) that the page is asked for by.
        guidelines: Markdown.
        https: browsers reach the page encrypted alone.
        rate: requests a second of one annotator, or of one address without a link; None: any.
    """

    def __init__(
        self,
        votes: Votes,
        hosts: frozenset[str],
        guidelines: str,
        *,
        https: bool = False,
        rate: float | None = None,
    ) -> None:
        self._votes = votes
        self._hosts = hosts
        self._guidelines = guidelines
        self._https = https
        self._rates = Rates(rate)
        settings = votes.settings()
        self._steps: int = settings["scale"]
        # Cookies know no ports: two projects on one machine would share a name.
        self._cookie = f"annotator-{settings['name']}"

    def starlette(self) -> Starlette:
        """Return the application."""
        gets = {
            "/": self._comparison,
            "/enter/{token}": self._enter,
            "/welcome": self._welcome,
            "/guidelines": self._guidelines_page,
            "/settings": self._settings,
            "/static/{name}": self._static,
        }
        posts = {"/vote": self._vote, "/undo": self._undo, "/settings": self._keep_settings}
        routes = [Route(path, self._guarded(get), methods=["GET"]) for path, get in gets.items()]
        routes += [
            Route(path, self._guarded(post), methods=["POST"]) for path, post in posts.items()
        ]
        return Starlette(
            routes=routes,
            middleware=[Middleware(Headers)],
            exception_handlers={HTTPException: _no_such_page},  # type: ignore[dict-item]
        )

    def _guarded(self, handler: Handler) -> Handler:
        """Return a route that heeds this page's names alone, and whose refusals are pages."""

        async def guarded(request: Request) -> Response:
            try:
                require_host(request, self._hosts)
                return await handler(request)
            except Refused as refused:
                return _refusal(refused)
            except asyncio.CancelledError:  # the time for what is under way at the end is over
                status = HTTPStatus.SERVICE_UNAVAILABLE
                return _refusal(Refused(status, STOPPED, retry_after=1))
            except sqlite3.OperationalError as error:  # a full disk, or a file that another holds
                log.error("%s: %s; nothing was acknowledged", self._votes.path, error)
                return _refusal(Refused(HTTPStatus.INTERNAL_SERVER_ERROR, FAILED))
            except Exception:
                # Without what follows in the path: it may be a token.
                log.exception("/%s failed", request.url.path.split("/")[1])
                return _refusal(Refused(HTTPStatus.INTERNAL_SERVER_ERROR, FAILED))

        return guarded

    # Who is there.

    async def _enter(self, request: Request) -> Response:
        """Take the token out of the address, into a cookie."""
        token = request.path_params["token"]
        name = await self._annotator(request, token)
        if name is None:
            raise Refused(HTTPStatus.FORBIDDEN, "This link is not valid here. Ask for a new one.")
        await run_in_threadpool(self._votes.begin_visit, name)
        response = _to("/welcome")
        response.set_cookie(
            self._cookie,
            token,
            max_age=COOKIE_SECONDS,
            httponly=True,
            samesite="strict",
            secure=self._https,
        )
        return response

    async def _welcome(self, request: Request) -> Response:
        """Lead to the guidelines, or to the comparisons where some are answered.

        A browser that followed a link from elsewhere does not send the new cookie here, but does
        with what it asks for next by itself.
        """
        if self._cookie not in request.cookies:
            if "again" in request.query_params:
                raise Refused(HTTPStatus.FORBIDDEN, NO_COOKIE)
            text = "Your link is accepted. The page opens by itself."
            return HTMLResponse(pages.message_page("Welcome", text, goes_on=True))
        reader = await self._reader(request)
        return _to("/" if reader.progress.done else "/guidelines")

    def _token(self, request: Request) -> str:
        token = request.cookies.get(self._cookie)
        if token is None:
            raise Refused(HTTPStatus.FORBIDDEN, NO_LINK)
        return token

    async def _reader(self, request: Request) -> Reader:
        """Return who asks.

        Raises:
            Refused: nobody who was given a link.
        """
        token = self._token(request)
        name = await self._annotator(request, token)
        if name is None:
            raise Refused(HTTPStatus.FORBIDDEN, NO_LINK)
        return await run_in_threadpool(self._reader_named, name, token)

    async def _annotator(self, request: Request, token: str) -> str | None:
        """Return whose token this is; None: nobody's.

        Raises:
            Refused: the annotator, or who has no link, asks too often.
        """
        name = await run_in_threadpool(self._votes.annotator_of, token)
        address = request.client.host if request.client else ""
        require_rate(self._rates, name or f"nobody at {address}")
        return name

    def _reader_named(self, name: str, token: str) -> Reader:
        preferences = Preferences.stored(self._votes.preferences(name), self._steps)
        progress = self._votes.progress(name)
        return Reader(name, form_key(token), preferences, progress, self._steps)

    async def _sent(self, request: Request) -> tuple[Reader, dict[str, str]]:
        """Return who has sent a form, and its fields.

        Raises:
            Refused: it was not sent by a page of ours, or by nobody who was given a link.
        """
        require_origin(request, self._hosts)
        reader = await self._reader(request)
        form = await form_of(request)
        require_form_key(form, self._token(request))
        return reader, form

    # Comparisons.

    async def _comparison(self, request: Request) -> Response:
        reader = await self._reader(request)
        note = NOTES.get(request.query_params.get("note", ""), "")
        return HTMLResponse(await run_in_threadpool(self._comparison_for, reader, note))

    def _comparison_for(self, reader: Reader, note: str) -> str:
        shown = self._votes.next_item(reader.name)
        last = self._last_vote(reader)
        if shown is None:
            return pages.done_page(reader, last)
        return pages.comparison_page(reader, shown, secrets.token_urlsafe(18), last, note)

    def _last_vote(self, reader: Reader) -> LastVote | None:
        vote = self._votes.last_vote(reader.name)
        if vote is None:
            return None
        if vote["skipped"]:
            return LastVote(vote["nonce"], "skipped")
        toward_left = -vote["grade"] if vote["first"] else vote["grade"]
        choice = (self._steps + 1) // 2 - toward_left
        return LastVote(vote["nonce"], labels(self._steps)[choice - 1])

    async def _vote(self, request: Request) -> Response:
        reader, form = await self._sent(request)
        answer = answer_of(form, self._steps)
        try:
            receipt = await run_in_threadpool(self._votes.vote, reader.name, answer)
        except LookupError:
            raise Refused(
                HTTPStatus.CONFLICT, "You are not asked about this pair. Go back to the next one."
            ) from None
        return _to("/?note=answered" if receipt == "answered" else "/")

    async def _undo(self, request: Request) -> Response:
        reader, form = await self._sent(request)
        nonce = form.get("nonce", "")
        is_undone = await run_in_threadpool(self._votes.undo, reader.name, nonce)
        return _to("/?note=undone" if is_undone else "/")

    # What stands beside them.

    async def _guidelines_page(self, request: Request) -> Response:
        reader = await self._reader(request)
        return HTMLResponse(pages.guidelines_page(reader, self._guidelines))

    async def _settings(self, request: Request) -> Response:
        reader = await self._reader(request)
        saved = "saved" in request.query_params
        return HTMLResponse(pages.settings_page(reader, reader.preferences, {}, saved=saved))

    async def _keep_settings(self, request: Request) -> Response:
        reader, form = await self._sent(request)
        wants_standard = "standard" in form
        chosen = Preferences() if wants_standard else Preferences.sent(form, self._steps)
        problems = chosen.problems()
        if problems:
            page = pages.settings_page(reader, chosen, problems)
            return HTMLResponse(page, HTTPStatus.UNPROCESSABLE_ENTITY)
        await run_in_threadpool(self._votes.keep_preferences, reader.name, chosen.as_dict())
        return _to("/settings?saved")

    async def _static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in STATIC:
            raise Refused(HTTPStatus.NOT_FOUND, "There is no such page.")
        content = (resources("rewarddiff.annotate") / "static" / name).read_bytes()
        return Response(content, media_type=STATIC[name])


def answer_of(form: dict[str, str], steps: int) -> Answer:
    """Return what a form says of an item.

    Raises:
        Refused: it says nothing that the page offers.
    """
    choice = form.get("choice", "")
    nonce = form.get("nonce", "")
    reason = form.get("reason", "").replace("\r\n", "\n").strip()
    is_offered = choice == SKIPS or choice in map(str, range(1, steps + 1))
    if not is_offered or not NONCE.fullmatch(nonce):
        raise Refused(
            HTTPStatus.UNPROCESSABLE_ENTITY, "This answer is none of those offered. Go back."
        )
    if len(reason) > LONGEST_REASON:
        raise Refused(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"The reason is longer than {LONGEST_REASON} characters. Go back, and shorten it.",
        )
    toward = None if choice == SKIPS else toward_first(int(choice), steps)
    return Answer(form.get("item", ""), toward, reason, nonce)


async def _no_such_page(request: Request, error: HTTPException) -> Response:
    status = HTTPStatus(error.status_code)
    response = _refusal(
        Refused(status, "There is no such page. Open the link that you were given, or go back.")
    )
    response.headers.update(error.headers or {})
    return response


def _refusal(refused: Refused) -> Response:
    page = pages.message_page("This did not work", refused.message)
    headers = {"Retry-After": str(refused.retry_after)} if refused.retry_after else None
    return HTMLResponse(page, refused.status, headers)


def _to(path: str) -> RedirectResponse:
    """Return an answer after which the browser asks for another page, with GET."""
    return RedirectResponse(path, HTTPStatus.SEE_OTHER)
