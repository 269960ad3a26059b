"""Pairs with a coefficient each, as `rewarddiff weigh` writes them."""

from __future__ import annotations

from rewarddiff.data.formats.base import Format, Values
from rewarddiff.data.formats.cells import optional_number, row_id, turns
from rewarddiff.data.formats.conversations import in_context
from rewarddiff.data.formats.pairs import TRL, TRL_IMPLICIT, trl_texts
from rewarddiff.data.ledger import Reason
from rewarddiff.records import Comparison, Group


def _weighed(values: Values) -> Group:
    """Read TRL's preference rows with a column `coefficient`.

    Margins and scores are those of the scorer that made the coefficients. They are no strengths of
    the data: the scorer would be measured by, and trained on, what it says itself. `topic` is what
    must not straddle a split.
    """
    question, chosen, rejected = trl_texts(values)
    topic = values.get("topic")
    return Group(
        id=row_id(values),
        prompt=in_context(values, question),
        responses=(chosen, rejected),
        comparisons=(Comparison(0, 1, coefficient=optional_number(values, "coefficient")),),
        topic=topic if isinstance(topic, str) else "",
    )


def _turned(values: Values) -> Reason | None:
    """Tell a row whose label is the scorer's; files without a type for it hold a text."""
    is_turned = str(values.get("flipped", "")).strip().lower() == "true"
    return Reason.TURNED_BY_SCORER if is_turned else None


def _looks(values: Values) -> bool:
    if "prompt" in values:
        return TRL.looks(values)
    return turns(values["chosen"]) is not None and TRL_IMPLICIT.looks(values)


WEIGHED = Format(
    "weighed", ("chosen", "rejected", "coefficient"), _weighed, looks=_looks, remark=_turned
)
