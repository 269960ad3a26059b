"""Sixty-four clients at the reward server and at the annotation server, and what both are to withstand.

    python tests/faults/servers.py --seconds 120 --stops 10
    python tests/faults/servers.py limits                   # only what each server refuses

load    64 clients for so long: no error, answers equal to those given alone, memory and files flat
limits  bodies too long, in chunks, compressed, slow, deep, of too many items; slow heads, more connections
        than files; too many requests; wrong keys; each with its status, and the server goes on
stop    SIGTERM under 64 clients: what was in flight is answered, no vote is lost, and it ends soon

Every server is a process of its own, with a tiny random scorer. Status 1 where anything is not as it should be.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import itertools
import json
import os
import random
import re
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import httpx2
import tiny
from annotate.conftest import fields, shown_texts, worth

CLIENTS = 64
ITEMS = 600
MIB = 2**20
MOST_GROWTH = 4 * MIB
"""Of the memory, from the second quarter of the time to the last one."""
LEAST, LEAST_OF_SHORT_QUEUE = 0.99, 0.01
"""Share of the requests that have to be answered, and where most are told to wait; of each client one at least."""
LONGEST_STOP = 10.0
"""Seconds from SIGTERM to the end."""
SURELY_READ = 0.5
"""A request that was sent so long before SIGTERM is in flight, and has to be answered."""
HEAD_SECONDS = 30
"""For the head of a request to arrive (`listening.REQUEST_SECONDS`), and for a form."""
KEY = "schlüssel-鍵"


class Verdicts:
    """What was looked at, and what was not as it should be."""

    def __init__(self) -> None:
        self.looked_at = 0
        self.wrong: list[str] = []

    def say(self, what: str, is_right: object, said: object = "") -> None:
        """Print a verdict."""
        self.looked_at += 1
        if not is_right:
            self.wrong.append(what)
        print(f"{'ok   ' if is_right else 'WRONG'} {what}: {said}", flush=True)


# -- servers ---------------------------------------------------------------------------------------


@dataclass
class Running:
    """A server in a process of its own.

    Attributes:
        seconds: from the signal to its end.
        text: what it printed after its first lines, with its errors.
    """

    process: subprocess.Popen[str]
    address: str
    folder: Path
    seconds: float = 0.0
    text: str = ""

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def figures(self) -> tuple[int, int]:
        """Return bytes resident and files open."""
        place = Path(f"/proc/{self.process.pid}")
        pages = int((place / "statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE"), len(list((place / "fd").iterdir()))

    def stop(self) -> int:
        """End it, and return its status."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.text += self.process.communicate(timeout=120)[0]
        self.seconds = time.monotonic() - begun
        return self.process.returncode


