"""A stand-in for the Hugging Face hub: it takes commits, and keeps what they hold."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager

from loopback import Answering, listening

TOKEN = "hf_stand_in"


class Hub:
    """What was put there.

    Attributes:
        created: names of repositories, each with whether it is private.
        files: of every commit, path → content.
        refuses: status of every answer to a commit, where it is refused.
    """

    def __init__(self) -> None:
        self.created: dict[str, bool] = {}
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.refuses: int | None = None
        self.url = ""


class Handler(Answering):
    """Answers one request."""

    state: Hub

    def do_GET(self) -> None:
        self.answered()

    def do_POST(self) -> None:
        self.answered()

    def answered(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.state.asked.append(f"{self.command} {self.path}")
        if not self.bears(TOKEN):
            self.send(401, {"error": "Invalid user token."})
            return
        self.route(self.path.partition("?")[0], body)

    def route(self, path: str, body: bytes) -> None:
        hub = self.state
        if path == "/api/whoami-v2":
            self.send(200, {"name": "me", "type": "user", "orgs": [], "auth": {}})
        elif path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            hub.created[name] = asked.get("visibility") == "private"
            self.send(200, {"url": f"{hub.url}/{name}", "name": name})
        elif path == "/api/validate-yaml":
            self.send(200, {"errors": [], "warnings": []})
        elif "/preupload/" in path:
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            self.send(200, {"files": files})
        elif "/commit/" in path and hub.refuses is not None:
            self.send(hub.refuses, {"error": "no"})
        elif "/commit/" in path:
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    content = base64.b64decode(entry["value"]["content"])
                    hub.files[entry["value"]["path"]] = content
            name = path.removeprefix("/api/models/").partition("/commit/")[0]
            place = f"{hub.url}/{name}/commit/{'0' * 40}"
            self.send(200, {"commitUrl": place, "commitOid": "0" * 40, "pullRequestUrl": None})
        else:
            self.send(404, {"error": "not here"}, X_Error_Code="RepoNotFound")


@contextmanager
def hub() -> Iterator[Hub]:
    """Serve an empty hub while the block runs."""
    state = Hub()
    with listening(Handler, state) as state.url:
        yield state
