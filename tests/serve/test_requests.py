"""Malformed, oversized, empty, unicode and slow requests: a clear status, and the server goes on."""

from __future__ import annotations

import gzip
import json
import socket
import time
from collections.abc import Iterator

import httpx2
import pytest

from rewarddiff import listening
from rewarddiff.serve.config import ServeConfig
from tests.serve.conftest import running

GOOD = {"rows": [{"prompt": "Two plus two?", "responses": ["4"]}]}


@pytest.fixture(scope="module")
def small(reward) -> Iterator[httpx2.Client]:
    """A server with small limits."""
    with running(reward, ServeConfig(body=20_000, body_seconds=0.5, queue=64)) as client:
        yield client


def message(response: httpx2.Response) -> str:
    error = response.json()["error"]
    assert error["code"] == response.status_code
    assert "\n" not in error["message"]
    return str(error["message"])


MALFORMED = [
    (b"", 400, "no JSON"),
    (b"{", 400, "no JSON"),
    (b"nonsense", 400, "no JSON"),
    (b'{"rows": [{"prompt": "\xff", "responses": []}]}', 400, "no JSON"),
    (b'{"rows": [{"prompt": "\\ud800", "responses": []}]}', 400, "no JSON"),
    (b"[" * 10_000, 400, "no JSON"),
    (b"[]", 422, "the body"),
    (b"{}", 422, "rows: Field required"),
    (b'{"rows": 3}', 422, "rows: "),
    (b'{"rows": [{"prompt": "x"}]}', 422, "rows[0].responses: Field required"),
    (b'{"rows": [{"prompt": 3, "responses": []}]}', 422, "rows[0].prompt: should be a text"),
    (b'{"rows": [{"prompt": [], "responses": []}]}', 422, "rows[0].prompt: should be a text"),
    (
        b'{"rows": [{"prompt": [{"role": "user"}], "responses": []}]}',
        422,
        "rows[0].prompt: it holds a turn without the texts role and content",
    ),
    (b'{"rows": [{"prompt": "x", "responses": ["y", null]}]}', 422, "rows[0].responses[1]: "),
    (b'{"rows": [{"prompt": "x", "responses": [], "answers": 1}]}', 422, "rows[0].answers: "),
    (b'{"rows": [], "row": []}', 422, "row: "),
]


@pytest.mark.parametrize(("body", "status", "cause"), MALFORMED)
def test_malformed_bodies(small, body, status, cause) -> None:
    response = small.post("/score", content=body)
    assert response.status_code == status, response.text
    assert cause in message(response)
    assert small.post("/score", json=GOOD).status_code == 200


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        ({"prompt": "x", "responses": []}, "0 responses; send 1 to 64"),
        ({"prompt": "x", "responses": ["y"]}, "nothing to compare it with; send 2, or anchors"),
        ({"prompt": "x", "responses": ["y"] * 65}, "65 responses; send 1 to 64"),
        ({"prompt": "x", "responses": ["y"], "anchors": []}, "no anchors"),
        ({"prompt": "x", "responses": ["y"], "anchors": ["z"], "design": {"mode": "all"}}, "one"),
        (
            {"prompt": "x", "responses": list("abcd"), "design": {"mode": "budget", "budget": 2}},
            "2 comparisons cannot join 4 responses; give at least 3",
        ),
        ({"prompt": "x", "responses": list("ab"), "design": {"mode": "budget"}}, "budget is the"),
        ({"prompt": "x", "responses": list("ab"), "design": {"mode": "most"}}, "design.mode"),
        ({"prompt": "x", "responses": list("ab"), "design": {"size": 2}}, "design"),
    ],
)
def test_compare_refuses(small, body, cause) -> None:
    response = small.post("/compare", json=body)
    assert response.status_code == 422
    assert cause in message(response)


def test_a_conversation_that_the_template_refuses_is_the_clients_fault(
    reward, tiny_tokenizer
) -> None:
    refusing = "{{ raise_exception('no roles at all') }}"
    texts = reward.reader.texts
    template = texts.tokenizer.chat_template
    texts.tokenizer.chat_template = refusing
    try:
        with running(reward) as client:
            rows = [{"prompt": [{"role": "user", "content": "x"}], "responses": ["y"]}]
            response = client.post("/score", json={"rows": [*GOOD["rows"], *rows]})
            assert response.status_code == 422
            assert "rows[1]" in message(response)
            assert "no roles at all" in message(response)
            assert client.post("/score", json=GOOD).status_code == 200
    finally:
        texts.tokenizer.chat_template = template


def test_turns_without_a_template_are_the_clients_fault(reward) -> None:
    tokenizer = reward.reader.texts.tokenizer
    template = tokenizer.chat_template
    tokenizer.chat_template = None
    turns = [{"role": "user", "content": "x"}]
    try:
        with running(reward) as client:
            response = client.post("/reward", json={"prompt": turns, "response": "y"})
            assert response.status_code == 422
            assert "has no chat template" in message(response)
            response = client.post("/compare", json={"prompt": turns, "responses": ["y"]})
            assert response.status_code == 422
            assert client.post("/score", json=GOOD).status_code == 200
    finally:
        tokenizer.chat_template = template


