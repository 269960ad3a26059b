"""Policies' outputs and judges of known taste, for tests of judging."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Body = Mapping[str, Any]

FRAME = re.compile(
    r"^--- (first|second) response, (\w+)\n(.*?)\n--- end of the \1 response, \2$", re.S | re.M
)
"""A response as a judge reads it, between lines that no response can write."""


def responses_in(body: Body) -> tuple[str, str]:
    """Return the two responses that a request is about, as a model would see them."""
    frames = {match[1]: match[3] for match in FRAME.finditer(body["messages"][-1]["content"])}
    return frames["first"], frames["second"]


def by_taste(worth: Callable[[str], float]) -> Callable[[Body], str]:
    """Return a judge that scores a response by itself, from 1 to 10, wherever it stands."""

    def reply(body: Body) -> str:
        scores = [min(10, max(1, round(worth(text)))) for text in responses_in(body)]
        return f"The one is as it is, so is the other.\nScores: {scores[0]} {scores[1]}"

    return reply


def good(text: str) -> float:
    """Count what the tests call good."""
    return 1 + text.count("good")


def always_first(body: Body) -> str:
    """Find that what is read first is better."""
    return "I like the beginning.\nScores: 9 3"


def outputs(path: Path, responses: Sequence[str]) -> str:
    """Write a file of outputs, one prompt each, and return its name."""
    rows = []
    for number, response in enumerate(responses):
        rows.append({"prompt": f"Question {number}?", "response": response})
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(path)
