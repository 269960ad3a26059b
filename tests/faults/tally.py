"""Verdicts: each is printed as it comes, and their counts say at the end whether all is well."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Collection
from typing import NoReturn


class Tally:
    """Verdicts, by their words before the first colon.

    Args:
        good: those that nothing is wrong with.
    """

    def __init__(self, good: Collection[str]) -> None:
        self.good = good
        self.parts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.wrong: list[str] = []

    def add(self, what: str, verdict: str, remark: str = "", *, part: str = "") -> None:
        """Print and count what came of something.

        Args:
            part: those of each part are counted by themselves as well.
        """
        kind = verdict.partition(":")[0]
        self.parts[part][kind] += 1
        mark = ""
        if kind not in self.good:
            self.wrong.append(what)
            mark = "   <-- WRONG"
        remark = remark and f" | {remark}"
        print(f"{self.counts.total()} {what}: {verdict}{remark}{mark}", flush=True)

    @property
    def counts(self) -> Counter[str]:
        return sum(self.parts.values(), Counter())

    def end(self) -> NoReturn:
        """Print the counts, and end with status 1 where anything is wrong, or nothing was tried."""
        for part, counts in self.parts.items():
            if part:
                print(f"{part}: {dict(counts)}")
        print(self.counts.total(), dict(self.counts))
        print("".join(f"wrong: {what}\n" for what in self.wrong), end="")
        sys.exit(bool(self.wrong) or not self.parts)
