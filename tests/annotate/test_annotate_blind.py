"""Nothing that reaches an annotator tells who wrote a response."""

from __future__ import annotations

import http.client
import re

from tests.annotate.conftest import SOURCES, Project, Serve, fields, rated_pairs, shown_texts, voted


def raw(project: Project, method: str, path: str, headers: dict[str, str], body: str = "") -> bytes:
    """Everything that a client gets to see of an answer, as bytes."""
    connection = http.client.HTTPConnection(project.host)
    connection.request(method, path, body or None, headers)
    answer = connection.getresponse()
    content = b"\n".join(f"{name}: {value}".encode() for name, value in answer.getheaders())
    content += answer.read()
    connection.close()
    return content


def test_nothing_that_is_sent_names_a_source(project: Project) -> None:
    cookie = f"annotator-{project.votes.settings()['name']}={project.token()}"
    headers = {"Cookie": cookie, "Origin": project.address}
    seen = [raw(project, "GET", f"/enter/{project.token()}", headers)]
    for _ in range(5):
        page = raw(project, "GET", "/", headers)
        seen.append(page)
        if b'action="/vote"' not in page:
            break
        form = "&".join(f"{name}={value}" for name, value in fields(page.decode()).items())
        posted = {**headers, "Content-Type": "application/x-www-form-urlencoded"}
        seen.append(raw(project, "POST", "/vote", posted, f"{form}&choice=3"))
    for path in ("/guidelines", "/settings", "/static/annotate.js", "/static/annotate.css", "/no"):
        seen.append(raw(project, "GET", path, headers))
    everything = b"\n".join(seen)
    assert b"Thank you" in everything
    for word in (*SOURCES, "zanzibar", "quetzal", "chosen", "rejected"):
        assert word.encode() not in everything
    # But the project knows them.
    assert project.votes.rows("SELECT source FROM items")[0]["source"].count("policy") >= 2


def test_an_item_looks_alike_whichever_response_is_a(serve: Serve) -> None:
    """Two annotators who see the sides exchanged get pages that differ in nothing else."""
    with serve(rated_pairs(12), shuffle=False) as project:
        pages: dict[tuple[str, str], str] = {}
        for annotator in (1, 2, 3):
            with project.visitor(annotator) as client:
                while 'action="/vote"' in (page := client.get("/").text):
                    left, right = shown_texts(page)
                    body = page[: page.index('<div class="beside">')]
                    body = re.sub(r'name="(key|nonce)" value="[^"]+"', "", body)
                    pages[left, right] = body
                    voted(client, "4")
        exchanged = 0
        for (left, right), page in pages.items():
            if (right, left) in pages:
                there = unnamed(pages[right, left], right, left)
                assert unnamed(page, left, right) == there
                exchanged += 1
        assert exchanged >= 2


def unnamed(page: str, left: str, right: str) -> str:
    """A page with X for the left response and Y for the right; the longer may hold the shorter."""
    letters = {left: "X", right: "Y"}
    for text in sorted(letters, key=len, reverse=True):
        page = page.replace(text, letters[text])
    return page
