"""What a judge, or another model behind a server, was asked for and paid at any time, kept beside its answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from rewarddiff.endpoints.chat import Usage
from rewarddiff.scorers.judging.cost import price
from rewarddiff.scorers.judging.options import Judge
from rewarddiff.scorers.judging.scorer import JudgeScorer
from rewarddiff.store import Store, fingerprint

NOTHING: Mapping[str, Any] = {
    "calls": 0,
    "kept": 0,
    "prompt_tokens": None,
    "completion_tokens": None,
    "price": None,
    "failures": {},
    "estimated_price": None,
    "notes": [],
}

ADDED = ("calls", "kept", "prompt_tokens", "completion_tokens", "price", "estimated_price")


@dataclass(frozen=True, eq=False)
class Account:
    """What a judge is asked for from now on, on top of what the store knows of earlier times.

    The judge writes it with every answer, in one step: a kill leaves no answer without its price. So does
    a server that is asked for samples.

    Attributes:
        key: of the figures in the store.
        earlier: the figures of earlier times.
        usage: of the judge, opened for this alone.
        options: of a judge, with its prices; None: they are not known.
    """

    key: str
    earlier: Mapping[str, Any]
    usage: Usage
    options: Judge | None

    @classmethod
    def opened(cls, store: Store, key: str, usage: Usage, options: Judge | None = None) -> Account:
        """Go on with the account that the store has under a key."""
        return cls(key, store.get([key]).get(key, {}), usage, options)

    def so_far(self) -> dict[str, Any]:
        """Return the figures of all times, as the store keeps them."""
        return {self.key: _added(self.earlier, figures(self.usage, self.options))}

    def beside(self) -> dict[str, Any]:
        """Return what is written with an answer; nothing before the first: it leaves a store empty."""
        return self.so_far() if self.usage.calls else {}


class Accounted(NamedTuple):
    """A judge that keeps an account, and this account."""

    judge: JudgeScorer
    account: Account


def accounted(judge: JudgeScorer, key: str, store: Store) -> Accounted:
    """Let a judge, which was opened for this, keep an account under a key."""
    account = Account.opened(store, key, judge.usage, judge.options)
    return Accounted(replace(judge, beside=account.beside), account)


def key_of(name: str, options: Judge) -> str:
    """Return the key of the account of a judge, by its name in results."""
    return fingerprint("judge use", name, options.fingerprint())


def figures(usage: Usage, options: Judge | None) -> dict[str, Any]:
    """Return what was asked for, with its price where that is known."""
    paid = None
    if options is not None:
        paid = price(usage.prompt_tokens, usage.completion_tokens, options)
    return {**asdict(usage), "price": paid}


def _added(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Return figures of two times together; of what is unknown in one of them, the other counts."""
    earlier = {**NOTHING, **earlier}
    total = dict(earlier)
    for name in ADDED:
        if now[name] is not None:
            total[name] = (earlier[name] or 0) + now[name]
    failures = Counter(earlier["failures"])
    failures.update(now["failures"])
    notes = dict.fromkeys([*earlier["notes"], *now["notes"]])
    return {**total, "failures": dict(failures), "notes": list(notes)}
