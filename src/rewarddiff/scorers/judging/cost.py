"""What judging takes: calls, tokens and their price."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rewarddiff.endpoints.chat import Usage
from rewarddiff.scorers.judging.options import Judge
from rewarddiff.writing import counted

CHARACTERS_PER_TOKEN = 4
"""Of English texts, about."""
MILLION = 1e6


@dataclass(frozen=True)
class Estimate:
    """What is going to be asked for, about: tokens are counted as characters / 4, and a reply as
    half of `max_tokens`.

    Attributes:
        price: None where the judge's options name none.
    """

    calls: int
    prompt_tokens: int
    completion_tokens: int
    price: float | None

    def times(self, factor: float) -> Estimate:
        """Return the estimate of so many times as much."""
        return Estimate(
            round(self.calls * factor),
            round(self.prompt_tokens * factor),
            round(self.completion_tokens * factor),
            None if self.price is None else self.price * factor,
        )

    def __str__(self) -> str:
        cost = "" if self.price is None else f", price {self.price:,.2f}"
        return (
            f"{counted(self.calls, 'call')}, by estimate {self.prompt_tokens:,} tokens read and "
            f"{self.completion_tokens:,} written{cost}"
        )


def estimate(messages: Sequence[str], options: Judge) -> Estimate:
    """Estimate what asking these messages takes."""
    read = sum(len(message) // CHARACTERS_PER_TOKEN for message in messages)
    written = len(messages) * options.max_tokens // 2
    return Estimate(len(messages), read, written, price(read, written, options))


def price(prompt_tokens: int | None, completion_tokens: int | None, options: Judge) -> float | None:
    """Return the price of tokens; None where they are not counted, or have none."""
    if options.price_in is None or options.price_out is None:
        return None
    if prompt_tokens is None or completion_tokens is None:
        return None
    return (prompt_tokens * options.price_in + completion_tokens * options.price_out) / MILLION


def spent(usage: Usage, options: Judge) -> str:
    """Say what was asked for and paid so far."""
    return told(usage, price(usage.prompt_tokens, usage.completion_tokens, options))


def told(usage: Usage, paid: float | None) -> str:
    """Say what was asked for, and paid where that is known."""
    parts = [counted(usage.calls, "call")]
    if usage.prompt_tokens is not None and usage.completion_tokens is not None:
        parts.append(f"{usage.prompt_tokens:,} tokens read, {usage.completion_tokens:,} written")
    if paid is not None:
        parts.append(f"price {paid:,.2f}")
    for cause, count in sorted(usage.failures.items()):
        parts.append(f"{count:,} failed ({cause})")
    return ", ".join(parts)


def copied(usage: Usage) -> Usage:
    """Return the usage as it is now."""
    return replace(usage, failures=dict(usage.failures))


def since(before: Usage, after: Usage) -> Usage:
    """Return what was used between two moments."""
    failures = Counter(after.failures)
    failures.subtract(before.failures)
    return Usage(
        calls=after.calls - before.calls,
        kept=after.kept - before.kept,
        prompt_tokens=_between(before.prompt_tokens, after.prompt_tokens),
        completion_tokens=_between(before.completion_tokens, after.completion_tokens),
        failures=dict(+failures),
    )


def _between(before: int | None, after: int | None) -> int | None:
    return None if after is None else after - (before or 0)
