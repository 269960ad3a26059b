"""How a judge is asked: each message once, what the store keeps not at all, and what that takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewarddiff.remembering import remember
from rewarddiff.scorers.judging.cost import Estimate, copied, estimate, since, spent
from rewarddiff.scorers.judging.forms import Form
from rewarddiff.scorers.judging.options import Judge
from rewarddiff.scorers.judging.questions import Answer, Engine, Unscored
from rewarddiff.store import Store, fingerprint
from rewarddiff.writing import say

HANDFUL = 20
"""Calls beyond which it is said what they will take, and what they took."""


def engine_of(options: Judge, form: Form) -> Engine:
    """Return what asks the language model of a judge, and reads its replies in a form."""
    if options.local is None:
        from rewarddiff.scorers.judging.served import ServedJudge

        return ServedJudge(options, form)
    from rewarddiff.scorers.judging.local import LocalJudge

    return LocalJudge(options, form)


@dataclass(frozen=True)
class Message:
    """What a judge is sent, and the row that it comes from, for errors."""

    text: str
    row: str


@dataclass(frozen=True, eq=False)
class Asking:
    """Asks a judge, and keeps its verdicts; an answer that is none is never kept.

    Attributes:
        name: what the terminal calls the judge.
        answering: what determines an answer beside the message.
        beside: gives what the store is to keep with every answer, see `remember`.
    """

    name: str
    options: Judge
    engine: Engine
    answering: list[object]
    beside: Callable[[], Mapping[str, Any]] = dict

    def answers(
        self, messages: Sequence[Message], store: Store | None, progress: str | None
    ) -> list[Answer]:
        """Return the answer to every message; equal ones are asked once."""
        usage = self.engine.usage
        usage.kept += len(set(map(self._key, messages)))

        def compute(missing: Sequence[Message]) -> Iterator[tuple[int, Answer]]:
            usage.kept -= len(missing)
            return self._asked(missing, store, progress)

        # Each answer is stored as it comes: it has cost money.
        return remember(
            store,
            messages,
            self._key,
            compute,
            alone=True,
            keep=is_verdict,
            seconds=0.0,
            beside=self.beside,
        )

    def estimate(self, messages: Sequence[Message], store: Store | None) -> Estimate:
        """Estimate what asking takes, without what the store holds."""
        by_key = {self._key(message): message for message in messages}
        kept = {} if store is None else store.get(by_key)
        missing = [message.text for key, message in by_key.items() if key not in kept]
        return estimate(missing, self.options)

    def _asked(
        self, messages: Sequence[Message], store: Store | None, progress: str | None
    ) -> Iterator[tuple[int, Answer]]:
        """Ask, and say before and after what it takes where that is more than a handful."""
        texts = [message.text for message in messages]
        rows = [message.row for message in messages]
        usage = self.engine.usage
        says = progress is not None and len(messages) > HANDFUL
        if says:
            say(f"  {self.name}: {estimate(texts, self.options)}", error=True)
        before = copied(usage)
        for place, answer in self.engine.ask(texts, rows, store, progress):
            usage.foresee(estimate([texts[place]], self.options).price)
            yield place, answer
        if says:
            say(f"  {self.name}: {spent(since(before, usage), self.options)}", error=True)

    def _key(self, message: Message) -> str:
        return fingerprint("judge", self.answering, message.text)


def is_verdict(answer: Answer) -> bool:
    """Tell a verdict from an answer that is none."""
    return not isinstance(answer, Unscored)
