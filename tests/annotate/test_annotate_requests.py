"""Requests to the page: who is let in, what is refused, and what never leaves."""

from __future__ import annotations

import re
import socket
import time
from contextlib import ExitStack

import httpx2
import pytest

from rewarddiff.annotate import server
from rewarddiff.annotate.pages import LONGEST_REASON
from tests.annotate.conftest import Project, Serve, fields, rated_pairs, shown_texts, voted

ROUTES = ("/", "/guidelines", "/settings")
POSTS = ("/vote", "/undo", "/settings")


# --- the way in -----------------------------------------------------------------------------------


def test_the_token_goes_from_the_address_into_a_cookie_that_no_script_reads(
    project: Project,
) -> None:
    with httpx2.Client(base_url=project.address) as client:
        answer = client.get(f"/enter/{project.token()}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/welcome")
    cookie = answer.headers["set-cookie"]
    assert project.token() in cookie
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))


def test_who_comes_from_another_site_is_led_on_without_the_cookie(project: Project) -> None:
    # A SameSite=Strict cookie does not come along on the redirect; a page that asks again brings it.
    answer = httpx2.get(f"{project.address}/welcome")
    assert answer.status_code == 200
    assert '<meta http-equiv="refresh" content="0; url=/welcome?again">' in answer.text
    # Where a browser keeps no cookies it does not go round for ever.
    answer = httpx2.get(f"{project.address}/welcome?again")
    assert answer.status_code == 403
    assert "keeps no cookie" in answer.text
    assert "refresh" not in answer.text


def test_first_come_guidelines_and_later_the_comparisons(project: Project) -> None:
    with project.visitor() as client:
        assert "Be <em>fair</em>." in client.get(f"/enter/{project.token()}").text
        voted(client, "1")
        assert "Comparison 2 of 4" in client.get(f"/enter/{project.token()}").text


@pytest.mark.parametrize("token", ["", "wrong", "x" * 5000])
def test_without_a_token_there_is_nothing(project: Project, token: str) -> None:
    with httpx2.Client(base_url=project.address, headers={"Origin": project.address}) as client:
        assert client.get(f"/enter/{token}").status_code in (403, 404)
        name = project.votes.settings()["name"]
        client.cookies.set(f"annotator-{name}", token)
        for route in ROUTES:
            answer = client.get(route)
            assert answer.status_code == 403
            assert "question" not in answer.text
        for route in POSTS:
            assert client.post(route, data={"choice": "1"}).status_code == 403


def test_another_annotators_pages_are_not_mine(project: Project) -> None:
    with project.visitor(1) as one, project.visitor(2) as two:
        form = fields(one.get("/").text)
        assert two.post("/vote", data={**form, "choice": "1"}).status_code == 403
        form["key"] = fields(two.get("/").text)["key"]
        one.post("/vote", data={**fields(one.get("/").text), **form, "choice": "1"})
    assert not [row for row in project.rows() if row["annotator"] == "annotator-2"]


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "", "localhost.evil"])
def test_another_host_is_refused(project: Project, host: str) -> None:
    with project.visitor() as client:
        for route in (*ROUTES, "/welcome", "/static/annotate.css", f"/enter/{project.token()}"):
            assert client.get(route, headers={"Host": host}).status_code in (400, 421)
        form = fields(client.get("/").text)
        answer = client.post("/vote", data={**form, "choice": "1"}, headers={"Host": host})
        assert answer.status_code in (400, 421)
    assert not project.rows()


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_form_from_elsewhere_is_refused(project: Project, headers: dict[str, str]) -> None:
    with project.visitor() as client:
        form = fields(client.get("/").text)
        for route in POSTS:
            answer = client.post(route, data={**form, "choice": "1"}, headers=headers)
            assert answer.status_code == 403
    assert not project.rows()


