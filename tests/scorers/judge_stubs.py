"""Models that judge by a rule: they read what a judge is sent as a model would, by its frames."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from rewarddiff.hashing import number
from rewarddiff.records import Group
from rewarddiff.scorers.judging.options import Judge
from rewarddiff.scorers.judging.scorer import JudgeScorer, judge_of

from .chat_server import MODEL, Body, ChatServer, asked_text

KEY = "sk-canary-7b1f9d"
"""What no file, log or text may hold."""

Says = Callable[[str, str], float]
"""By how much the first text is better, from −3 to 3."""


def framed(message: str) -> dict[str, str]:
    """What stands between the lines of each frame, by its label."""
    code = re.search(r"stand between lines that end with the code (\w+)", message)
    assert code is not None
    mark = re.escape(code[1])
    texts = {}
    for label in ("prompt", "first response", "second response"):
        opening = rf"^--- {label}, {mark}$\n"
        closing = rf"\n^--- end of the {label}, {mark}$"
        (texts[label],) = re.findall(f"{opening}(.*?){closing}", message, re.S | re.M)
    return texts


def quality(text: str) -> int:
    """From 0 to 3, drawn by the text: what an honest judge sees in it."""
    return number(text, bits=32) % 4


def honest(first: str, second: str) -> float:
    return float(quality(first) - quality(second))


def always_first(first: str, second: str) -> float:
    return 2.0


def saying(says: Says, *, quotes: bool = False) -> Callable[[Body], str]:
    """A model that compares the framed texts by a rule and answers in the form that is asked for."""

    def reply(body: Body) -> str:
        message = asked_text(body)
        texts = framed(message)
        d = says(texts["first response"], texts["second response"])
        quoted = [texts["first response"], texts["second response"]] if quotes else []
        is_graded = "Verdict: 4" in message
        verdict = f"Verdict: {4 - int(d)}" if is_graded else f"Scores: {5 + d:g} 5"
        return "\n".join(["The first says:", *quoted, "So I have compared them.", verdict])

    return reply


def groups(count: int, *, prompt: str = "Prompt") -> list[Group]:
    """Prompts with two responses each, whose qualities differ or not."""
    made = []
    for place in range(count):
        responses = (f"one answer to {place}", f"another answer to {place}")
        made.append(
            Group(f"g{place}", f"{prompt} {place}?", responses, source=f"x.jsonl:{place + 1}")
        )
    return made


def every_pair(of: list[Group]) -> list[list[tuple[int, int]]]:
    return [[(0, 1)] for _ in of]


def values(verdicts: Any) -> list[float]:
    """d of all pairs, one after the other."""
    return [value for of_group in verdicts for value in of_group.values.tolist()]


def judge(server: ChatServer, **options: Any) -> JudgeScorer:
    settings = {"model": MODEL, "timeout": 5.0, "attempts": 2, **options}
    return judge_of(Judge(url=server.url, **settings), "scorers.gpt")


def expected(count: int) -> list[float]:
    pairs = [group.responses for group in groups(count)]
    return [float(quality(a) - quality(b)) for a, b in pairs]
