"""What was weighed: a few lines of text, and a report as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rewarddiff.coefficients import CoefficientConfig
from rewarddiff.config import to_dict
from rewarddiff.data.ledger import Ledger, Reason
from rewarddiff.scoring.calls import Calls
from rewarddiff.scoring.parts import Useless
from rewarddiff.scoring.summary import Reading, ledger_lines
from rewarddiff.scoring.work import Speed
from rewarddiff.writing import figure, percent


@dataclass
class WeighSummary:
    """What was weighed.

    Attributes:
        output: the file or folder with the coefficients.
        rows: what became of the data's rows.
        comparisons: what became of the comparisons in these: only those with an order are weighed.
        left_out: what became of the weighed ones; `negative=drop` leaves some out.
        distribution: of differences and coefficients, see `coefficients.weigh`.
        temperature: the scorer's.
        reading: how the scorer read the rows.
        calls: what a language model that judges was asked for.
    """

    output: Path
    config: CoefficientConfig
    speed: Speed
    rows: Ledger = field(default_factory=Ledger)
    comparisons: Ledger = field(default_factory=Ledger)
    left_out: Ledger = field(default_factory=Ledger)
    distribution: dict[str, Any] = field(default_factory=dict)
    temperature: float | None = None
    reading: Reading = field(default_factory=Reading)
    calls: Calls = field(default_factory=Calls)

    def add(self, account: Mapping[str, Any]) -> None:
        """Count a window."""
        self.rows.merge(Ledger.from_dict(account["ledger"]))
        self.comparisons.merge(Ledger.from_dict(account["comparisons"]))
        self.temperature = account["temperature"]
        self.reading.add(account["reading"])
        self.calls.add(account.get("calls"))

    def require_some(self, sources: Iterable[str]) -> None:
        """Raise a UserError where no comparison can be weighed, naming the cause."""
        if self.comparisons.kept:
            return
        files = ", ".join(sources)
        unscored = self.comparisons.count(Reason.UNSCORED)
        if unscored:
            raise Useless(
                f"{files}: the scorer says nothing of any of {unscored} comparisons; check it, or "
                "weigh by another one"
            )
        dropped = self.comparisons.to_dict()["dropped"]
        if dropped:
            causes = ", ".join(f"{tally['count']} {reason}" for reason, tally in dropped.items())
            raise Useless(
                f"{files}: nothing to weigh, none of {self.comparisons.total} comparisons has an order "
                f"of two different texts ({causes}); give some"
            )
        raise Useless(
            f"{files}: nothing to weigh, one response to each prompt or no order among them; give "
            "chosen and rejected responses, or lists with scores or ranks"
        )

    def report(self, scorer: str, data: tuple[str, ...]) -> dict[str, Any]:
        """Return everything that was counted, ready for JSON."""
        return {
            "schema": 1,
            "scorer": scorer,
            "data": list(data),
            "output": str(self.output),
            "coefficient": to_dict(self.config),
            "temperature": self.temperature,
            "rows": self.rows.to_dict(),
            "comparisons": self.comparisons.to_dict(),
            "written": self.left_out.to_dict(),
            "reading": asdict(self.reading),
            "distribution": self.distribution,
        }

    def lines(self) -> list[str]:
        """Return the summary as lines of text."""
        stated = self.distribution
        lines = [
            *ledger_lines("rows", self.rows, "can be used"),
            *ledger_lines("comparisons", self.comparisons, "can be weighed"),
            *ledger_lines("weighed", self.left_out, "are written"),
            f"differences   {_described(stated['before'])}; {percent(stated['share_negative'])} "
            "contradict their label",
            f"coefficients  {_described(stated['after'])}; {percent(stated['share_zero'])} are 0, "
            f"effective share {figure(stated['effective_share'], '.3g')}",
        ]
        flipped = stated["share_flipped"] * stated["n"]
        if flipped:
            lines.append(f"flipped       {flipped:,.0f} pairs are written the other way round")
        lines += self.reading.lines()
        lines += self.calls.lines()
        lines += [f"warning       {warning}" for warning in stated["warnings"]]
        if self.speed.rows:
            lines.append(f"speed         {figure(self.speed.rate, '.4g')} rows/s")
        return lines


def _described(numbers: Mapping[str, Any]) -> str:
    quantiles = numbers["quantiles"]
    middle = ", ".join(figure(quantiles[q], ".3g") for q in ("0.05", "0.5", "0.95"))
    return f"mean {figure(numbers['mean'], '.4g')}; 5 %, 50 %, 95 %: {middle}"
