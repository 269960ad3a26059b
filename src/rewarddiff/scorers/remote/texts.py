"""What of a prompt and its response is sent to a server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rewarddiff import models
from rewarddiff.encoding import Encoder, LengthConfig
from rewarddiff.errors import UserError
from rewarddiff.records import Group, Message, Prompt, turns_and_tools

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Split:
    """A prompt and a response apart, as `rewarddiff serve` takes them."""

    prompt: Prompt
    response: str


@dataclass(frozen=True)
class Conversation:
    """A prompt's turns and the response's, written by the server's chat template."""

    messages: tuple[Message, ...]

    @property
    def turns(self) -> list[dict[str, Any]]:
        return [message.turn() for message in self.messages]


Sent = str | Tokens | Conversation | Split

Write = Callable[[Group, Sequence[int]], list[Sent]]
"""Makes what is sent of some of a group's responses."""


def apart(group: Group, places: Sequence[int]) -> list[Sent]:
    """Return prompts and responses as they are."""
    return [Split(group.prompt, group.responses[place]) for place in places]


def as_written(group: Group, places: Sequence[int]) -> list[Sent]:
    """Return plain prompts with their response in one text, and conversations as turns.

    Raises:
        UserError: a conversation has tools, which servers take only as part of the text.
    """
    prompt = group.prompt
    if isinstance(prompt, str):
        return [prompt + group.responses[place] for place in places]
    _, tools = turns_and_tools(prompt)
    if tools is not None:
        raise UserError(
            f"{group.source or group.id}: its tools cannot be sent as messages; "
            "name the served model's folder as template, and they are written here"
        )
    conversations: list[Sent] = []
    for place in places:
        reply = Message("assistant", group.responses[place])
        conversations.append(Conversation((*prompt, reply)))
    return conversations


def by_template(name: str) -> Write:
    """Return what writes and tokenises texts as a reward model reads them in training.

    Args:
        name: folder or hub name of the model; its tokenizer is loaded.
    """
    tokenizer = models.saved_tokenizer(name)
    encoder = Encoder(tokenizer, LengthConfig())

    def write(group: Group, places: Sequence[int]) -> list[Sent]:
        encoder.require([group])
        return list(encoder.wholes(group.prompt, [group.responses[place] for place in places]))

    return write