def test_unicode_is_read_as_it_is(small, reward) -> None:
    texts = ["Ünïcödé", "日本語", "🙂\u200d🙂", "\u202eright to left", "nul \x00 in it", "\u2028"]
    answer = small.post("/score", json={"rows": [{"prompt": "x", "responses": texts}]})
    assert answer.status_code == 200
    assert len(set(answer.json()["scores"][0])) == len(texts)


def test_oversized_bodies(small) -> None:
    too_long = {"rows": [{"prompt": "x" * 30_000, "responses": ["y"]}]}
    response = small.post("/score", json=too_long)
    assert response.status_code == 413
    assert "longer than 20000 bytes" in message(response)

    def parts() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 1000

    # In chunks, whose sum nobody says beforehand.
    response = small.post("/score", content=parts())
    assert response.status_code == 413
    many = {"rows": [{"prompt": "x", "responses": ["y"] * 65}]}
    response = small.post("/score", json=many)
    assert response.status_code == 413
    assert "65 responses in one request; send at most 64" in message(response)
    assert small.post("/score", json=GOOD).status_code == 200


def connected(client: httpx2.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port), timeout=10)


def test_slow_bodies_get_408_while_others_are_answered(small) -> None:
    with connected(small) as slow:
        slow.sendall(b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
        start = time.monotonic()
        assert small.post("/score", json=GOOD).status_code == 200
        assert slow.recv(1000).startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - start < 5


def test_connections_without_a_request_are_closed(reward, monkeypatch) -> None:
    monkeypatch.setattr(listening, "REQUEST_SECONDS", 0.3)
    with running(reward) as client, connected(client) as mute, connected(client) as slow:
        slow.sendall(b"POST /score HT")
        assert client.post("/score", json=GOOD).status_code == 200
        assert mute.recv(1) == b""
        assert slow.recv(1) == b""


def test_a_connections_later_requests_have_to_arrive_too(reward, monkeypatch) -> None:
    monkeypatch.setattr(listening, "REQUEST_SECONDS", 0.3)
    with running(reward) as client, connected(client) as slow:
        slow.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert slow.recv(1000).startswith(b"HTTP/1.1 200 ")
        slow.sendall(b"GET /hea")
        while slow.recv(1000):  # the rest of the answer, and then the end
            pass


def test_an_answer_may_take_longer_than_a_request(reward, monkeypatch) -> None:
    monkeypatch.setattr(listening, "REQUEST_SECONDS", 0.1)
    with running(reward, ServeConfig(wait=0.4)) as client:
        assert client.post("/score", json=GOOD).status_code == 200


def test_compressed_bodies(small) -> None:
    body = gzip.compress(json.dumps(GOOD).encode())
    response = small.post("/score", content=body, headers={"Content-Encoding": "gzip"})
    assert response.status_code == 415
    assert "send it as it is" in message(response)


def test_what_is_no_http_is_answered_400(small) -> None:
    with connected(small) as odd:
        odd.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        assert odd.recv(1000).startswith(b"HTTP/1.1 400 ")
    assert small.post("/score", json=GOOD).status_code == 200


def test_other_routes_and_methods(small) -> None:
    response = small.get("/scores")
    assert response.status_code == 404
    assert "/score, /compare, /get_reward, /classify, /reward" in message(response)
    response = small.get("/score")
    assert response.status_code == 405
    assert "takes POST" in message(response)


def test_a_client_that_goes_away_leaves_the_server_as_it_was(small) -> None:
    for _ in range(5):
        body = json.dumps(GOOD).encode()
        with connected(small) as gone:
            head = f"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            gone.sendall(head.encode() + body)
    assert small.post("/score", json=GOOD).status_code == 200
    assert small.get("/health").json()["status"] == "ok"


# -- who may ask, and how often --------------------------------------------------------------------


def test_the_key(reward) -> None:
    with running(reward, key="secret") as client:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer sécret"}):
            encoded = {name: value.encode() for name, value in headers.items()}
            response = client.post("/score", json=GOOD, headers=encoded)
            assert response.status_code == 401
            assert "secret" not in response.text
        assert client.get("/metrics").status_code == 401
        assert client.get("/health").status_code == 200
        headers = {"Authorization": "Bearer secret"}
        assert client.post("/score", json=GOOD, headers=headers).status_code == 200


def test_a_key_of_any_letters(reward) -> None:
    """UTF-8 is what clients send; a header that is none gets an answer, too."""
    with running(reward, key="schlüssel-鍵") as client:
        for key, status in [
            ("schlüssel-鍵".encode(), 200), (b"schlussel", 401), (b"schl\xfcssel", 401)
        ]:  # fmt: skip
            headers = {b"Authorization": b"Bearer " + key}
            assert client.post("/score", json=GOOD, headers=headers).status_code == status


def test_the_rate(reward) -> None:
    with running(reward, ServeConfig(rate=1.0)) as client:
        assert client.post("/score", json=GOOD).status_code == 200
        refused = client.post("/score", json=GOOD)
        assert refused.status_code == 429
        assert "more than 1 requests a second" in message(refused)
        # Nearly a second a request, in whole seconds.
        assert refused.headers["Retry-After"] == "1"
        time.sleep(1.0)
        assert client.post("/score", json=GOOD).status_code == 200
