"""`rewarddiff check`: the ledger of a data source, and what the data says."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from statistics import mean, median

from rewarddiff.data import Groups, Ledger, load_groups
from rewarddiff.data import split as split_groups
from rewarddiff.data.unread import unread_columns
from rewarddiff.errors import UserError
from rewarddiff.records import Comparison, Group
from rewarddiff.writing import say

FRACTIONS = {"train": 0.8, "dev": 0.1, "test": 0.1}
"""A usual split, by prompt, to show what each part would hold."""


def check(
    data: str,
    *,
    format: str | None = None,
    split: str | None = None,
    max_drop: float = 0.05,
    model: str | None = None,
    max_prompt: int | None = None,
    max_response: int | None = None,
) -> None:
    """Read all of `data`, and print its ledger, its size by split, and how strong its comparisons
    are.

    Args:
        model: also count tokens, by this model's tokenizer and against its context.
        max_prompt, max_response: token limits for that, as in training.

    Raises:
        UserError: data that cannot be read, or of which more than `max_drop` would be dropped.
    """
    ledger = Ledger()
    try:
        groups = load_groups(data, format=format, split=split, ledger=ledger, max_drop=1.0)
    except UserError:
        if ledger.total:
            say(ledger.table())
        raise
    say(ledger.table())
    if unread := unread_columns(data, format=format, split=split):
        say(f"  not read: {', '.join(unread)}")
    say("", *table(parts(groups)))
    ledger.enforce(max_drop)
    if model is not None:
        say("")
        for line in tokens(groups, model, max_prompt, max_response, max_drop):
            say(line)


def parts(groups: Groups) -> Iterator[tuple[str, list[str]]]:
    """Rows of the summary: all groups, then each part of a split by prompt (none where a part would
    be empty).

    Labels are counted where there are any.
    """
    heading = [
        "groups",
        "responses",
        "comparisons",
        "ties",
        "strength: known",
        "median",
        "mean",
        "longer wins",
    ]
    labelled = any(any(group.known_labels()) for group in groups)
    yield "", heading + (["desirable", "undesirable"] if labelled else [])
    yield "all", row(groups, labelled)
    try:
        split = split_groups(groups, FRACTIONS)
    except UserError:
        return
    for name, part in split.items():
        yield name, row(part, labelled)


def row(groups: Iterable[Group], labelled: bool = False) -> list[str]:
    """Counts and strengths of groups, one pass; where they are labelled, also how many responses
    are (un)desirable."""
    n_groups = n_responses = ties = longer = ordered = 0
    comparisons: list[Comparison] = []
    labels = {True: 0, False: 0}
    for group in groups:
        n_groups += 1
        n_responses += len(group.responses)
        for c in group.known_comparisons():
            comparisons.append(c)
            gap = len(group.responses[c.chosen]) - len(group.responses[c.rejected])
            ties += c.tie
            ordered += not c.tie and gap != 0
            longer += not c.tie and gap > 0
        for _, label in group.known_labels():
            labels[label] += 1
    strengths = [c.strength for c in comparisons if c.strength is not None]
    figures = [n_groups, n_responses, len(comparisons), ties, len(strengths)]
    share = longer / ordered if ordered else math.nan
    return [
        *map(str, figures),
        *(f"{f(strengths):.3g}" if strengths else "-" for f in (median, mean)),
        f"{share:.1%}" if ordered else "-",
        *(str(labels[label]) for label in (True, False) if labelled),
    ]


def table(rows: Iterable[tuple[str, list[str]]]) -> Iterator[str]:
    """Rows as lines of aligned columns; the first row is the heading."""
    rows = list(rows)
    widths = [max(len(cells[i]) for _, cells in rows) for i in range(len(rows[0][1]))]
    for name, cells in rows:
        yield f"{name:<8}" + "  ".join(
            f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)
        )


def tokens(
    groups: Iterable[Group],
    model: str,
    max_prompt: int | None,
    max_response: int | None,
    max_drop: float,
) -> Iterator[str]:
    """The lengths of prompts and responses in a model's tokens, and the ledger of what does not
    fit."""
    from rewarddiff.encoding import Encoder, LengthConfig
    from rewarddiff.models import context_length, load_tokenizer

    context = context_length(model)
    limit = max_response or min(512, context // 2 if context else 512)
    encoder = Encoder(load_tokenizer(model), LengthConfig(max_prompt, limit), context)
    ledger = Ledger()
    encoded = list(encoder.groups(groups, ledger))
    yield f"in tokens of {model}, which reads {context or 'any number'} (responses cut beyond {limit}):"
    yield ledger.table()
    if encoded:
        heading = [("", ["mean", "median", "95 %", "longest"])]
        prompts = ("prompts", [len(e.prompt) for e in encoded])
        responses = ("replies", [len(r) for e in encoded for r in e.responses if r])
        yield from table(
            heading + [(name, _lengths(values)) for name, values in (prompts, responses)]
        )
    ledger.enforce(max_drop)


def _lengths(values: Sequence[int]) -> list[str]:
    ranked = sorted(values)
    return [
        f"{mean(values):.1f}",
        f"{median(values):g}",
        str(ranked[int(0.95 * (len(ranked) - 1))]),
        str(ranked[-1]),
    ]
