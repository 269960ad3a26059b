"""Checks on groups: empty and identical responses, repeated prompts. Nothing goes uncounted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, combinations

from rewarddiff.data.formats.base import FieldError, RowError
from rewarddiff.data.formats.cells import require_few
from rewarddiff.data.holding import held, size_of
from rewarddiff.data.ledger import Ledger, Reason
from rewarddiff.data.merge import merge
from rewarddiff.records import Comparison, Group, prompt_text


def clean(group: Group, ledger: Ledger, *, to_compare: bool = True) -> Group:
    """Return the group without its empty and repeated responses.

    A response that is given alone and without a label goes on, noted: it can be scored.

    Args:
        to_compare: see `Format`. False: a prompt goes on with whatever responses are left, noted
            where fewer than two are.

    Raises:
        RowError: of several responses fewer than two are different, and none is labelled by
            itself; no response; or no prompt.
    """
    if not prompt_text(group.prompt).strip():
        raise FieldError("the prompt is empty")
    require_few(len(group.responses))
    if not to_compare:
        return _prompt_with_responses(group, ledger)
    labelled = {i for i, _ in group.known_labels()}
    if not group.responses:
        raise RowError(Reason.SINGLE_RESPONSE, "0 responses")
    is_alone = len(group.responses) == 1
    filled = [i for i, response in enumerate(group.responses) if response.strip()]
    # Without a label, what is left is of use only if it can be compared.
    needs_comparison = labelled.isdisjoint(filled) and not is_alone
    if is_alone and not filled:
        raise RowError(Reason.EMPTY_RESPONSE, "1 empty")
    if is_alone and not labelled:
        ledger.change(Reason.SINGLE_RESPONSE, group, "kept: nothing to compare it with")
    if needs_comparison:
        _require_two_responses(group, filled)
    group = _filled_and_different(group, filled, ledger)
    group = without_unknown_scores(group, needs_comparison, ledger)
    if needs_comparison and all(comparison.tie for comparison in group.known_comparisons()):
        anything_known = group.comparisons or group.scores
        ledger.change(Reason.NO_ORDER, group, "only ties" if anything_known else "nothing known")
    return group


def _prompt_with_responses(group: Group, ledger: Ledger) -> Group:
    """Return a group whose prompt is to be answered, with the responses that are of use."""
    filled = [i for i, response in enumerate(group.responses) if response.strip()]
    group = _filled_and_different(group, filled, ledger)
    if not filled:
        ledger.change(Reason.NO_RESPONSE, group, "kept: a prompt to be answered")
        return group.with_responses(())
    if len(group.responses) == 1:
        ledger.change(Reason.SINGLE_RESPONSE, group, "kept: nothing to compare it with")
    return without_unknown_scores(group, False, ledger)


def _filled_and_different(group: Group, filled: Sequence[int], ledger: Ledger) -> Group:
    """Return the group without its empty responses, and with repeated ones once; count both."""
    empty = len(group.responses) - len(filled)
    if empty:
        ledger.change(Reason.EMPTY_RESPONSE, group, f"{empty} left out")
        group = group.take(filled)
    return merge([group], ledger.change, ledger.change)


def _require_two_responses(group: Group, filled: Sequence[int]) -> None:
    if len(filled) < 2:
        raise RowError(Reason.EMPTY_RESPONSE, f"{len(group.responses) - len(filled)} empty")
    if len({group.responses[i].strip() for i in filled}) < 2:
        raise RowError(Reason.IDENTICAL_RESPONSES)


def without_unknown_scores(group: Group, needs_comparison: bool, ledger: Ledger) -> Group:
    """Return scores of only some responses as comparisons: nothing is known of the others."""
    if group.scores is None:
        return group
    scored = [i for i, score in enumerate(group.scores) if not math.isnan(score)]
    count = len(group.responses)
    if len(scored) == count:
        return group
    detail = f"{count - len(scored)} of {count} responses without a score"
    if len(scored) < 2 and needs_comparison and not group.comparisons:
        raise FieldError(detail)
    ledger.change(Reason.MISSING_FIELD, group, detail)
    comparisons = group.comparisons
    if not comparisons:
        comparisons = tuple(
            Comparison.by_gap(i, j, group.scores[i] - group.scores[j])
            for i, j in combinations(scored, 2)
        )
    return replace(group, scores=None, comparisons=comparisons)


EVIDENCE = 100
"""Groups of a file that are looked at to tell whether its responses repeat their prompts."""

NEARLY_ALL = 0.9
"""The share of them that must."""


def without_repeated_prompts(groups: Iterator[Group], ledger: Ledger) -> Iterator[Group]:
    """Cut the prompt off the responses of a file where nearly all begin with it.

    Concerns prompts that are texts. A few responses may well begin with the words of a short
    prompt: these are left as they are, and counted.
    """
    first = held(groups, EVIDENCE, size_of)
    to_cut = repeat_prompts(first)
    for group in chain(first, groups):
        yield without_repeated_prompt(group, ledger, to_cut=to_cut)


def repeat_prompts(groups: Sequence[Group]) -> bool:
    """Tell whether nearly all responses begin with their prompts, by the first groups of a file."""
    plain = [group for group in groups if isinstance(group.prompt, str)]
    repeating = sum(_repeats_prompt(group) for group in plain)
    return repeating > 0 and repeating >= NEARLY_ALL * len(plain)


def without_repeated_prompt(group: Group, ledger: Ledger, *, to_cut: bool) -> Group:
    """Return a group whose responses do not begin with the prompt, if it is to be cut; count it."""
    if not _repeats_prompt(group):
        return group
    if not to_cut:
        detail = "left in: few responses of the file begin with their prompt"
        ledger.change(Reason.PROMPT_IN_RESPONSE, group, detail)
        return group
    ledger.change(Reason.PROMPT_IN_RESPONSE, group, "cut from the responses")
    return _without_prompt(group)


def _repeats_prompt(group: Group) -> bool:
    """Tell whether all responses begin with the whole prompt, which is a text."""
    prompt = group.prompt
    if not isinstance(prompt, str) or not prompt.strip() or not group.responses:
        return False
    return all(response.startswith(prompt) for response in group.responses)


def _without_prompt(group: Group) -> Group:
    length = len(prompt_text(group.prompt))
    return replace(group, responses=tuple(response[length:] for response in group.responses))
