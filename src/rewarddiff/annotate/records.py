"""What a project of blind comparison is made of: pairs, shown items, votes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rewarddiff.records import Message, Prompt, plain_prompt

Receipt = Literal["stored", "known", "answered"]
"""What became of a vote: stored now, stored before by the same form, or the item had an answer."""

NAME = "annotations.sqlite"
"""The file of a project, in its folder."""


@dataclass(frozen=True)
class Pair:
    """Two responses to one prompt, and where they are from.

    Attributes:
        source: "a" and "b" name what wrote them, "row" is the place of the data.
    """

    prompt: Prompt
    a: str
    b: str
    source: Mapping[str, str]


@dataclass(frozen=True)
class Shown:
    """An item as one annotator sees it.

    Attributes:
        id: of the item.
        responses: the first (on the left) and the second.
        reason: what the annotator wrote with a vote that was undone.
    """

    id: str
    prompt: Prompt
    responses: tuple[str, str]
    reason: str = ""


@dataclass(frozen=True)
class Answer:
    """What an annotator says of an item.

    Attributes:
        toward_first: steps by which the first response is better; negative: the second; 0: a
            tie; None: skipped.
        nonce: of the form that was sent.
    """

    item: str
    toward_first: int | None
    reason: str
    nonce: str


@dataclass(frozen=True)
class Progress:
    """Votes given, those among them that skip, and items in all."""

    done: int
    skipped: int
    total: int


def prompt_as_json(prompt: Prompt) -> str:
    """Return a prompt as a project's file has it."""
    return json.dumps(plain_prompt(prompt))


def prompt_from_json(text: str) -> Prompt:
    """Return the prompt that `prompt_as_json` has written."""
    prompt = json.loads(text)
    if isinstance(prompt, str):
        return prompt
    messages = []
    for turn in prompt:
        extras = {key: value for key, value in turn.items() if key not in ("role", "content")}
        messages.append(Message.of(turn["role"], turn["content"], extras))
    return tuple(messages)
