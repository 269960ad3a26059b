"""What preference data says: a prompt, its responses, and what is known of their order.

Plain frozen dataclasses; no torch. Everything else in the package reads these.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, TypeGuard, TypeVar

Value = TypeVar("Value")

LARGEST = 3.4028234663852886e38
"""The largest number of float32, in which models compute: a larger one would be infinite there."""


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether a value of JSON is a number: true and false, which Python counts with, are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation: `role` is system, user, assistant or tool.

    `extras` are the turn's further keys that a chat template may read (`tool_calls`,
    `tool_call_id`, `name`), as a JSON object; empty: none. One turn, as a rule the first, holds
    the `tools` that the whole conversation may call.
    """

    role: str
    content: str
    extras: str = ""

    @classmethod
    def of(cls, role: str, content: str, extras: Mapping[str, Any]) -> Message:
        """Return the message with these further keys, whose values are plain ones."""
        return cls(role, content, json.dumps(extras, ensure_ascii=False) if extras else "")

    def turn(self) -> dict[str, Any]:
        """Return the message as chat templates and files have it, with its further keys."""
        turn = {"role": self.role, "content": self.content}
        if self.extras:
            turn.update(json.loads(self.extras))
        return turn

    def without(self, key: str) -> Message:
        """Return the message without one of its further keys."""
        extras = self.turn()
        for name in {"role", "content", key} & extras.keys():
            del extras[name]
        return Message.of(self.role, self.content, extras)


class Rendered(str):
    """A conversation up to the reply as a chat template has written it.

    Its responses hold what the template writes behind a reply. Both are read as they stand.
    """

    __slots__ = ()


Prompt = str | tuple[Message, ...]
"""Plain text (given to the model untouched) or a conversation (written by its chat template)."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Response `chosen` was preferred to response `rejected` (indices into the group).

    `strength` is what the data itself says about *how much* (vote margin, grade difference,
    confidence), non-negative, in the data's own unit; 0 is a tie; None where the data only gives
    the order. `coefficient` is what the data says its loss is to be multiplied by; None where it
    does not say.
    """

    chosen: int
    rejected: int
    strength: float | None = None
    coefficient: float | None = None

    def __post_init__(self) -> None:
        if self.chosen == self.rejected:
            raise ValueError(f"a comparison needs two different responses, got {self.chosen} twice")
        if self.strength is not None and not 0 <= self.strength <= LARGEST:
            raise ValueError(f"strength must be finite and non-negative, got {self.strength}")
        if self.coefficient is not None and not abs(self.coefficient) <= LARGEST:
            raise ValueError(f"coefficient must be finite, got {self.coefficient}")

    @classmethod
    def by_gap(cls, i: int, j: int, gap: float) -> Comparison:
        """Return the comparison of responses i and j, where i is rated `gap` above j (or below)."""
        return cls(i, j, gap) if gap >= 0 else cls(j, i, -gap)

    @property
    def tie(self) -> bool:
        return self.strength == 0


STYLES = ("concise", "plain", "markdown")
"""How RM-Bench writes each answer, plain to showy: short; at length; at length and formatted."""


@dataclass(frozen=True, slots=True)
class Group:
    """A prompt with its responses and what is known of their order or strength.

    Attributes:
        scores: one for each response, higher is better. Where there are `comparisons` as well,
            these are what counts.
        source: "file:row", for messages.
        topic: what must not straddle a split where that is more than the prompt itself (the debate
            behind both stances, the opening of a dialogue); empty: the prompt.
        labels: what is known of responses by themselves, not against each other: desirable (True)
            or not, None where unknown; empty: nothing is known of any.
        subset: the part of a collection that the data says it is from.
        styles: how each response is written, one of `STYLES`; empty: unknown.
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
        count = len(self.responses)
        if self.scores is not None and len(self.scores) != count:
            raise ValueError(f"{count} responses but {len(self.scores)} scores")
        if self.labels and len(self.labels) != count:
            raise ValueError(f"{count} responses but {len(self.labels)} labels")
        if self.styles and len(self.styles) != count:
            raise ValueError(f"{count} responses but {len(self.styles)} styles")
        for label in self.labels:
            if label is not None and not isinstance(label, bool):
                raise ValueError(f"labels are True, False or None, got {self.labels}")
        for c in self.comparisons:
            if not (0 <= c.chosen < count and 0 <= c.rejected < count):
                raise ValueError(
                    f"comparison {c.chosen}>{c.rejected} points outside {count} responses"
                )

    def known_comparisons(self) -> Iterator[Comparison]:
        """Yield the explicit comparisons, or else every pair the scores order (equal: a tie)."""
        if self.comparisons:
            yield from self.comparisons
        elif self.scores is not None:
            for i, j in combinations(range(len(self.responses)), 2):
                yield Comparison.by_gap(i, j, self.scores[i] - self.scores[j])

    def known_labels(self) -> Iterator[tuple[int, bool]]:
        """Yield the index of every response that has a label, and whether it is desirable."""
        return ((i, label) for i, label in enumerate(self.labels) if label is not None)

    def take(self, indices: Sequence[int]) -> Group:
        """Return the group with these responses only, in this order, and what is known of them."""
        places = {index: place for place, index in enumerate(indices)}
        comparisons = []
        for c in self.comparisons:
            if c.chosen in places and c.rejected in places:
                comparisons.append(replace(c, chosen=places[c.chosen], rejected=places[c.rejected]))
        return replace(
            self,
            responses=_picked(self.responses, indices),
            scores=None if self.scores is None else _picked(self.scores, indices),
            comparisons=tuple(comparisons),
            labels=_picked(self.labels, indices),
            styles=_picked(self.styles, indices),
        )

    def with_responses(self, responses: Iterable[str]) -> Group:
        """Return the group's prompt with other responses, of which nothing is known yet."""
        return replace(
            self, responses=tuple(responses), scores=None, comparisons=(), labels=(), styles=()
        )


def _picked(values: tuple[Value, ...], indices: Iterable[int]) -> tuple[Value, ...]:
    """Return one value for each response taken; none where none are known."""
    return tuple(values[i] for i in indices) if values else ()


def turns_and_tools(messages: Iterable[Message]) -> tuple[list[dict[str, Any]], list[Any] | None]:
    """Return a conversation's turns, and apart from them its tools (None: it has none)."""
    turns = [message.turn() for message in messages]
    tools: list[Any] = []
    for turn in turns:
        tools += turn.pop("tools", [])
    return turns, tools or None


def plain_prompt(prompt: Prompt) -> str | list[dict[str, Any]]:
    """Return the prompt as files of data have it: plain text, or turns."""
    return prompt if isinstance(prompt, str) else [message.turn() for message in prompt]


def prompt_text(prompt: Prompt) -> str:
    """Return the prompt as readable text: a conversation has one turn a paragraph.

    Tools, and calls of tools, follow their turn as JSON.
    """
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1:
        return prompt[0].content + prompt[0].extras
    return "\n\n".join(f"{m.role}: {m.content}{m.extras}" for m in prompt)