@contextmanager
def running(
    folder: Path, ready: str, *arguments: str, files: int | None = None
) -> Iterator[Running]:
    """Run a command that serves, until the block ends."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "SERVER_KEY": KEY}
    command = [sys.executable, "-m", "rewarddiff", *arguments, "--port", "0"]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=folder
        )
        try:
            assert process.stdout is not None
            told = ""
            while ready not in told:
                line = process.stdout.readline()
                if not line:
                    errors.seek(0)
                    sys.exit(f"{' '.join(command)}: {errors.read()}")
                told += line
            address = re.search(r"http://[\w.]+:\d+", told)[0]
            if files is not None:
                resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (files, files))
            server = Running(process, address, folder)
            yield server
            errors.seek(0)
            server.text += errors.read()
        finally:
            process.kill()
            process.wait()


def rewards(folder: Path, *options: str, **more: Any) -> Any:
    """Run the reward server."""
    return running(folder, "GET /health", "serve", "scorer", *options, **more)


def people(folder: Path, name: str, *options: str, **more: Any) -> Any:
    """Run the annotation server on a new project."""
    arguments = ("annotate", "samples.jsonl", "--output", name, "--annotators", str(CLIENTS))
    return running(folder, "a link is a key", *arguments, *options, **more)


def prepare(folder: Path) -> list[tuple[str, Any, Any]]:
    """Write a scorer and what is compared; return requests with the answers that offline scoring gives."""
    from rewarddiff.records import Group

    scorer = tiny.scorer(tiny.models(folder)["policy"], folder / "scorer")
    tiny.lines(folder / "samples.jsonl", tiny.worths(ITEMS))
    requests: list[tuple[str, Any, Any]] = []
    for i in range(24):
        prompt, responses = (
            f"Question {i // 4}?",
            tuple(f"word {j} " * (i % 9 + 1) for j in range(3)),
        )
        rewards = [float(r) for r in scorer.rewards([Group("g", prompt, responses)])[0]]
        row = {"prompt": prompt, "responses": list(responses)}
        requests.append(("/score", {"rows": [row]}, [rewards]))
        requests.append(("/reward", {"prompt": prompt, "response": responses[0]}, rewards[0]))
        queries = {"query": [prompt + r for r in responses], "prompts": [prompt] * 3}
        requests.append(("/get_reward", queries, None))
        requests.append(("/compare", row, None))
        turns = [
            {"role": "user", "content": prompt},
            {"role": "assistant", "content": responses[1]},
        ]
        requests.append(("/classify", {"messages": turns}, None))
    return requests


def answer_in(content: Any) -> Any:
    """Return what an answer says of the texts, without what is of the request."""
    if not isinstance(content, dict):
        return content
    return {key: value for key, value in content.items() if key not in ("id", "created")}


# -- load ------------------------------------------------------------------------------------------


@dataclass
class Seen:
    """What the clients saw.

    Attributes:
        counts: of answers, by what they were.
        unanswered: when each request was sent that got no answer.
        votes: forms that were acknowledged, with their grade towards a.
    """

    counts: Counter[str] = field(default_factory=Counter)
    unanswered: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    votes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        ordered = sorted(self.seconds)
        p99 = ordered[int(0.99 * len(ordered))] if ordered else 0.0
        return f"{dict(self.counts)}, p50 {median(self.seconds or [0]):.3f} s, p99 {p99:.3f} s"


class Press:
    """64 clients that ask again as soon as they are answered, until `ends`."""

    def __init__(self, server: Running) -> None:
        self.server = server
        self.seen = Seen()
        self.ends = False
        self.is_stopping = False

    async def run(
        self, client_of: Callable[[Press, httpx2.AsyncClient, int], Awaitable[None]]
    ) -> None:
        """Let every client do its part."""

        async def one(number: int) -> None:
            headers = {"Origin": self.server.address}
            async with httpx2.AsyncClient(
                base_url=self.server.address, headers=headers, timeout=120, verify=False
            ) as client:
                with suppress(Gone):
                    await client_of(self, client, number)

        await asyncio.gather(*(one(number) for number in range(CLIENTS)))

    async def ask(self, client: httpx2.AsyncClient, method: str, path: str, **body: Any) -> Any:
        """Ask once.

        Raises:
            Gone: the server is being ended, and gave no answer.
        """
        sent = time.monotonic()
        try:
            answer = await client.request(method, path, **body)
        except httpx2.TransportError as error:
            if not self.is_stopping:
                self.seen.counts[f"no answer ({type(error).__name__})"] += 1
            self.seen.unanswered.append(sent)
            self.ends = True
            raise Gone from error
        self.seen.seconds.append(time.monotonic() - sent)
        return answer


class Gone(Exception):
    """The server gives no answer any more."""


def asks_for_rewards(
    requests: list[tuple[str, Any, Any]], alone: list[Any]
) -> Callable[[Press, httpx2.AsyncClient, int], Awaitable[None]]:
    """Return a client that asks in all protocols, sends what is wrong, and goes away now and then."""

    async def client_of(press: Press, client: httpx2.AsyncClient, number: int) -> None:
        rng = random.Random(number)
        for turn in itertools.count():
            if press.ends:
                return
            place = rng.randrange(len(requests))
            path, body, _ = requests[place]
            if turn % 20 == 19:
                answer = await press.ask(client, "POST", path, content=b'{"rows": [')
                press.seen.counts["400" if answer.status_code == 400 else "another status"] += 1
            elif turn % 50 == 33:
                await goes_away(press.server, path, json.dumps(body).encode())
                press.seen.counts["went away"] += 1
            else:
                answer = await press.ask(client, "POST", path, json=body)
                press.seen.counts[verdict(answer, alone[place])] += 1

    return client_of


def verdict(answer: httpx2.Response, alone: Any) -> str:
    """Return what an answer is, beside the one that was given alone."""
    if answer.status_code == 200:
        return "equal" if answer_in(answer.json()) == alone else "DIFFERENT"
    if answer.status_code in (429, 503) and int(answer.headers.get("retry-after", 0)) >= 1:
        return f"{answer.status_code} with Retry-After"
    return f"STATUS {answer.status_code}"


async def goes_away(server: Running, path: str, body: bytes) -> None:
    """Send a request and do not wait for its answer."""
    with suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()


async def votes(press: Press, client: httpx2.AsyncClient, number: int) -> None:
    """Answer what is shown, as one annotator; every tenth form arrives twice."""
    tokens = json.loads((press.server.folder / "people.tokens").read_text())
    await press.ask(client, "GET", f"/enter/{tokens[number]}")
    for turn in itertools.count():
        if press.ends:
            return
        page = await press.ask(client, "GET", "/")
        if 'action="/vote"' not in page.text:
            press.seen.counts[f"STATUS {page.status_code} instead of a page"] += 1
            return
        left, right = shown_texts(page.text)
        form = {**fields(page.text), "choice": str(4 - (worth(left) - worth(right)))}
        for _ in range(2 if turn % 10 == 9 else 1):
            answer = await press.ask(client, "POST", "/vote", data=form)
            is_heard = answer.status_code == 303
            press.seen.counts["vote heard" if is_heard else f"STATUS {answer.status_code}"] += 1
        if is_heard:
            press.seen.votes.append(form["nonce"])


async def watched(press: Press, seconds: float) -> list[tuple[int, int]]:
    """Return memory and files of the server at every second; then let the clients end."""
    figures = []
    for _ in range(int(seconds)):
        await asyncio.sleep(1)
        figures.append(press.server.figures())
    press.ends = True
    return figures


def load(
    server: Running, client_of: Any, seconds: float, verdicts: Verdicts, name: str, least: float
) -> Seen:
    """Press a server, and say what came of it; `least` is the share of requests that has to be answered."""

    async def both() -> list[tuple[int, int]]:
        figures, _ = await asyncio.gather(watched(press, seconds), press.run(client_of))
        return figures

    press = Press(server)
    figures = asyncio.run(both())
    errors = {what: count for what, count in press.seen.counts.items() if is_error(what)}
    verdicts.say(f"{name}, {CLIENTS} clients, {seconds:.0f} s", not errors, press.seen)
    answered, asked = answers_among(press.seen.counts)
    told = f"{answered} answers to {asked} requests"
    verdicts.say(f"{name}, answers", answered >= max(CLIENTS, least * asked), told)
    quarter = len(figures) // 4
    memory = [bytes_ for bytes_, _ in figures]
    earlier, later = median(memory[quarter : 2 * quarter]), median(memory[-quarter:])
    at = {second: memory[second - 1] for second in (15, 30, 60, 90, 120) if second <= len(memory)}
    told = ", ".join(f"{bytes_ / MIB:.1f} at {second} s" for second, bytes_ in at.items())
    growth = f"{(later - earlier) / MIB:+.2f} MiB from the 2nd to the last quarter (MiB: {told})"
    verdicts.say(f"{name}, memory", later - earlier < MOST_GROWTH, growth)
    files = [count for _, count in figures]
    # Those who go away at once are some more for a moment: medians are compared.
    earlier, later = median(files[quarter : 2 * quarter]), median(files[-quarter:])
    told = f"{earlier:.0f}, then {later:.0f}, {max(files)} at most"
    verdicts.say(f"{name}, open files", later <= earlier + 4, told)
    return press.seen


def answers_among(counts: Counter[str]) -> tuple[int, int]:
    """Return how many whole requests were answered with what they asked for, and how many there were."""
    told_to_wait = sum(n for what, n in counts.items() if what.endswith("with Retry-After"))
    answered = counts["equal"] + counts["vote heard"]
    return answered, answered + told_to_wait


def is_error(what: str) -> bool:
    return what.startswith(("STATUS", "DIFFERENT", "another", "no answer"))


def loads(
    folder: Path, requests: list[tuple[str, Any, Any]], seconds: float, say: Verdicts
) -> None:
    with rewards(folder) as server:
        alone = asked_alone(server, requests, say)
        load(server, asks_for_rewards(requests, alone), seconds, say, "rewards", LEAST)
        say.say("rewards, end", server.stop() == 0, f"{server.seconds:.1f} s")
    say.say("rewards, no traceback", "Traceback" not in server.text, server.text.strip())
    with rewards(folder, "queue=24") as server:
        asks = asks_for_rewards(requests, alone)
        seen = load(server, asks, 12, say, "rewards, a short queue", LEAST_OF_SHORT_QUEUE)
        say.say("rewards, queue", seen.counts["429 with Retry-After"], "some were told to wait")
    with people(folder, "people") as server:
        hand_out_tokens(folder, "people")
        seen = load(server, votes, seconds, say, "people", LEAST)
        say.say("people, end", server.stop() == 0, f"{server.seconds:.1f} s")
    say.say("people, no traceback", "Traceback" not in server.text, server.text.strip())
    say_votes(folder / "people", seen.votes, say)


def asked_alone(server: Running, requests: list[tuple[str, Any, Any]], say: Verdicts) -> list[Any]:
    """Return the answers to requests of which only one is asked at a time."""
    alone, equal, known = [], 0, 0
    with httpx2.Client(base_url=server.address, timeout=60) as client:
        for path, body, expected in requests:
            content = client.post(path, json=body).raise_for_status().json()
            alone.append(answer_in(content))
            if expected is not None:
                known += 1
                equal += (content["scores"] if path == "/score" else content) == expected
    say.say("rewards, alone", equal == known, f"{equal} of {known} equal to offline scoring")
    return alone


def hand_out_tokens(folder: Path, name: str) -> None:
    tokens = json.loads((folder / name / "tokens.json").read_text())
    (folder / "people.tokens").write_text(json.dumps(list(tokens.values())))


def say_votes(project: Path, acknowledged: list[str], say: Verdicts, more: int = 0) -> None:
    """Say whether every acknowledged vote is stored once, and no more others than may be."""
    connection = sqlite3.connect(project / "annotations.sqlite")
    query = "SELECT nonce, grade, a, b FROM votes JOIN items ON item = id"
    rows = connection.execute(query).fetchall()
    connection.close()
    stored, heard = Counter(nonce for nonce, *_ in rows), Counter(acknowledged)
    lost, others = heard - stored, stored - heard
    wrong = [grade for _, grade, a, b in rows if grade != worth(a) - worth(b)]
    is_right = not lost and others.total() <= more and not wrong
    told = f"{len(heard)} acknowledged, {len(rows)} stored, {lost.total()} lost, {len(wrong)} wrong"
    say.say("people, votes", is_right, told)


# -- limits ----------------------------------------------------------------------------------------


def status_of(port: int, *parts: bytes, wait: float = 120, pause: float = 0.0) -> str:
    """Send bytes as they are, in parts; return the status of the answer, or how the connection ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):  # who is refused need not be read
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
        try:
            line = connection.recv(4096).split(b"\r\n")[0].decode()
        except ConnectionResetError:
            return "reset"
        except TimeoutError:
            return "nothing"
    return line.split()[1] if line else "closed"


