"""Pairs with a coefficient each, as `rewarddiff weigh` writes them."""

from __future__ import annotations

from dataclasses import replace

from rewarddiff.data.formats.base import Format, Values
from rewarddiff.data.formats.cells import optional_number, turns
from rewarddiff.data.formats.pairs import TRL, TRL_IMPLICIT
from rewarddiff.records import Group


def _weighed(values: Values) -> Group:
    """Read TRL's preference rows with a column `coefficient`.

    A margin of 0 is no tie here: it stands where the scorer contradicts the order, and there are no
    ties in such a file. `topic` is what must not straddle a split.
    """
    group = TRL.convert(values)
    (comparison,) = group.comparisons
    weighed = replace(
        comparison,
        strength=comparison.strength or None,
        coefficient=optional_number(values, "coefficient"),
    )
    topic = values.get("topic")
    return replace(
        group, comparisons=(weighed,), topic=topic if isinstance(topic, str) else group.topic
    )


def _looks(values: Values) -> bool:
    if "prompt" in values:
        return TRL.looks(values)
    return turns(values["chosen"]) is not None and TRL_IMPLICIT.looks(values)


WEIGHED = Format("weighed", ("chosen", "rejected", "coefficient"), _weighed, looks=_looks)
