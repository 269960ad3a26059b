"""From data to the pairs that people compare."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from rewarddiff.annotate.records import Pair
from rewarddiff.data.files import name_of
from rewarddiff.data.ledger import Ledger
from rewarddiff.data.load import load_groups
from rewarddiff.errors import UserError
from rewarddiff.records import Group

LABELLED = ("chosen", "rejected")


def output_of(samples: Sequence[str]) -> Path:
    """Return the folder of a project that was given none."""
    if not samples:
        raise UserError("name the data whose responses are compared, or a project with --output")
    return Path("runs") / f"annotate-{name_of(samples[0])}"


def pairs_of(
    samples: Sequence[str], ledger: Ledger, *, limit: int | None = None, **reading: Any
) -> list[Pair]:
    """Return the pairs that one source of preference data holds, in its order; none of no source.

    Args:
        ledger: receives what becomes of the rows.
        limit: at most so many pairs.
        reading: as `load_groups` has it.

    Raises:
        UserError: the data cannot be read, or holds no two responses to a prompt.
    """
    if not samples:
        return []
    if len(samples) > 1:
        raise UserError(
            f"{' '.join(samples)}: name one file of data, whose rows have two responses"
        )
    source = samples[0]
    groups = load_groups(source, ledger=ledger, **reading)
    pairs = list(islice(_compared(groups), limit))
    if not pairs:
        raise UserError(
            f"{source}: holds no two different responses to a prompt; name data that compares some"
        )
    return pairs


def _compared(groups: Iterable[Group]) -> Iterator[Pair]:
    """Yield the pairs that groups compare; of a group that compares none its first two responses."""
    for group in groups:
        if group.comparisons:
            for comparison in group.comparisons:
                places = (comparison.chosen, comparison.rejected)
                yield _pair(group, places, LABELLED)
        elif len(group.responses) > 1:
            yield _pair(group, (0, 1), ("response 1", "response 2"))


def _pair(group: Group, places: tuple[int, int], names: tuple[str, str]) -> Pair:
    a, b = places
    source = {"a": names[0], "b": names[1], "row": group.source}
    return Pair(group.prompt, group.responses[a], group.responses[b], source)