def test_a_form_without_an_origin_is_refused(project: Project) -> None:
    with project.visitor() as client:
        form = fields(client.get("/").text)
        del client.headers["Origin"]
        assert client.post("/vote", data={**form, "choice": "1"}).status_code == 403


@pytest.mark.parametrize("route", POSTS)
@pytest.mark.parametrize("key", ["", "wrong", "é", "0" * 64])
def test_a_form_without_its_key_is_refused(project: Project, route: str, key: str) -> None:
    with project.visitor() as client:
        form = fields(client.get("/").text)
        answer = client.post(route, data={**form, "key": key, "choice": "1"})
        assert answer.status_code == 403
    assert not project.rows()


@pytest.mark.parametrize(
    "changes",
    [
        {"choice": "0"},
        {"choice": "8"},
        {"choice": "1.0"},
        {"choice": "٣"},  # a digit, to Python
        {"choice": ""},
        {"nonce": "short"},
        {"nonce": "x" * 65},
        {"reason": "x" * (LONGEST_REASON + 1)},
    ],
)
def test_an_answer_that_is_not_offered_is_refused(
    project: Project, changes: dict[str, str]
) -> None:
    with project.visitor() as client:
        assert voted(client, **{"choice": "1", **changes}).status_code == 422
    assert not project.rows()


def test_an_item_of_nobody_is_refused(project: Project) -> None:
    with project.visitor() as client:
        assert voted(client, "1", item="ffff").status_code == 409


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"choice=1&reason=" + b"x" * 70_000, "application/x-www-form-urlencoded", 413),
        (b"reason=%FF", "application/x-www-form-urlencoded", 400),
        (b"&a=1" * 100, "application/x-www-form-urlencoded", 400),
        (b'{"choice": 1}', "application/json", 415),
        (b"", "multipart/form-data; boundary=x", 415),
    ],
)
def test_a_body_that_is_no_form_of_ours_is_refused(
    project: Project, content: bytes, kind: str, status: int
) -> None:
    with project.visitor() as client:
        answer = client.post("/vote", content=content, headers={"Content-Type": kind})
        assert answer.status_code == status


def test_what_is_no_page_is_refused(project: Project) -> None:
    with project.visitor() as client:
        missing = client.get("/annotations.sqlite")
        assert missing.status_code == 404
        assert "Open the link that you were given" in missing.text
        assert client.get("/static/../schema.sql").status_code == 404
        assert client.get("/static/%2e%2e%2fschema.sql").status_code == 404
        assert client.get("/vote").status_code == 405
        assert client.request("DELETE", "/settings").status_code == 405


def test_every_answer_bears_the_headers(project: Project) -> None:
    with project.visitor() as client:
        answers = [client.get(route) for route in (*ROUTES, "/static/annotate.js", "/none")]
        answers.append(client.get("/", headers={"Host": "evil.example"}))
        answers.append(client.post("/vote", data={"choice": "1"}))
        client.cookies.clear()
        answers.append(client.get("/"))
    for answer in answers:
        assert answer.headers["content-security-policy"].startswith("default-src 'none';")
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "server" not in answer.headers


def test_who_asks_too_often_waits_and_others_do_not(serve: Serve) -> None:
    with serve(rated_pairs(4), rate=5.0) as project, project.visitor(1) as one:
        answers = [one.get("/guidelines") for _ in range(6)]
        assert answers[-1].status_code == 429
        assert answers[-1].headers["retry-after"] == "1"
        assert "Wait a moment" in answers[-1].text
        with project.visitor(2) as two:
            assert two.get("/guidelines").status_code == 200
        with httpx2.Client(base_url=project.address) as stranger:
            answers = [stranger.get(f"/enter/{number}") for number in range(40)]
        assert {answer.status_code for answer in answers} == {403, 429}
        time.sleep(0.5)
        assert one.get("/guidelines").status_code == 200


