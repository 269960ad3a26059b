"""Prompts answered in batches of similar length, and the answers kept in the store."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from rewarddiff.encoding import Encoder
from rewarddiff.machine import Meter
from rewarddiff.progress import task
from rewarddiff.records import Group, Prompt
from rewarddiff.remembering import remember
from rewarddiff.store import Store

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Sample:
    """A response, and whether it ended by itself.

    It did by its end token or a stop text; otherwise `max_new_tokens` cut it.
    """

    text: str
    ended: bool


def has_stop(text: str, stops: Sequence[str]) -> bool:
    """Tell whether a stop text stands in a response."""
    return any(stop in text for stop in stops)


def before_stop(text: str, stops: Sequence[str]) -> str:
    """Return a response up to the first stop text, without space at its end."""
    for stop in stops:
        text = text.split(stop, 1)[0]
    return text.rstrip()


def until_end(tokens: Sequence[int], ends: Collection[int]) -> list[int]:
    """Return tokens up to and without the first that ends a response."""
    for place, token in enumerate(tokens):
        if token in ends:
            return list(tokens[:place])
    return list(tokens)


def stopped(text: str, stops: Sequence[str], *, ended: bool) -> dict[str, Any]:
    """Return a response as it is stored: cut before the first stop text, which also ends it.

    Args:
        ended: whether it ended by its end token.
    """
    return asdict(Sample(before_stop(text, stops), ended or has_stop(text, stops)))


def answers(
    prompts: Sequence[Tokens],
    answer: Callable[[Sequence[Tokens]], Sequence[Any]],
    *,
    key: Callable[[Tokens], str],
    store: Store | None,
    batch_size: int,
    name: str,
    meter: Meter | None = None,
) -> list[Any]:
    """Return the answer to every prompt, computing only those the store does not hold.

    Args:
        answer: gives a batch's answers, ready for JSON.
        key: of an answer in the store.
        name: of the progress that is shown.
        meter: of the work, which the store may keep with the answers.
    """

    def compute(missing: Sequence[Tokens]) -> Iterator[tuple[int, Any]]:
        by_length = sorted(range(len(missing)), key=lambda place: len(missing[place]))
        with task(name, len(missing)) as progress:
            for start in range(0, len(missing), batch_size):
                places = by_length[start : start + batch_size]
                batch = [missing[place] for place in places]
                yield from zip(places, answer(batch), strict=True)
                progress.advance(len(places))

    beside = dict if meter is None else meter.beside
    return remember(store, prompts, key, compute, beside=beside)


def row_names(rows: Sequence[str], count: int) -> list[str]:
    """Return what errors call prompts: where they come from, or else their numbers."""
    return list(rows) or [f"prompt {number} of {count}" for number in range(1, count + 1)]


def require_readable(encoder: Encoder, prompts: Sequence[Prompt], names: Sequence[str]) -> None:
    """Raise a UserError that names the first prompt which the chat template refuses.

    Args:
        names: what errors call the prompts, see `row_names`.
    """
    encoder.require(Group(name, prompt, ()) for name, prompt in zip(names, prompts, strict=True))


def left_padded(
    prompts: Sequence[Sequence[int]], pad: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return ids and mask of prompts filled up at the left, (prompts, longest) both."""
    width = max(map(len, prompts))
    ids = [[pad] * (width - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def padding(tokenizer: Any, ends: Sequence[int]) -> int:
    """Return the token that fills rows up: the tokenizer's own, or else an end token."""
    pad: int | None = tokenizer.pad_token_id
    return ends[0] if pad is None else pad
