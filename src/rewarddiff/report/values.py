"""How figures are written for people: numbers, shares, intervals, durations, settings."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rewarddiff import writing
from rewarddiff.results import Interval
from rewarddiff.writing import figure

DASH = "–"  # shown where there is no data


def real(value: float) -> str:
    """Return about four significant digits with a true minus sign: 1.234, −12.35, 1.2e−05."""
    if not math.isfinite(value):
        return DASH
    return figure(value, _digits(value))


def signed(value: float) -> str:
    """Return the same with its sign, also where that is a plus: +0.050."""
    if not math.isfinite(value):
        return DASH
    return figure(value, f"+{_digits(value)}")


def _digits(value: float) -> str:
    """Return the format that shows about four significant digits."""
    size = abs(value)
    if 0 < size < 0.0005:
        return ".1e"
    if size < 10:
        return ".3f"
    if size < 100:
        return ".2f"
    return ".1f"


def two_digits(value: float) -> str:
    """Return a correlation: −0.34."""
    if not math.isfinite(value):
        return DASH
    return figure(value, ".2f")


def one_digit(value: float) -> str:
    if not math.isfinite(value):
        return DASH
    return figure(value, ".1f")


def price(amount: float) -> str:
    """Return an amount of money: 0.0123, 1.23, 45.6."""
    return figure(amount, ".3g")


def percent(value: float, digits: int = 1) -> str:
    """Return a share as a percentage: 0.715 → 71.5 %."""
    if not math.isfinite(value):
        return DASH
    return writing.percent(value, digits)


def points(value: float) -> str:
    """Return a share as a percentage without its sign: 0.715 → 71.5."""
    return figure(100 * value, ".1f")


def bounds(interval: Interval, write: Callable[[float], str]) -> str:
    """Return the ends of an interval in brackets; nothing where they are not known."""
    if not interval.bounded:
        return ""
    return f"[{write(interval.low)}, {write(interval.high)}]"


def count(value: float | None) -> str:
    """Return a whole number with thin spaces between thousands: 12 345."""
    if value is None or not math.isfinite(value):
        return DASH
    return figure(round(value), ",").replace(",", "\u202f")


def setting(value: Any) -> str:
    """Return a value of a recipe as one writes it: 1e−6, true, {r: 8}; none for null."""
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case int():
            return figure(value, "d")
        case float():
            return re.sub(r"(?<=e[−+])0+", "", figure(value, ".10g"))
        case Mapping():
            inner = [f"{key}: {setting(part)}" for key, part in value.items()]
            return f"{{{', '.join(inner)}}}"
        case list() | tuple():
            return f"[{', '.join(map(setting, value))}]"
    return str(value)


def duration(seconds: float) -> str:
    """Return 0.42 s, 38 s, 4 min 05 s or 1 h 43 min."""
    if not math.isfinite(seconds):
        return DASH
    if seconds < 1:
        return f"{figure(seconds, '.2f')} s"
    if seconds < 10:
        return f"{figure(seconds, '.1f')} s"
    if seconds < 60:
        return f"{figure(seconds, '.0f')} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def memory(size: int | None) -> str:
    """Return bytes in binary units: 1.50 GiB."""
    if size is None:
        return DASH
    if size >= 2**30:
        return f"{size / 2**30:.2f} GiB"
    if size >= 2**20:
        return f"{size / 2**20:.0f} MiB"
    if size >= 2**10:
        return f"{size / 2**10:.0f} KiB"
    return f"{size} B"


def shortened(texts: Sequence[str], most: int) -> list[str]:
    """Return texts of at most `most` characters that still differ where the whole ones do.

    A text is cut at its end; where that would cut what tells it from another one, what both begin
    with is cut too, up to shortly before they part.

    >>> shortened(["dpo", "dpo with weights", "dpo with margins"], 8)
    ['dpo', '…h weig…', '…h marg…']
    """
    pieces = []
    for text in texts:
        others = [other for other in texts if other != text]
        shared = max((_shared_beginning(text, other) for other in others), default=0)
        is_told_apart = len(text) <= most or shared < most - 1
        start = 0 if is_told_apart else max(shared - most // 3, 0)
        pieces.append(_cut(text, start, most))
    return pieces


def _shared_beginning(a: str, b: str) -> int:
    """Return how many characters two texts that differ begin alike with."""
    for place, (ours, theirs) in enumerate(zip(a, b, strict=False)):
        if ours != theirs:
            return place
    return min(len(a), len(b))


def _cut(text: str, start: int, most: int) -> str:
    """Return a text from `start` on, cut at its end, with marks where something is missing."""
    piece = text[start:]
    if start:
        piece = f"…{piece}"
    if len(piece) > most:
        piece = f"{piece[: most - 1]}…"
    return piece


def mean(values: Iterable[float]) -> float:
    """Return the mean of the values that are known; NaN when none is."""
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return math.nan
    return math.fsum(known) / len(known)
