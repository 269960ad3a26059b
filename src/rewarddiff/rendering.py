"""Chat templates rendered in a process of their own, with a limit on time and memory.

A template is a program that comes with a model: it may loop for ever, or double a string until no
memory is left. One process renders all of them, by transformers' own function. It is started at the
first conversation, which takes about two seconds, and ends with this one. A rendering beyond a
limit ends it, and is reported as `RenderingError`.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any

SECONDS = 10
"""Of the processor, for one conversation."""
MEGABYTES = 512
"""Of memory, for all that a template makes."""
CHARACTERS = 1_000_000
"""That a template may write, besides four times what it was given."""


class RenderingError(Exception):
    """No text: the template goes beyond a limit."""


@dataclass(frozen=True)
class Refusal:
    """A conversation that was not rendered.

    Attributes:
        cause: what the template says, or what is wrong with it.
        meant: the template refuses on purpose, by its `raise_exception`; otherwise it failed.
    """

    cause: str
    meant: bool


def render(
    template: str, conversations: Sequence[Mapping[str, Any]], variables: Mapping[str, Any]
) -> list[str | Refusal]:
    """Return the text of every conversation, or why there is none.

    Args:
        conversations: arguments of transformers' `render_jinja_template`: `messages`, and what else
            is asked for.
        variables: what the template knows besides, such as the names of special tokens.

    Raises:
        RenderingError: rendering takes more time or memory than a chat template needs.
    """
    return _renderer(os.getpid()).render(template, conversations, variables)


@cache
def _renderer(process: int) -> Renderer:
    """Return the renderer of this process; one that was forked from it needs another."""
    renderer = Renderer()
    atexit.register(renderer.close)
    return renderer


class Renderer:
    """The process that renders, started when it is needed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = Lock()

    def render(
        self,
        template: str,
        conversations: Sequence[Mapping[str, Any]],
        variables: Mapping[str, Any],
    ) -> list[str | Refusal]:
        """Do as the function `render`."""
        with self._lock:
            try:
                texts = self._texts(template, conversations, variables)
            except BaseException:
                # Also after Ctrl-C: an answer that is not read would be that to the next question.
                self._end()
                raise
        return [Refusal(**text) if isinstance(text, dict) else text for text in texts]

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _texts(
        self,
        template: str,
        conversations: Sequence[Mapping[str, Any]],
        variables: Mapping[str, Any],
    ) -> list[str | dict[str, Any]]:
        """Ask the process; a `Refusal` is a dictionary."""
        process = self._process or self._start()
        question = {"template": template, "conversations": conversations, "variables": variables}
        line = _ask(process, json.dumps(question, default=str).encode())
        if not line.endswith(b"\n"):
            raise RenderingError(
                f"it takes more than {SECONDS} s or {MEGABYTES} MB for a conversation"
            )
        texts: list[str | dict[str, Any]] = json.loads(line)
        return texts

    def _start(self) -> subprocess.Popen[bytes]:
        """Start the process.

        It finds the modules that this process finds, and Ctrl-C, which ends this one, does not
        reach it.
        """
        search_path = os.pathsep.join(path or os.getcwd() for path in sys.path)
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, str(SECONDS), str(MEGABYTES)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                env={**os.environ, "PYTHONPATH": search_path}, start_new_session=True,
            )  # fmt: skip
            self._process = process
            assert process.stdout is not None
            if not process.stdout.readline():
                process.wait()
                errors.seek(0)
                cause = errors.read().decode(errors="replace")[-2000:]
                raise RuntimeError(
                    f"the process that renders chat templates does not start: {cause}"
                )
        return process

    def _end(self) -> None:
        process = self._process
        self._process = None
        if process is not None:
            process.kill()
            process.communicate()


def _ask(process: subprocess.Popen[bytes], question: bytes) -> bytes:
    """Return the answer to a question, a line each; nothing where the process ended."""
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError):
        process.stdin.write(question + b"\n")
        process.stdin.flush()
    return process.stdout.readline()


def serve(seconds: float, megabytes: int) -> None:
    """Answer questions from standard input until there are no more, or a limit ends the process."""
    answers = os.fdopen(os.dup(1), "wb")
    # What a library prints is no answer.
    os.dup2(2, 1)
    # Imported before memory is limited.
    from transformers.utils.chat_template_utils import render_jinja_template  # noqa: F401

    _limit_memory(megabytes)
    answers.write(b"ready\n")
    answers.flush()
    for line in sys.stdin.buffer:
        question = json.loads(line)
        texts = []
        for conversation in question["conversations"]:
            _limit_time(seconds)
            texts.append(_text(question["template"], conversation, question["variables"]))
        answers.write(json.dumps(texts).encode() + b"\n")
        answers.flush()


def _text(
    template: str, conversation: Mapping[str, Any], variables: Mapping[str, Any]
) -> str | dict[str, Any]:
    """Return the text of a conversation, or a `Refusal` as a dictionary."""
    from jinja2.exceptions import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    arguments = {**variables, **conversation}
    messages = arguments.pop("messages")
    try:
        texts: Any = render_jinja_template([messages], chat_template=template, **arguments)[0]
    except MemoryError:
        raise
    except Exception as error:  # a template can raise whatever Python can
        # What a template raises on purpose; the subclasses are mistakes.
        if type(error) is TemplateError:
            return {"cause": str(error), "meant": True}
        return {"cause": f"{type(error).__name__}: {error}", "meant": False}
    text: str = texts[0]
    if len(text) > CHARACTERS + 4 * len(json.dumps(conversation)):
        raise MemoryError
    return text


def _limit_time(seconds: float) -> None:
    """End this process after so many more seconds of the processor, also within an operation."""
    import signal

    if hasattr(signal, "setitimer"):  # not on Windows
        # Its signal ends a process that does not catch it.
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _limit_memory(megabytes: int) -> None:
    """Let this process have so much more memory than it has."""
    # Linux keeps to it; other systems may have no such limit.
    with suppress(ImportError, ValueError, OSError):
        import resource

        with open("/proc/self/statm", encoding="ascii") as file:
            pages = int(file.read().split()[0])
        limit = pages * resource.getpagesize() + megabytes * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    serve(float(sys.argv[1]), int(sys.argv[2]))
