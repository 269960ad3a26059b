"""What asking a language model about rows takes: said before the first window, summed over all."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rewarddiff.data.passing import PassingRow
from rewarddiff.endpoints.chat import Usage
from rewarddiff.scorers.judging.asking import HANDFUL
from rewarddiff.scorers.judging.cost import Estimate, copied, price, since, told
from rewarddiff.scorers.judging.scorer import JudgeScorer
from rewarddiff.scorers.protocol import Scorer
from rewarddiff.scoring.parts import Parts
from rewarddiff.scoring.windows import WINDOW, Data
from rewarddiff.scoring.work import Done
from rewarddiff.writing import say

Work = Callable[[Sequence[PassingRow]], Done]
"""Does a window."""


@dataclass
class Calls:
    """What a language model was asked for, over all windows.

    Attributes:
        usage: calls, tokens, and pairs without a verdict by their cause.
        price: of the tokens; None where the judge's options name none.
    """

    usage: Usage = field(default_factory=Usage)
    price: float | None = None

    def add(self, window: Mapping[str, Any] | None) -> None:
        """Count a window: what `with_calls` has written; None of another scorer's."""
        if window is None:
            return
        other = Usage(**window["usage"])
        self.usage.calls += other.calls
        self.usage.kept += other.kept
        self.usage.count(other.prompt_tokens, other.completion_tokens)
        self.usage.failures = dict(Counter(self.usage.failures) + Counter(other.failures))
        if window["price"] is not None:
            self.price = (self.price or 0.0) + window["price"]

    def lines(self) -> list[str]:
        """Return what was asked for as lines of a summary; none where nothing was."""
        if not self.usage.calls and not self.usage.failures:
            return []
        return [f"asked         {told(self.usage, self.price)}"]


def with_calls(
    scorer: Scorer,
    work: Work,
    estimate: Callable[[JudgeScorer, Sequence[PassingRow]], Estimate],
    data: Data,
    folder: Path,
) -> Work:
    """Return `work` that says what all windows take before the first, and counts calls in each.

    Nothing changes of a scorer that is no language model. Of several processes none says anything
    before: each has a part of the windows.

    Args:
        estimate: what the judge is going to be asked for about rows.
        folder: of the windows.
    """
    if not isinstance(scorer, JudgeScorer):
        return work
    is_said = multiprocessing.parent_process() is not None

    def window(rows: Sequence[PassingRow]) -> Done:
        nonlocal is_said
        if not is_said:
            is_said = True
            _say_before(scorer, estimate(scorer, rows), len(rows), data, folder)
        before = copied(scorer.usage)
        done = work(rows)
        used = since(before, scorer.usage)
        paid = price(used.prompt_tokens, used.completion_tokens, scorer.options)
        account = {**done.account, "calls": {"usage": asdict(used), "price": paid}}
        return replace(done, account=account)

    return window


def _say_before(
    scorer: JudgeScorer, of_window: Estimate, rows: int, data: Data, folder: Path
) -> None:
    """Say what all rows that are left take, as far as their first window tells."""
    total = data.count()
    left = rows
    if total is not None:
        left = max(rows, total - WINDOW * len(Parts(folder).done()))
    whole = of_window.times(left / rows)
    if whole.calls > HANDFUL:
        say(f"  {scorer.name}: {'about ' if left > rows else ''}{whole}", error=True)
