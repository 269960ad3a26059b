"""A judge behind an OpenAI-compatible server."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import nullcontext

from rewarddiff.endpoints.answers import OF_CONTENT, Failed
from rewarddiff.endpoints.chat import Asked, Chat, Reply, Usage
from rewarddiff.endpoints.client import Patience
from rewarddiff.errors import UserError
from rewarddiff.progress import task
from rewarddiff.scorers.judging.forms import Form, NoVerdict
from rewarddiff.scorers.judging.options import Judge
from rewarddiff.scorers.judging.questions import Answer, Unscored
from rewarddiff.store import Store

logger = logging.getLogger(__name__)

FIRST_WAIT = 0.5
"""Seconds before a request is sent again."""
TOP = 20
"""Alternatives asked for with every token: as many as servers give."""
OF_ONE = OF_CONTENT | {200}
"""Statuses after which other messages may fare better: refused for its content, or answered with
something that is no reply."""


class ServedJudge:
    """Asks a server: see `questions.Engine`.

    Raises:
        UserError: the address is none, or the variable of the key is not set.
    """

    def __init__(self, options: Judge, form: Form) -> None:
        assert options.url is not None
        assert options.model is not None
        patience = Patience(options.timeout, options.attempts, FIRST_WAIT)
        self.usage = Usage()
        self._options = options
        self._form = form
        self._chat = Chat(
            options.url,
            options.model,
            key_env=options.key_variable,
            patience=patience,
            on_repeat=lambda error: self._count_failure(error.kind),
        )
        self.usage.notes = self._chat.notes
        self._lock = threading.Lock()
        self._refusals: list[UserError] = []

    def __repr__(self) -> str:
        return f"ServedJudge({self._options.url!r}, {self._options.model!r})"

    def check(self) -> None:
        """See that the server has such a model. Raises UserError: see `Chat.check`."""
        self._chat.check()

    def ask(
        self,
        messages: Sequence[str],
        rows: Sequence[str],
        store: Store | None,
        progress: str | None,
    ) -> Iterator[tuple[int, Answer]]:
        """Yield place and answer of every message: see `questions.Engine`."""
        jobs = list(zip(messages, rows, strict=True))
        with task(progress, len(jobs)) if progress else nullcontext() as line:
            answers = self._chat.client.each(jobs, self._answer, self._options.concurrency)
            for place, answer in answers:
                yield place, answer
                if line is not None:
                    line.advance()
        self._require_an_answer()

    def _answer(self, job: tuple[str, str]) -> Answer:
        """Return the verdict on one message, which is asked for again where a reply holds none."""
        message, row = job
        cause = ""
        for _ in range(self._options.attempts):
            try:
                reply = self._chat.reply(self._asked(message))
            except Failed as error:
                return self._failed(error, row)
            self._count(reply)
            try:
                return self._form(reply)
            except NoVerdict as error:
                cause = str(error)
                self._count_failure(cause)
            if self._chat.client.stopped:
                break
        return Unscored(cause)

    def _asked(self, message: str) -> Asked:
        options = self._options
        return Asked(
            messages=({"role": "user", "content": message},),
            max_tokens=options.max_tokens,
            temperature=options.temperature,
            seed=options.seed,
            top_logprobs=TOP if options.asks_logprobs else 0,
        )

    def _count(self, reply: Reply) -> None:
        with self._lock:
            self.usage.calls += 1
            self.usage.count(reply.prompt_tokens, reply.completion_tokens)

    def _count_failure(self, cause: str) -> None:
        with self._lock:
            self.usage.fail(cause)

    def _failed(self, error: Failed, row: str) -> Unscored:
        """Return what is left of a message that got no reply.

        Raises:
            UserError: no other message would get one.
        """
        self._count_failure(error.kind)
        explained = self._chat.explained(error, row=row)
        if error.status not in OF_ONE:
            raise explained from error
        with self._lock:
            self._refusals.append(explained)
        logger.warning("%s", explained)
        return Unscored(error.kind)

    def _require_an_answer(self) -> None:
        """Raise the first refusal where all that was asked is refused: then it is not the texts.

        It is looked at in the end alone: a content filter may well refuse the first few.
        """
        answered = self.usage.calls + self.usage.kept
        if not answered and self._refusals:
            raise self._refusals[0]
