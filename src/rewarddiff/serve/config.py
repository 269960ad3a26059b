"""How a server is run, and its limits."""

from __future__ import annotations

from dataclasses import dataclass

from rewarddiff.config import at_least, checked, positive


@checked
@dataclass(frozen=True)
class ServeConfig:
    """Limits of a server; none of them changes a number that it gives.

    Attributes:
        batch: responses read together, at most; 1: one request at a time.
        wait: seconds in which nothing more comes before what has come is read.
        queue: responses that may wait, at most; what comes then is answered 429.
        body: bytes of a request's body, at most.
        body_seconds: for a request's body to arrive.
        rate: requests a second of one client, at most; so many may come at once.
        stop_seconds: for what was accepted to be answered when the server is ended.
    """

    batch: int = 256
    wait: float = 0.005
    queue: int = 4096
    body: int = 8 * 2**20
    body_seconds: float = 30.0
    rate: float | None = None
    stop_seconds: int = 60

    def __post_init__(self) -> None:
        at_least(self, 1, "batch", "queue", "body")
        at_least(self, 0, "wait")
        positive(self, "body_seconds", "rate", "stop_seconds")
