"""What preference data says: a prompt, its responses, and what is known of their order.

Plain frozen dataclasses; no torch. Everything else in the package reads these.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation: `role` is system, user, assistant or tool.

    `extras` are the turn's further keys that a chat template may read (`tool_calls`,
    `tool_call_id`, `name`), as a JSON object; empty: none. Those of one turn, as a rule the first,
    hold the conversation's `tools`, which can be called.
    """

    role: str
    content: str
    extras: str = ""

    @classmethod
    def of(cls, role: str, content: str, extras: Mapping[str, Any]) -> Message:
        """The message with these further keys, whose values are plain ones."""
        return cls(role, content, json.dumps(extras, ensure_ascii=False) if extras else "")

    def turn(self) -> dict[str, Any]:
        """The message as chat templates and files have it, with its further keys."""
        extras: dict[str, Any] = json.loads(self.extras) if self.extras else {}
        return {"role": self.role, "content": self.content, **extras}

    def without(self, key: str) -> Message:
        """The message without one of its further keys."""
        extras = {
            name: value
            for name, value in self.turn().items()
            if name not in ("role", "content", key)
        }
        return Message.of(self.role, self.content, extras)


Prompt = str | tuple[Message, ...]
"""A prompt is plain text (fed to the model untouched) or a conversation (rendered by its
template)."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Response `chosen` was preferred to response `rejected` (indices into the group).

    `strength` is what the data itself says about *how much* (vote margin, grade difference,
    confidence), non-negative, in the data's own unit; 0 is a tie; None where the data only gives
    the order.
    """

    chosen: int
    rejected: int
    strength: float | None = None

    def __post_init__(self) -> None:
        if self.chosen == self.rejected:
            raise ValueError(f"a comparison needs two different responses, got {self.chosen} twice")
        if self.strength is not None and not (math.isfinite(self.strength) and self.strength >= 0):
            raise ValueError(f"strength must be finite and non-negative, got {self.strength}")

    @property
    def tie(self) -> bool:
        return self.strength == 0


STYLES = ("concise", "plain", "markdown")
"""How RM-Bench has every answer written, from plain to showy: in short; at length; at length and
formatted."""


@dataclass(frozen=True, slots=True)
class Group:
    """A prompt with its responses and what is known of their order or strength.

    `scores` (higher is better) and `comparisons` may both be present; explicit comparisons win.
    `source` is "file:row", for messages. `topic` names what must not straddle a split where that is
    more than the prompt itself (the debate behind both stances, the opening of a dialogue); empty:
    the prompt. `labels` are what is known of responses by themselves, not against each other:
    desirable (True) or not, None where unknown; empty: of none. `subset` is the part of a
    collection that the data says it is from. `styles` are how responses are written, where the data
    says so: one of `STYLES` each; empty: unknown.
    """

    id: str
    prompt: Prompt
    responses: tuple[str, ...]
    scores: tuple[float, ...] | None = None
    comparisons: tuple[Comparison, ...] = ()
    source: str = ""
    topic: str = ""
    labels: tuple[bool | None, ...] = ()
    subset: str = ""
    styles: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.scores is not None and len(self.scores) != len(self.responses):
            raise ValueError(f"{len(self.responses)} responses but {len(self.scores)} scores")
        if self.labels and len(self.labels) != len(self.responses):
            raise ValueError(f"{len(self.responses)} responses but {len(self.labels)} labels")
        if self.styles and len(self.styles) != len(self.responses):
            raise ValueError(f"{len(self.responses)} responses but {len(self.styles)} styles")
        if any(label is not None and not isinstance(label, bool) for label in self.labels):
            raise ValueError(f"labels are True, False or None, got {self.labels}")
        for c in self.comparisons:
            if not (0 <= c.chosen < len(self.responses) and 0 <= c.rejected < len(self.responses)):
                raise ValueError(
                    f"comparison {c.chosen}>{c.rejected} points outside {len(self.responses)} responses"
                )

    def known_comparisons(self) -> Iterator[Comparison]:
        """The explicit comparisons, or else every pair the scores order (equal scores: a tie)."""
        if self.comparisons:
            yield from self.comparisons
        elif self.scores is not None:
            for i, j in combinations(range(len(self.responses)), 2):
                gap = self.scores[i] - self.scores[j]
                yield Comparison(i, j, gap) if gap >= 0 else Comparison(j, i, -gap)

    def known_labels(self) -> Iterator[tuple[int, bool]]:
        """The responses that are labelled by themselves, and whether each is desirable."""
        return ((i, label) for i, label in enumerate(self.labels) if label is not None)


def turns_and_tools(messages: Iterable[Message]) -> tuple[list[dict[str, Any]], list[Any] | None]:
    """A conversation as chat templates take it: its turns, and apart from them its tools, None
    where there are none."""
    turns = [message.turn() for message in messages]
    tools: list[Any] = []
    for turn in turns:
        tools += turn.pop("tools", [])
    return turns, tools or None


def plain_prompt(prompt: Prompt) -> str | list[dict[str, Any]]:
    """The prompt as files of data have it: plain text, or turns."""
    return prompt if isinstance(prompt, str) else [message.turn() for message in prompt]


def prompt_text(prompt: Prompt) -> str:
    """The prompt as readable text: plain prompts as they are, conversations one turn a paragraph.

    Tools, and calls of tools, follow their turn as JSON.
    """
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1:
        return prompt[0].content + prompt[0].extras
    return "\n\n".join(f"{m.role}: {m.content}{m.extras}" for m in prompt)