def head(path: str, *lines: str, method: str = "POST") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *lines, "", ""]).encode()


def lines(*parts: bytes) -> bytes:
    """Return the last lines of a head."""
    return b"\r\n".join([*parts, b"", b""])


def chunks(size: int, count: int) -> Iterator[bytes]:
    for _ in range(count):
        yield f"{size:x}\r\n".encode() + b" " * size + b"\r\n"


def slowly(head_alone: bytes, port: int) -> tuple[str, float]:
    """Send a head and then a byte every second; return how that ends, and after how many seconds."""
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
        connection.sendall(head_alone)
        for _ in range(3 * HEAD_SECONDS):
            with suppress(TimeoutError):
                try:
                    got = connection.recv(100)
                except ConnectionResetError:
                    got = b""
                return got.split()[1].decode() if got else "closed", time.monotonic() - begun
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(b"x")
    return "open still", time.monotonic() - begun


def second_head(port: int) -> tuple[str, float]:
    """Ask, be answered, and let a second head begin and not end."""
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=3 * HEAD_SECONDS) as connection:
        connection.sendall(head("/none", method="GET"))
        connection.recv(4096)
        connection.sendall(b"GET /no")
        try:
            while connection.recv(4096):
                pass
        except ConnectionResetError:
            pass
        except TimeoutError:
            return "open still", time.monotonic() - begun
    return "closed", time.monotonic() - begun


