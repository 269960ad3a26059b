"""What the dataclasses of results are made of: figures that may be unknown, intervals, curves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any


@dataclass(frozen=True)
class NullFor:
    """Marks a float that a file holds as `null` where it is not finite, and what `null` means."""

    value: float

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        number_or_null = core_schema.nullable_schema(core_schema.float_schema())

        def read(value: float | None) -> float:
            return self.value if value is None else float(value)

        def write(value: float) -> float | None:
            return value if math.isfinite(value) else None

        return core_schema.no_info_after_validator_function(
            read,
            number_or_null,
            serialization=core_schema.plain_serializer_function_ser_schema(
                write, return_schema=number_or_null
            ),
        )


Figure = Annotated[float, NullFor(math.nan)]
"""A number that may be unknown."""

UpperEnd = Annotated[float, NullFor(math.inf)]
"""The upper end of a range that may have none."""

CurveLine = Mapping[str, str | int | Figure]
"""What was measured at one step: `step`, `split`, `loss`, and the metrics of the objective."""

Curve = tuple[CurveLine, ...]

Settings = Mapping[str, Any]
"""A part of a recipe, as it was resolved."""


class Strict:
    """A part of a file in which no further key may stand."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012


@dataclass(frozen=True)
class Interval(Strict):
    """A value, its 95 % confidence interval, and the number of observations behind it."""

    value: Figure
    low: Figure
    high: Figure
    n: int

    @classmethod
    def unbounded(cls, value: float, n: int = 0) -> Interval:
        """Return a value of whose spread nothing is known."""
        return cls(value, math.nan, math.nan, n)

    @property
    def known(self) -> bool:
        return math.isfinite(self.value)

    @property
    def bounded(self) -> bool:
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def excludes_zero(self) -> bool:
        return self.bounded and (self.low > 0 or self.high < 0)


UNKNOWN = Interval.unbounded(math.nan)


@dataclass(frozen=True)
class Bin(Strict):
    """Accuracy of the comparisons with low ≤ x < high; the last bin includes its upper end."""

    low: float
    high: UpperEnd
    accuracy: Interval


@dataclass(frozen=True)
class Histogram(Strict):
    """Counts between consecutive edges, and how many values are negative."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    negative: int
