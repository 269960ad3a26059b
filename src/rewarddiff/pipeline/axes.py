"""What a sweep asks for: keys with several values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rewarddiff.errors import UserError
from rewarddiff.paths import as_name

MOST = 10_000
"""More values than this of one key are taken for a slip."""

LONGEST = 32
"""Characters of a value that may stand in the name of a folder."""


@dataclass(frozen=True)
class Axis:
    """A key, and its values as they were written."""

    key: str
    values: tuple[str, ...]

    @property
    def spans(self) -> bool:
        """Whether the key is swept.

        One value alone is an override. Seeds are not swept: intervals are over them.
        """
        return len(self.values) > 1 and self.key != "seed"

    def short(self, value: str) -> str:
        """Return a value as part of a folder's name: itself, or its place where that is not clear."""
        names = [as_name(other) for other in self.values]
        place = self.values.index(value)
        name = names[place]
        is_clear = 0 < len(name) <= LONGEST and names.count(name) == 1
        return name if is_clear else str(place + 1)


def read_axes(overrides: Sequence[str]) -> tuple[Axis, ...]:
    """Read every `key=values` of a sweep.

    Raises:
        UserError: values that cannot be read, a key that stands twice, nothing to sweep.
    """
    axes = tuple(read_axis(text) for text in overrides)
    keys = [axis.key for axis in axes]
    for axis in axes:
        if keys.count(axis.key) > 1:
            raise UserError(
                f"{axis.key}: stands twice; give all its values at once, as {axis.key}=a,b"
            )
        if axis.key in ("name", "output") and axis.spans:
            raise UserError(f"{axis.key}: a sweep has one {axis.key}; give one value")
    if not any(len(axis.values) > 1 for axis in axes):
        raise UserError(
            "nothing to sweep: give a key several values, as coefficient.alpha=0,0.5,1 or seed=0..4"
        )
    return axes


def read_axis(text: str) -> Axis:
    """Read `key=a,b` or `key=0..4`; a list in brackets is one value.

    >>> read_axis("seed=0..2,7").values
    ('0', '1', '2', '7')
    >>> read_axis("data.splits={train: 0.5, test: 0.5},{train: 0.7, test: 0.3}").values
    ('{train: 0.5, test: 0.5}', '{train: 0.7, test: 0.3}')
    """
    key, equals, written = text.partition("=")
    key = key.strip()
    if not equals or not all(key.split(".")):
        raise UserError(
            f"'{text}': expected key=value, or key=value,value as in coefficient.alpha=0,0.5,1"
        )
    values: list[str] = []
    for piece in _pieces(written):
        values += _ranged(piece.strip(), text)
    if not any(values):
        raise UserError(f"'{text}': an empty list; give at least one value (null for none)")
    if not all(values):
        raise UserError(f"'{text}': there is an empty value between its commas")
    seen: set[float | str] = set()
    for value in values:
        if number(value) in seen:
            raise UserError(f"'{text}': the value {value} stands twice")
        seen.add(number(value))
    return Axis(key, tuple(values))


def number(value: str) -> float | str:
    """Return a value as a number, where it is one."""
    is_number = re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", value)
    return float(value) if is_number else value


def labels(keys: Sequence[str]) -> dict[str, str]:
    """Return what to call each key: its end, as far as no other key ends alike.

    >>> labels(["coefficient.alpha", "train.lr"])
    {'coefficient.alpha': 'alpha', 'train.lr': 'lr'}
    """
    names = {}
    for key in keys:
        others = [f".{other}" for other in keys if other != key]
        parts = key.split(".")
        names[key] = key
        for start in range(len(parts)):
            tail = ".".join(parts[start:])
            if not any(other.endswith(f".{tail}") for other in others):
                names[key] = tail
    return names


def _pieces(written: str) -> list[str]:
    """Part a text at the commas that stand in no brackets and no quotes."""
    pieces = [""]
    depth = 0
    quote = ""
    before = ","
    for char in written:
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"" and before in ",[{: ":
            quote = char
        elif char in "[{":
            depth += 1
        elif char in "]}":
            depth = max(0, depth - 1)
        if char == "," and not depth and not quote:
            pieces.append("")
        else:
            pieces[-1] += char
        before = char
    return pieces


def _ranged(piece: str, text: str) -> Iterator[str]:
    """Yield the whole numbers of a range, both ends included; anything else as it is."""
    ends = re.fullmatch(r"(-?\d+)\.\.(-?\d+)", piece)
    if ends is None:
        yield piece
        return
    first, last = int(ends[1]), int(ends[2])
    if not first <= last:
        raise UserError(f"'{text}': the range {piece} is empty; the smaller number comes first")
    if last - first >= MOST:
        raise UserError(f"'{text}': the range {piece} has more than {MOST} values")
    yield from map(str, range(first, last + 1))
