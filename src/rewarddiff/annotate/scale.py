"""How much better: one scale from the first response to the second, a tie in its middle."""

from __future__ import annotations

DEGREES = {
    5: ("clearly better", "slightly better"),
    7: ("much better", "better", "slightly better"),
}
"""What the steps on either side are called, from the outermost inwards."""

STEPS = tuple(DEGREES)
TIE = "about the same"


def labels(steps: int) -> list[str]:
    """Return what the choices are called, from the first response's side to the second's.

    >>> labels(5)
    ['A is clearly better', 'A is slightly better', 'about the same', 'B is slightly better', 'B is clearly better']
    """
    degrees = DEGREES[steps]
    first = [f"A is {degree}" for degree in degrees]
    second = [f"B is {degree}" for degree in reversed(degrees)]
    return [*first, TIE, *second]


def toward_first(choice: int, steps: int) -> int:
    """Return by how many steps the first response is better, of a choice counted from 1.

    >>> [toward_first(choice, 7) for choice in (1, 4, 7)]
    [3, 0, -3]
    """
    return (steps + 1) // 2 - choice