def limits(folder: Path, say: Verdicts) -> None:
    limits_of_rewards(folder, say)
    limits_of_people(folder, say)
    crowd(folder, say)


def limits_of_rewards(folder: Path, say: Verdicts) -> None:
    bearer = b"Authorization: Bearer " + KEY.encode()
    with rewards(folder, "--key-env", "SERVER_KEY", "queue=64", "body_seconds=2") as server:
        port = server.port

        def asked(body: bytes, *lines: bytes, path: bytes = b"/score") -> str:
            length = b"Content-Length: %d" % len(body)
            return status_of(
                port,
                b"\r\n".join(
                    [b"POST " + path + b" HTTP/1.1", b"Host: x", length, *lines, b"", b""]
                ),
                body,
            )

        good = json.dumps({"rows": [{"prompt": "x", "responses": ["y"]}]}).encode()
        many = json.dumps({"rows": [{"prompt": "x", "responses": ["y"] * 65}]}).encode()
        key = (bearer,)
        long = (b"Content-Length: 9000000", *key)
        chunked = (b"Transfer-Encoding: chunked", *key)
        deep = b"[" * 100_000
        deeper = b'{"rows":' * 50_000
        begin = b"POST /score HTTP/1.1\r\nHost: x\r\n"
        cases: list[tuple[str, Callable[[], str], str]] = [
            ("a request", lambda: asked(good, *key), "200"),
            ("no key", lambda: asked(good), "401"),
            ("another key", lambda: asked(good, b"Authorization: Bearer schlussel"), "401"),
            ("a key of other bytes", lambda: asked(good, b"Authorization: Bearer \xfc\xff"), "401"),
            ("the key, and more", lambda: asked(good, bearer + b"x"), "401"),
            ("too long by its own word", lambda: status_of(port, begin, lines(*long)), "413"),
            ("too long in chunks", lambda: status_of(port, begin, lines(*chunked), *chunks(65536, 160)), "413"),
            ("compressed", lambda: asked(gzip.compress(good), b"Content-Encoding: gzip", *key), "415"),
            ("deep JSON", lambda: asked(deep, *key), "400"),
            ("deep objects", lambda: asked(deeper, *key), "400"),
            ("too many responses", lambda: asked(many, *key), "413"),
            ("no UTF-8", lambda: asked(b'{"rows": "\xff"}', *key), "400"),
            ("a length that is none", lambda: status_of(port, begin + b"Content-Length: -1\r\n\r\n"), "400"),
            ("two lengths", lambda: status_of(port, begin + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n"), "400"),
            ("a head of 200 KB", lambda: status_of(port, begin + b"X: " + b"x" * 200_000), "400"),
            ("no HTTP", lambda: status_of(port, b"\x16\x03\x01\x00\r\n\r\n"), "400"),
            ("a slow body", lambda: slowly(begin + lines(b"Content-Length: 999", *key), port)[0], "408"),
        ]  # fmt: skip
        tell_cases(cases, server, say, "rewards", lambda: asked(good, *key) == "200")
    with rewards(folder, "rate=5") as server, httpx2.Client(base_url=server.address) as client:
        answers = [client.post("/score", content=good) for _ in range(40)]
        told = Counter(verdict(answer, answer_in(answers[0].json())) for answer in answers)
        say.say("rewards, rate", set(told) == {"equal", "429 with Retry-After"}, dict(told))


def limits_of_people(folder: Path, say: Verdicts) -> None:
    with people(folder, "people-limits", "limit=20", "rate=20") as server:
        port, host = server.port, f"127.0.0.1:{server.port}"
        token = next(iter(json.loads((folder / "people-limits/tokens.json").read_text()).values()))
        connection = sqlite3.connect(folder / "people-limits/annotations.sqlite")
        ((name,),) = connection.execute("SELECT value FROM settings WHERE key = 'name'").fetchall()
        connection.close()
        cookie = f"Cookie: annotator-{json.loads(name)}={token}"
        form = "Content-Type: application/x-www-form-urlencoded"

        def to(
            path: str, *lines: str, method: str = "POST", who: str = cookie, at: str = host
        ) -> bytes:
            parts = [
                f"{method} {path} HTTP/1.1",
                f"Host: {at}",
                f"Origin: http://{at}",
                who,
                *lines,
            ]
            return "\r\n".join([*(part for part in parts if part), "", ""]).encode()

        def sent(body: bytes, *lines: str, **changes: str) -> str:
            return status_of(
                port, to("/vote", form, f"Content-Length: {len(body)}", *lines, **changes), body
            )

        page = to("/", method="GET")
        chunked = to("/vote", form, "Transfer-Encoding: chunked")
        cases = [
            ("a page", lambda: status_of(port, to("/", method="GET")), "200"),
            ("no link", lambda: status_of(port, to("/", method="GET", who="")), "403"),
            ("another link", lambda: status_of(port, to("/enter/zzz", method="GET", who="")), "403"),
            ("another host", lambda: status_of(port, to("/", method="GET", at="evil.example")), "421"),
            ("a form without its key", lambda: sent(b"choice=1&nonce=" + b"n" * 20), "403"),
            ("a key of other letters", lambda: sent("key=é&choice=1".encode()), "403"),
            ("too long", lambda: sent(b"reason=" + b"x" * 70_000), "413"),
            ("too long in chunks", lambda: status_of(port, chunked, *chunks(8192, 40)), "413"),
            ("compressed", lambda: sent(gzip.compress(b"choice=1"), "Content-Encoding: gzip"), "400"),
            ("too many fields", lambda: sent(b"&a=1" * 100), "400"),
            ("no UTF-8", lambda: sent(b"reason=%FF"), "400"),
            ("no form", lambda: status_of(port, to("/vote", "Content-Length: 2"), b"{}"), "415"),
            ("a slow form", lambda: slowly(to("/vote", form, "Content-Length: 999"), port)[0], "408"),
        ]  # fmt: skip
        tell_cases(cases, server, say, "people", lambda: status_of(port, page) == "200")
        with ThreadPoolExecutor(8) as pool:
            told = Counter(pool.map(lambda _: status_of(port, page), range(120)))
        say.say("people, rate", set(told) == {"200", "429"}, dict(told))


def tell_cases(
    cases: list[tuple[str, Callable[[], str], str]],
    server: Running,
    say: Verdicts,
    name: str,
    goes_on: Callable[[], bool],
) -> None:
    """Try every case, and slow heads beside them; the server has to go on."""
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(slowly, b"GET /health HT", server.port)
        second = pool.submit(second_head, server.port)
        for case, tried, expected in cases:
            status = tried()
            say.say(f"{name}, {case}", status == expected and goes_on(), status)
            time.sleep(0.1)
        for case, slow in (("a slow head", first), ("a slow second head", second)):
            how, seconds = slow.result()
            is_closed = how in ("closed", "400") and seconds < HEAD_SECONDS + 5
            say.say(f"{name}, {case}", is_closed and goes_on(), f"{how} after {seconds:.0f} s")


def crowd(folder: Path, say: Verdicts) -> None:
    """Open more connections than the server may have files; it goes on when these have had their time."""
    with rewards(folder, files=128) as server:
        idle = []
        for _ in range(300):
            connection = socket.socket()
            connection.settimeout(1)
            with suppress(OSError):
                connection.connect(("127.0.0.1", server.port))
            idle.append(connection)
        begun = time.monotonic()
        status = status_of(server.port, head("/health", method="GET"), wait=4 * HEAD_SECONDS)
        seconds = time.monotonic() - begun
        for connection in idle:
            connection.close()
        told = f"{status} after {seconds:.0f} s"
        say.say("rewards, 300 idle connections, 128 files", status == "200", told)
        say.say("rewards, end after that", server.stop() == 0, f"{server.seconds:.1f} s")


# -- stop ------------------------------------------------------------------------------------------


def stops(folder: Path, requests: list[tuple[str, Any, Any]], count: int, say: Verdicts) -> None:
    rng = random.Random(0)
    alone: list[Any] = []
    for number in range(count):
        with rewards(folder) as server:
            alone = alone or asked_alone(server, requests, say)
            stop(server, asks_for_rewards(requests, alone), rng.uniform(1, 3), say, "rewards")
        say.say("rewards, no traceback", "Traceback" not in server.text, server.text.strip())
        name = f"people-{number}"
        with people(folder, name) as server:
            hand_out_tokens(folder, name)
            seen = stop(server, votes, rng.uniform(1, 3), say, "people")
        say.say("people, no traceback", "Traceback" not in server.text, server.text.strip())
        # A vote may have been stored whose answer did not arrive any more: those that were under way.
        say_votes(folder / name, seen.votes, say, more=len(seen.unanswered))


def stop(server: Running, client_of: Any, seconds: float, say: Verdicts, name: str) -> Seen:
    """End a server while 64 clients ask, and look at what they see of it."""
    press = Press(server)
    signalled = 0.0

    async def ended() -> int:
        nonlocal signalled
        await asyncio.sleep(seconds)
        press.is_stopping = True
        signalled = time.monotonic()
        return await asyncio.to_thread(server.stop)

    async def both() -> int:
        status, _ = await asyncio.gather(ended(), press.run(client_of))
        return status

    status = asyncio.run(both())
    is_soon = server.seconds < LONGEST_STOP
    say.say(f"{name}, SIGTERM", status == 0 and is_soon, f"status {status}, {server.seconds:.1f} s")
    errors = {what: number for what, number in press.seen.counts.items() if is_error(what)}
    say.say(f"{name}, answers until then", not errors, press.seen)
    lost = [sent for sent in press.seen.unanswered if sent < signalled - SURELY_READ]
    told = f"{len(press.seen.unanswered)} came too late, {len(lost)} of those in flight got none"
    say.say(f"{name}, in flight", not lost, told)
    return press.seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=["load", "limits", "stop"])
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--stops", type=int, default=10)
    arguments = parser.parse_args()
    say = Verdicts()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        requests = prepare(folder)
        if "load" in arguments.parts:
            loads(folder, requests, arguments.seconds, say)
        if "limits" in arguments.parts:
            limits(folder, say)
        if "stop" in arguments.parts:
            stops(folder, requests, arguments.stops, say)
    print(f"{say.looked_at} looked at, {len(say.wrong)} wrong: {say.wrong}")
    sys.exit(bool(say.wrong))


if __name__ == "__main__":
    main()