def test_a_form_that_is_on_its_way_at_the_end_is_not_waited_for_longer_than_it_says(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LAST_SECONDS", 1)
    with ExitStack() as stack:
        with serve(rated_pairs(4)) as project:
            host, port = project.host.split(":")
            slow = stack.enter_context(socket.create_connection((host, int(port)), timeout=30))
            name, token = project.votes.settings()["name"], project.token()
            head = f"POST /vote HTTP/1.1\r\nHost: {project.host}\r\nOrigin: {project.address}\r\n"
            head += f"Cookie: annotator-{name}={token}\r\nContent-Length: 1000\r\n"
            head += "Content-Type: application/x-www-form-urlencoded\r\n\r\nchoice=1"
            slow.sendall(head.encode())
            time.sleep(0.2)
        answer = slow.recv(5000)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"The server has stopped." in answer


# --- votes ----------------------------------------------------------------------------------------


def test_a_vote_leads_to_the_next_item_and_is_there(project: Project) -> None:
    with project.visitor() as client:
        left, right = shown_texts(client.get("/").text)
        answer = voted(client, "2", reason="  Shorter.\r\nClearer. ")
        assert "Comparison 2 of 4" in answer.text
        assert "1 of 4 answered" in answer.text
        assert "Undo <span" in answer.text
        assert "A is better”" in answer.text
    [row] = project.rows()
    assert row["reason"] == "Shorter.\nClearer."
    # Choice 2 of 7: the left one is better by two steps.
    assert row["grade"] == (2 if left == row["a"] else -2)
    assert {left, right} == {row["a"], row["b"]}
    assert row["seconds"] >= 0


def test_a_form_sent_again_leads_on_and_is_stored_once(project: Project) -> None:
    with project.visitor() as client:
        form = {**fields(client.get("/").text), "choice": "7"}
        for _ in range(3):
            assert "Comparison 2 of 4" in client.post("/vote", data=form).text
        other = client.post("/vote", data={**form, "nonce": "n" * 20, "choice": "1"})
        assert "had an answer of yours already" in other.text
    [row] = project.rows()
    assert abs(row["grade"]) == 3


def test_undo_and_the_end(project: Project) -> None:
    with project.visitor() as client:
        for choice in ("1", "4", "skip", "7"):
            page = voted(client, choice).text
        assert "You have answered all 4 comparisons, 1 of them by skipping." in page
        [nonce] = re.findall(r'name="nonce" value="([^"]+)"', page)
        [key] = re.findall(r'name="key" value="([^"]+)"', page)
        for _ in range(2):  # a second time it is not the vote before
            page = client.post("/undo", data={"key": key, "nonce": nonce}).text
        assert "Comparison 4 of 4" in page
    assert len(project.rows()) == 3


def test_a_scale_of_five(serve: Serve) -> None:
    with serve(rated_pairs(2), steps=5) as project, project.visitor() as client:
        page = client.get("/").text
        assert page.count('name="choice"') == 6  # and skip
        left, _ = shown_texts(page)
        assert voted(client, "6").status_code == 422
        voted(client, "5")
        [row] = project.rows()
        assert row["grade"] == (-2 if left == row["a"] else 2)


def test_a_full_disk_acknowledges_nothing_and_loses_nothing(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    with serve(rated_pairs(4)) as project, project.visitor() as client:
        voted(client, "1")
        caplog.clear()
        form = {**fields(client.get("/").text), "choice": "2", "reason": "x" * 3900}
        [pages] = project.votes.rows("PRAGMA page_count")
        project.votes.rows(f"PRAGMA max_page_count = {pages[0]}")
        assert client.post("/vote", data=form).status_code == 500
        assert len(project.rows()) == 1
        [record] = caplog.records
        assert "annotations.sqlite: database or disk is full" in record.getMessage()
        assert record.exc_info is None
        project.votes.rows("PRAGMA max_page_count = 1000000")
        # The same form, sent again as the page does it.
        assert "Comparison 3 of 4" in client.post("/vote", data=form).text
        assert len(project.rows()) == 2
