"""What a request is answered where it gets no reward: a status and one line, never a number."""

from __future__ import annotations


class Failure(Exception):
    """An HTTP error: its status, a line that a person can act on, and when to come again.

    Attributes:
        retry_after: seconds.
        of_all: whether all that is read together fails with it, and not one request by itself.
    """

    def __init__(
        self, status: int, message: str, *, retry_after: int | None = None, of_all: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after = retry_after
        self.of_all = of_all


def refused(message: str) -> Failure:
    """Return the answer to a request that can be read and not be scored."""
    return Failure(422, message)
