"""Projects of blind comparison, their page on loopback, and a browser that looks at it."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import httpx2
import pytest
import uvicorn

from rewarddiff.annotate.app import Application
from rewarddiff.annotate.config import AnnotateConfig
from rewarddiff.annotate.project import open_project, tokens_of
from rewarddiff.annotate.records import Pair
from rewarddiff.annotate.votes import Votes
from rewarddiff.listening import settings_of

SOURCES = ("policy-zanzibar", "policy-quetzal")
"""Names that no answer of the page may hold."""


@dataclass
class Project:
    """A project whose page is served."""

    votes: Votes
    address: str

    @property
    def host(self) -> str:
        return self.address.removeprefix("http://")

    def token(self, annotator: int = 1) -> str:
        return tokens_of(self.votes)[f"annotator-{annotator}"]

    def link(self, annotator: int = 1) -> str:
        return f"{self.address}/enter/{self.token(annotator)}"

    @contextmanager
    def visitor(self, annotator: int = 1) -> Iterator[httpx2.Client]:
        """A client that has followed an annotator's link; it sends forms as a browser does."""
        headers = {"Origin": self.address}
        with httpx2.Client(base_url=self.address, headers=headers, follow_redirects=True) as client:
            assert client.get(f"/enter/{self.token(annotator)}").status_code == 200
            yield client

    def rows(self) -> list[dict[str, Any]]:
        """Every vote, with the texts of its item."""
        query = "SELECT votes.*, a, b FROM votes JOIN items ON item = id ORDER BY votes.rowid"
        return [dict(row) for row in self.votes.rows(query)]


Serve = Callable[..., AbstractContextManager[Project]]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Serve a project with these pairs in a thread of its own."""

    @contextmanager
    def serving(
        pairs: Sequence[Pair], *, annotators: int = 3, steps: int = 7, **options: Any
    ) -> Iterator[Project]:
        config = AnnotateConfig(**{"seed": 0, **options})
        votes = open_project(tmp_path, pairs, annotators=annotators, steps=steps, config=config)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            host = f"127.0.0.1:{listener.getsockname()[1]}"
            application = Application(
                votes, frozenset([host]), "Be *fair*.", rate=options.get("rate")
            )
            server = uvicorn.Server(settings_of(application.starlette(), 10))
            thread = Thread(target=server.run, kwargs={"sockets": [listener]})
            thread.start()
            try:
                yield Project(votes, f"http://{host}")
            finally:
                server.should_exit = True
                thread.join(30)
                votes.close()
        assert not thread.is_alive()

    return serving


@pytest.fixture
def project(serve: Serve) -> Iterator[Project]:
    """A project of four pairs whose page is served."""
    with serve(rated_pairs(4)) as project:
        yield project


def rated_pairs(count: int) -> list[Pair]:
    """Pairs whose texts tell how good each response is, so that the right vote is known.

    Response a is worth 4, b from 1 to 7 in turn, so their difference takes all of 3 … −3.
    """
    pairs = []
    for number in range(count):
        a, b = f"answer {number}, worth 4", f"answer {number}, worth {number % 7 + 1}!"
        source = {"a": SOURCES[0], "b": SOURCES[1], "row": f"{SOURCES[0]}.jsonl:{number}"}
        pairs.append(Pair(f"question {number}", a, b, source))
    return pairs


def worth(text: str) -> int:
    """What a text says that it is worth."""
    found = re.search(r"worth (\d)", text)
    assert found
    return int(found[1])


def fields(page: str) -> dict[str, str]:
    """The hidden fields of the form that votes."""
    form = page[page.index('action="/vote"') :]
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form)[:3])


def shown_texts(page: str) -> list[str]:
    """The two responses of a page, in the order in which they stand there."""
    return re.findall(r"answer \d+, worth \d!?", page)


def voted(client: httpx2.Client, choice: str, **changes: str) -> httpx2.Response:
    """Answer what is shown now."""
    form = fields(client.get("/").text)
    return client.post("/vote", data={**form, "choice": choice, **changes})


# --- in a browser ---------------------------------------------------------------------------------

DESK = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium without a window."""
    chromium = shutil.which("chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if chromium is None:
        pytest.skip("needs Debian's chromium: apt-get install chromium")
    with playwright.sync_playwright() as engines:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = engines.chromium.launch(executable_path=chromium, args=arguments)
        yield browser
        browser.close()


@contextmanager
def page_of(browser: Any, project: Project, annotator: int = 1, **options: Any) -> Iterator[Any]:
    """An annotator's page at the first comparison."""
    context = browser.new_context(**{"viewport": DESK, **options})
    page = context.new_page()
    page.set_default_timeout(15_000)
    page.goto(project.link(annotator))
    page.goto(f"{project.address}/")
    yield page
    context.close()


def wait_for(page: Any, heading: str) -> None:
    page.get_by_role("heading", level=1, name=heading, exact=True).wait_for()
