"""What a judge is asked: a prompt with two responses in one order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from rewarddiff.endpoints.chat import Usage
from rewarddiff.hashing import uniform
from rewarddiff.records import Group, plain_prompt
from rewarddiff.store import Store, fingerprint


@dataclass(frozen=True)
class Question:
    """Which of two responses is better, of which `first` is read first.

    Attributes:
        first, second: places in the group.
    """

    group: Group
    first: int
    second: int

    @property
    def texts(self) -> tuple[str, str]:
        """The responses in their order."""
        return self.group.responses[self.first], self.group.responses[self.second]

    @property
    def row(self) -> str:
        """Where it comes from, for errors."""
        return self.group.source or self.group.id


@dataclass(frozen=True)
class Unscored:
    """A judge was asked and gave no verdict; says why."""

    cause: str


Answer = float | Unscored
"""A verdict, positive where what was read first is better, or none."""


class Engine(Protocol):
    """Asks a language model.

    Attributes:
        usage: what was asked for so far.
    """

    @property
    def usage(self) -> Usage: ...

    def check(self) -> None:
        """See that it can be asked. Raises UserError: it cannot."""
        ...

    def ask(
        self,
        messages: Sequence[str],
        rows: Sequence[str],
        store: Store | None,
        progress: str | None,
    ) -> Iterator[tuple[int, Answer]]:
        """Yield place and answer of every message, as they come.

        Args:
            rows: where each comes from, for errors.
            store: where replies are kept that cost no money, and much time.
            progress: name of the progress line; None: none.

        Raises:
            UserError: the judge cannot be asked at all.
        """
        ...


def is_tie(question: Question) -> bool:
    """Tell whether both responses are the same text, of which neither can be better."""
    first, second = question.texts
    return first == second


def read_first(group: Group, a: int, b: int, seed: int) -> int:
    """Return which of two responses is read first where one order is asked.

    It is drawn by the texts and the seed, so that (a, b) and (b, a) are the same question.
    """
    one, other = sorted((a, b), key=lambda place: group.responses[place])
    texts = [plain_prompt(group.prompt), group.responses[one], group.responses[other]]
    return one if uniform(fingerprint("first", seed, texts)) < 0.5 else other
