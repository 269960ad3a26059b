"""Rules that a dataclass checks when it is made."""

from __future__ import annotations

import math


def at_least(config: object, least: float, *names: str) -> None:
    """Raise a ValueError unless these fields are None or numbers of at least `least`."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not value >= least:
            raise ValueError(f"{name} is {value}, should be at least {least}")


def positive(config: object, *names: str) -> None:
    """Raise a ValueError unless these fields are None or finite numbers above 0."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"{name} is {value}, should be above 0 and finite")
