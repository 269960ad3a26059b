"""UKPConvArg1: which of two arguments convinces more; the arguments lie in a file beside."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rewarddiff.data.files import read_rows
from rewarddiff.data.formats.base import FieldError, Format, Values
from rewarddiff.data.formats.cells import number, text
from rewarddiff.data.formats.conversations import asked
from rewarddiff.errors import UserError
from rewarddiff.records import Comparison, Group


def _votes(arguments: dict[str, Values], values: Values) -> Group:
    """Read votes on a pair of arguments (Habernal and Gurevych, ACL 2016).

    The strength is the vote margin |votes_a1 - votes_a2|; a margin of 0, or most votes for "equal",
    is a tie. The topic is the debate without the stance, so that both sides of a debate stay in one
    split.
    """
    first = _argument(arguments, text(values, "a1"))
    second = _argument(arguments, text(values, "a2"))
    for_first = number(values, "votes_a1")
    for_equal = number(values, "votes_equal")
    for_second = number(values, "votes_a2")
    comparison = Comparison.by_gap(0, 1, for_first - for_second)
    if for_equal > max(for_first, for_second):
        comparison = replace(comparison, strength=0.0)
    debate = text(first, "title")
    question = (
        f'In the debate "{debate}", give a convincing argument '
        f'for the position "{text(first, "stance")}".'
    )
    responses = (text(first, "text"), text(second, "text"))
    return Group(
        id=text(values, "topic"),
        prompt=asked(question),
        responses=responses,
        comparisons=(comparison,),
        topic=debate,
    )


def _argument(arguments: dict[str, Values], id: str) -> Values:
    if id not in arguments:
        raise FieldError(f"argument {id} is not in the arguments file")
    return arguments[id]


def _arguments(path: Path | None) -> dict[str, Values]:
    """Return the arguments by their ids, from the file beside the pairs."""
    files = sorted(path.parent.glob("arguments.*")) if path else []
    if not files:
        raise UserError(
            f"{path}: these pairs name arguments by id; "
            "put arguments.jsonl or its .gz beside the file"
        )
    arguments: dict[str, Values] = {}
    for row in read_rows(files[0]):
        if row.values and row.values.get("id") is not None:
            arguments[str(row.values["id"])] = row.values
    return arguments


UKP = Format(
    "ukp",
    ("topic", "a1", "a2", "votes_a1", "votes_equal", "votes_a2"),
    _votes,
    gather=True,
    beside="arguments",
    read_beside=_arguments,
)
