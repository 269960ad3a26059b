"""From data to the pairs that people compare."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from rewarddiff.annotate.records import Pair
from rewarddiff.data.files import name_of
from rewarddiff.data.ledger import Ledger, Reason
from rewarddiff.data.load import load_groups
from rewarddiff.data.outputs import aligned, read_outputs
from rewarddiff.errors import UserError
from rewarddiff.paths import as_name
from rewarddiff.records import Group

LABELLED = ("chosen", "rejected")
LISTED = ("response 1", "response 2")


def output_of(samples: Sequence[str]) -> Path:
    """Return the folder of a project that was given none."""
    if not samples:
        raise UserError("name the data whose responses are compared, or a project with --output")
    names = "-".join(as_name(name_of(source)) for source in samples)
    return Path("runs") / f"annotate-{names}"


def pairs_of(
    samples: Sequence[str], ledger: Ledger, *, limit: int | None = None, **reading: Any
) -> list[Pair]:
    """Return the pairs that data holds, in its order; none where none is named.

    Args:
        samples: one source of preference data, or the outputs of two policies.
        ledger: receives what becomes of the rows.
        limit: at most so many pairs.
        reading: as `load_groups` has it.

    Raises:
        UserError: the data cannot be read, or holds no two responses to a prompt.
    """
    if not samples:
        return []
    if len(samples) > 2:
        raise UserError(
            f"{len(samples)} sources; name one whose rows have two responses, or the outputs of two "
            "policies"
        )
    if len(samples) == 2:
        pairs = _side_by_side(samples, ledger, reading)
    else:
        pairs = _compared(load_groups(samples[0], ledger=ledger, **reading))
    some = list(islice(pairs, limit))
    if not some:
        raise UserError(
            f"{', '.join(samples)}: no two different responses to a prompt; name data that has some"
        )
    return some


def _compared(groups: Iterable[Group]) -> Iterator[Pair]:
    """Yield the pairs that groups compare; of a group that compares none its first two responses."""
    for group in groups:
        if group.comparisons:
            for comparison in group.comparisons:
                yield _pair(group, (comparison.chosen, comparison.rejected), LABELLED)
        elif len(group.responses) > 1:
            yield _pair(group, (0, 1), LISTED)


def _side_by_side(
    samples: Sequence[str], ledger: Ledger, reading: dict[str, Any]
) -> Iterator[Pair]:
    """Yield what two policies answered to each prompt.

    Where both answered the same there is nothing to ask: such prompts are counted and left out.
    """
    if reading:
        raise UserError(
            "--format, --split, --columns and --max-drop are for preference data; outputs of two "
            "policies have prompt and response"
        )
    outputs = [read_outputs(source) for source in samples]
    names = (outputs[0].name, outputs[1].name)
    for group in aligned(outputs):
        first, second = group.responses
        if first == second:
            ledger.drop(Reason.IDENTICAL_RESPONSES, group)
            continue
        ledger.keep()
        yield _pair(group, (0, 1), names)


def _pair(group: Group, places: tuple[int, int], names: tuple[str, str]) -> Pair:
    a, b = places
    source = {"a": names[0], "b": names[1], "row": group.source}
    return Pair(group.prompt, group.responses[a], group.responses[b], source)
