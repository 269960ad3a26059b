"""UKPConvArg1: which of two arguments convinces more. Pairs in one file, the arguments in another
beside it."""

from __future__ import annotations

from pathlib import Path

from rewarddiff.data.files import rows
from rewarddiff.data.formats.base import Convert, Format, RowError, Values, asked, number, text
from rewarddiff.data.ledger import Reason
from rewarddiff.errors import UserError
from rewarddiff.records import Comparison, Group


def _prepare(path: Path | None) -> Convert:
    """Read the arguments, then convert votes on pairs of them (Habernal and Gurevych, ACL 2016).

    The strength is the vote margin |votes_a1 - votes_a2|; a margin of 0, or most votes for "equal",
    is a tie. The topic is the debate without the stance, so that both sides of a debate stay in one
    split.
    """
    arguments = _arguments(path)

    def convert(values: Values) -> Group:
        first, second = (_argument(arguments, text(values, side)) for side in ("a1", "a2"))
        a1, equal, a2 = (number(values, f"votes_{side}") for side in ("a1", "equal", "a2"))
        margin = 0.0 if equal > max(a1, a2) else abs(a1 - a2)
        order = (0, 1) if a1 >= a2 else (1, 0)
        title = text(first, "title")
        question = f'In the debate "{title}", give a convincing argument for the position "{text(first, "stance")}".'
        responses = (text(first, "text"), text(second, "text"))
        return Group(
            text(values, "topic"),
            asked(question),
            responses,
            None,
            (Comparison(*order, margin),),
            topic=title,
        )

    return convert


def _argument(arguments: dict[str, Values], id: str) -> Values:
    if id not in arguments:
        raise RowError(Reason.MISSING_FIELD, f"argument {id} is not in the arguments file")
    return arguments[id]


def _arguments(path: Path | None) -> dict[str, Values]:
    found = sorted(path.parent.glob("arguments.*")) if path else []
    if not found:
        raise UserError(
            f"{path}: these pairs name arguments by id; put arguments.jsonl or its .gz beside the file"
        )
    read = (row.values for row in rows(found[0], found[0].name))
    return {str(values["id"]): values for values in read if values and "id" in values}


UKP = Format(
    "ukp",
    ("topic", "a1", "a2", "votes_a1", "votes_equal", "votes_a2"),
    _prepare,
    gather=True,
    beside="arguments",
)
