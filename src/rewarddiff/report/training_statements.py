"""How the training of two policies differs, and what is not known of it."""

from __future__ import annotations

from collections.abc import Sequence

from rewarddiff.report.values import setting
from rewarddiff.results import ELSEWHERE, WEIGHTS_OF_DATA, Unequal

UNKNOWN_PARTS = (ELSEWHERE, WEIGHTS_OF_DATA)
"""Keys that say what is not known of a training, and not how it differs."""

KEYS_NAMED = 3
"""Of the keys in which two policies differ, so many stand in a headline; tables and notes name
all."""


def trained_unequally(differences: Sequence[Unequal], most: int | None = None) -> str:
    """Return `trained unequally: train.lr 1e−6 against 5e−6, …`, at most so many keys by name."""
    named = differences[:most]
    texts = [f"{key.key} {setting(key.a)} against {setting(key.b)}" for key in named]
    text = f"trained unequally: {', '.join(texts)}"
    rest = len(differences) - len(named)
    if rest:
        text += f" and {rest} more"
    return text


def known_to_differ(differences: Sequence[Unequal]) -> list[Unequal]:
    """Return the settings and amounts that differ, without what says that something is not known."""
    return [difference for difference in differences if difference.key not in UNKNOWN_PARTS]


def trained_elsewhere(a: str, b: str, differences: Sequence[Unequal]) -> list[str]:
    """Return which of two policies was trained elsewhere."""
    return _concerned(ELSEWHERE, a, b, differences)


def weighed_by_data(a: str, b: str, differences: Sequence[Unequal]) -> list[str]:
    """Return which of two policies has coefficients that the data brings."""
    return _concerned(WEIGHTS_OF_DATA, a, b, differences)


def _concerned(key: str, a: str, b: str, differences: Sequence[Unequal]) -> list[str]:
    """Return which of two policies has a value of this key."""
    names = []
    for difference in differences:
        if difference.key == key:
            values = {a: difference.a, b: difference.b}
            names += [name for name, value in values.items() if value is not None]
    return names


def elsewhere_remark(names: Sequence[str]) -> str:
    """Say what is not known of policies that were trained elsewhere."""
    was = "was" if len(names) == 1 else "were"
    return (
        f"{' and '.join(names)} {was} trained elsewhere: on which data, for how long and with which "
        "scorers is not known"
    )


def data_weights_remark(names: Sequence[str]) -> str:
    """Say what is not known of policies whose coefficients the data brings."""
    has = "has" if len(names) == 1 else "have"
    return (
        f"{' and '.join(names)} {has} coefficients that the data brings: which scorer made them is "
        "not known"
    )


def training_remark(a: str, b: str, differences: Sequence[Unequal], most: int | None = None) -> str:
    """Say how the training of two policies differs, and what is not known of it."""
    remarks = []
    elsewhere = trained_elsewhere(a, b, differences)
    if elsewhere:
        remarks.append(elsewhere_remark(elsewhere))
    by_data = weighed_by_data(a, b, differences)
    if by_data:
        remarks.append(data_weights_remark(by_data))
    differing = known_to_differ(differences)
    if differing:
        remarks.append(trained_unequally(differing, most))
    return "; ".join(remarks)
