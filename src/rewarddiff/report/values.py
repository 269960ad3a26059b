"""Reading figures out of results, and writing them for people.

Results come from JSON and may be incomplete: an absent figure, `null`, NaN and infinity are all "no
data" here (NaN inside, a dash on the page), and a value of an unexpected type counts as absent.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rewarddiff.writing import figure

NAN = math.nan
DASH = "–"  # shown where there is no data


@dataclass(frozen=True)
class Interval:
    """A figure with its interval; any part may be NaN."""

    value: float = NAN
    low: float = NAN
    high: float = NAN
    n: float = NAN

    @property
    def known(self) -> bool:
        return math.isfinite(self.value)

    @property
    def bounded(self) -> bool:
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def excludes_zero(self) -> bool:
        return self.bounded and (self.low > 0 or self.high < 0)


# --- reading ---------------------------------------------------------------------------------------------------------


def mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def entries(value: Any) -> list[Mapping[str, Any]]:
    """The mappings in a list; an empty list for anything else."""
    return (
        [item for item in value if isinstance(item, Mapping)]
        if isinstance(value, (list, tuple))
        else []
    )


def number(value: Any) -> float:
    """A finite float, or NaN. A mapping stands for its `value`."""
    if isinstance(value, Mapping):
        value = value.get("value")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return NAN
    return float(value) if math.isfinite(value) else NAN


def word(value: Any) -> str:
    """A name, a seed: a dash where there is none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return DASH
    return (
        setting(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool)
        else str(value)
    )


def numbers(value: Any) -> list[float]:
    """Every item of a list as a float (NaN where it is no number)."""
    return [number(item) for item in value] if isinstance(value, (list, tuple)) else []


def interval(value: Any) -> Interval:
    """`{value, low, high, n}` or a bare number."""
    found = mapping(value)
    return Interval(
        number(value), number(found.get("low")), number(found.get("high")), number(found.get("n"))
    )


def mean(values: Iterable[float]) -> float:
    """Mean of the finite values; NaN when there are none."""
    finite = [value for value in values if math.isfinite(value)]
    return math.fsum(finite) / len(finite) if finite else NAN


def names(items: Iterable[Mapping[str, Any]], key: str = "name") -> list[str]:
    """The distinct values under `key`, in order of first appearance."""
    return list(dict.fromkeys(str(item[key]) for item in items if item.get(key) is not None))


# --- writing ---------------------------------------------------------------------------------------------------------


def real(value: float) -> str:
    """About four significant digits with a true minus sign: 1.234, −12.35, 1.2e−05."""
    if not math.isfinite(value):
        return DASH
    return figure(value, _digits(value))


def signed(value: float) -> str:
    """The same with its sign, also where that is a plus: +0.050."""
    return figure(value, f"+{_digits(value)}") if math.isfinite(value) else DASH


def _digits(value: float) -> str:
    """The format that shows about four significant digits."""
    size = abs(value)
    if 0 < size < 0.0005:
        return ".1e"
    return f".{3 if size < 10 else 2 if size < 100 else 1}f"


def percent(value: float, digits: int = 1) -> str:
    """A share as a percentage: 0.715 → 71.5 %."""
    return f"{figure(100 * value, f'.{digits}f')} %" if math.isfinite(value) else DASH


def count(value: float) -> str:
    """A whole number with thin spaces between thousands: 12 345."""
    return figure(round(value), ",").replace(",", "\u202f") if math.isfinite(value) else DASH


def setting(value: Any) -> str:
    """A value of a configuration, near to how a recipe writes it: 1e−6, true, {r: 8, alpha: 16};
    none for null."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return figure(value, "d")
    if isinstance(value, float):
        return re.sub(r"(?<=e[−+])0+", "", figure(value, ".10g"))
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {setting(inner)}' for key, inner in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(setting, value))}]"
    return str(value)


def duration(seconds: float) -> str:
    """0.42 s, 38 s, 4 min 05 s, 1 h 43 min."""
    if not math.isfinite(seconds):
        return DASH
    if seconds < 60:
        return f"{figure(seconds, '.2f' if seconds < 1 else '.1f' if seconds < 10 else '.0f')} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def memory(size: float) -> str:
    """Bytes in binary units: 1.50 GiB."""
    if not math.isfinite(size):
        return DASH
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= scale:
            return f"{size / scale:.2f} {unit}" if unit == "GiB" else f"{size / scale:.0f} {unit}"
    return f"{figure(size, '.0f')} B"


def trained_on_remarks(found: Mapping[str, Any], things: str) -> list[str]:
    """Return a sentence on the prompts that scorers were, or may have been, trained on; none where
    all are new."""
    trained = mapping(found.get("trained_on"))
    seen = number(trained.get("prompts"))
    said = []
    if trained.get("known") is False:
        said.append(
            "Not every scorer says what it was trained on, so these prompts may be among that."
        )
    if seen > 0 and trained.get("left_out"):
        said.append(
            f"{count(seen)} further {things} are left out: a scorer was trained on their prompts."
        )
    elif seen > 0:
        said.append(
            f"A scorer was trained on the prompts of all {count(seen)} {things}: nothing here is held out."
        )
    return said
