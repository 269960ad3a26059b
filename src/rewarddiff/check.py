"""`rewarddiff check`: the ledger of a data source, and what the data says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from statistics import mean, median

from rewarddiff.data import Groups, Ledger, load_groups
from rewarddiff.data import split as split_groups
from rewarddiff.data.columns import Columns
from rewarddiff.data.unread import unread_columns
from rewarddiff.errors import UserError
from rewarddiff.records import Group
from rewarddiff.writing import listed, say

FRACTIONS = {"train": 0.8, "dev": 0.1, "test": 0.1}
"""A usual split, by prompt, to show what each part would hold."""

HEADING = [
    "groups",
    "responses",
    "comparisons",
    "ties",
    "strength: known",
    "median",
    "mean",
    "longer wins",
]

Row = tuple[str, list[str]]
"""A row of a table: its name and its cells."""


def check(
    data: str,
    *,
    format: str | None = None,
    split: str | None = None,
    columns: Columns | None = None,
    max_drop: float = 0.05,
    model: str | None = None,
    max_prompt: int | None = None,
    max_response: int | None = None,
) -> None:
    """Read all of `data`, and print its ledger, and sizes and strengths by split.

    Args:
        format, split, columns: see `load_groups`.
        model: also count tokens, by this model's tokenizer and against its context.
        max_prompt, max_response: token limits for that, as in training.

    Raises:
        UserError: data that cannot be read, or of which more than `max_drop` would be dropped.
    """
    ledger = Ledger()
    try:
        groups = load_groups(
            data, format=format, split=split, columns=columns, ledger=ledger, max_drop=1.0
        )
    except UserError:
        if ledger.total:
            say(ledger.table())
        raise
    say(ledger.table())
    unread = unread_columns(data, format=format, split=split, columns=columns)
    if unread:
        say(f"  not read: {listed(unread)}")
    say("", *_aligned(_summary(groups)))
    ledger.enforce(max_drop)
    if model is not None:
        say("")
        for line in _token_lengths(groups, model, max_prompt, max_response, max_drop):
            say(line)


def _summary(groups: Groups) -> Iterator[Row]:
    """Yield the heading, all groups, then each part of a split by prompt.

    There are no parts where one would be empty. Labels are counted where there are any.
    """
    labelled = any(any(group.known_labels()) for group in groups)
    yield "", [*HEADING, "desirable", "undesirable"] if labelled else HEADING
    yield "all", _figures(groups, labelled)
    try:
        split = split_groups(groups, FRACTIONS)
    except UserError:
        return
    for name, part in split.items():
        yield name, _figures(part, labelled)


def _figures(groups: Groups, labelled: bool) -> list[str]:
    """Count groups, and what is known of them, in one pass."""
    responses = comparisons = ties = longer_wins = longer_loses = 0
    strengths = []
    labels = {True: 0, False: 0}
    for group in groups:
        responses += len(group.responses)
        for c in group.known_comparisons():
            comparisons += 1
            if c.strength is not None:
                strengths.append(c.strength)
            gap = len(group.responses[c.chosen]) - len(group.responses[c.rejected])
            if c.tie:
                ties += 1
            elif gap > 0:
                longer_wins += 1
            elif gap < 0:
                longer_loses += 1
        for _, label in group.known_labels():
            labels[label] += 1
    counts = [len(groups), responses, comparisons, ties, len(strengths)]
    figures = [str(count) for count in counts]
    if strengths:
        figures += [f"{median(strengths):.3g}", f"{mean(strengths):.3g}"]
    else:
        figures += ["-", "-"]
    decided = longer_wins + longer_loses
    figures.append(f"{longer_wins / decided:.1%}" if decided else "-")
    if labelled:
        figures += [str(labels[True]), str(labels[False])]
    return figures


def _aligned(rows: Iterable[Row]) -> Iterator[str]:
    """Yield rows as lines of aligned columns; the first row is the heading."""
    rows = list(rows)
    columns = zip(*(cells for _, cells in rows), strict=True)
    widths = [max(map(len, column)) for column in columns]
    for name, cells in rows:
        padded = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
        yield f"{name:<8}" + "  ".join(padded)


def _token_lengths(
    groups: Iterable[Group],
    model: str,
    max_prompt: int | None,
    max_response: int | None,
    max_drop: float,
) -> Iterator[str]:
    """Yield the lengths of prompts and responses in a model's tokens, and what does not fit."""
    from rewarddiff.encoding import Encoder, LengthConfig
    from rewarddiff.models import context_length, load_tokenizer

    context = context_length(model)
    if not max_response:
        max_response = min(512, context // 2) if context else 512
    encoder = Encoder(load_tokenizer(model), LengthConfig(max_prompt, max_response), context)
    ledger = Ledger()
    encoded = list(encoder.groups(groups, ledger))
    reads = context or "any number"
    yield f"in tokens of {model}, which reads {reads} (responses cut beyond {max_response}):"
    yield ledger.table()
    if encoded:
        prompts = [len(item.prompt) for item in encoded]
        responses: list[int] = []
        for item in encoded:
            responses += [len(ids) for ids in item.responses if ids]
        heading = ["mean", "median", "95 %", "longest"]
        rows = [("", heading), ("prompts", _lengths(prompts)), ("responses", _lengths(responses))]
        yield from _aligned(rows)
    ledger.enforce(max_drop)


def _lengths(lengths: Sequence[int]) -> list[str]:
    ranked = sorted(lengths)
    quantile = ranked[int(0.95 * (len(ranked) - 1))]
    return [f"{mean(ranked):.1f}", f"{median(ranked):g}", str(quantile), str(ranked[-1])]
