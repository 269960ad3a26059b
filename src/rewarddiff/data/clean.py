"""Checks on groups: empty and identical responses, repeats and contradictions. Nothing goes
uncounted."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from hashlib import blake2b
from itertools import chain, islice
from statistics import fmean

from rewarddiff.data.formats.base import RowError
from rewarddiff.data.ledger import Ledger, Reason
from rewarddiff.records import Comparison, Group, Prompt, prompt_text

Note = Callable[[Reason, Group, str], None]
"""Told of everything that merging leaves out."""


def clean(group: Group, ledger: Ledger) -> Group:
    """The group without its empty and repeated responses.

    Raises:
        RowError: fewer than two different responses and none of them labelled by itself, or no
            prompt.
    """
    if not prompt_text(group.prompt).strip():
        raise RowError(Reason.MISSING_FIELD, "the prompt is empty")
    labelled = {i for i, _ in group.known_labels()}
    if len(group.responses) < 2 and not labelled:
        raise RowError(Reason.SINGLE_RESPONSE, f"{len(group.responses)} response")
    filled = [i for i, response in enumerate(group.responses) if response.strip()]
    alone = labelled.isdisjoint(filled)  # what is left is of use only if it can be compared
    if len(filled) < 2 and alone:
        raise RowError(Reason.EMPTY_RESPONSE, f"{len(group.responses) - len(filled)} empty")
    if len({group.responses[i].strip() for i in filled}) < 2 and alone:
        raise RowError(Reason.IDENTICAL_RESPONSES)

    def change(reason: Reason, where: Group, detail: str) -> None:
        ledger.change(reason, where.source, where.id, detail)

    if len(filled) < len(group.responses):
        change(Reason.EMPTY_RESPONSE, group, f"{len(group.responses) - len(filled)} left out")
        group = take(group, filled)
    group = merge([group], change, change)
    if unknown := sum(map(math.isnan, group.scores or ())):
        detail = f"{unknown} of {len(group.responses)} responses without a score"
        if len(group.responses) - unknown < 2 and alone and not group.comparisons:
            raise RowError(Reason.MISSING_FIELD, detail)
        change(Reason.MISSING_FIELD, group, detail)
        group = _without_gaps(group)
    if alone and all(comparison.tie for comparison in group.known_comparisons()):
        change(
            Reason.NO_ORDER,
            group,
            "only ties" if group.comparisons or group.scores else "nothing known",
        )
    return group


def _without_gaps(group: Group) -> Group:
    """Scores of some responses as comparisons of those: nothing is known of the others."""
    assert group.scores is not None
    known = [i for i, score in enumerate(group.scores) if not math.isnan(score)]
    pairs = take(replace(group, comparisons=()), known).known_comparisons()
    stated = tuple(replace(c, chosen=known[c.chosen], rejected=known[c.rejected]) for c in pairs)
    return replace(group, scores=None, comparisons=group.comparisons or stated)


def take(group: Group, indices: Sequence[int]) -> Group:
    """The group with these responses only, in this order, and what is known of them."""
    new = {old: k for k, old in enumerate(indices)}
    return replace(
        group,
        responses=tuple(group.responses[i] for i in indices),
        scores=None if group.scores is None else tuple(group.scores[i] for i in indices),
        comparisons=tuple(
            replace(c, chosen=new[c.chosen], rejected=new[c.rejected])
            for c in group.comparisons
            if c.chosen in new and c.rejected in new
        ),
        labels=tuple(group.labels[i] for i in indices) if group.labels else (),
        styles=tuple(group.styles[i] for i in indices) if group.styles else (),
    )


def renewed(group: Group, responses: Sequence[str]) -> Group:
    """The group's prompt with other responses, of which nothing is known yet."""
    return replace(
        group, responses=tuple(responses), scores=None, comparisons=(), labels=(), styles=()
    )


def thin(group: Group, most: int, seed: int = 0) -> Group:
    """The group with at most `most` of its known comparisons, drawn by (seed, id), and the
    responses they read.

    Ties are drawn like the others. Responses labelled by themselves all stay. A group with no more
    than `most` comparisons stays as it is.
    """
    known = list(group.known_comparisons())
    if len(known) <= most:
        return group
    drawn = random.Random(f"{seed}\0{group.id}").sample(known, most)
    used = sorted(
        {i for c in drawn for i in (c.chosen, c.rejected)} | {i for i, _ in group.known_labels()}
    )
    return take(replace(group, comparisons=tuple(drawn)), used)


def merge(groups: Sequence[Group], on_response: Note, on_repeat: Note) -> Group:
    """One group out of several with the same prompt; equal responses (but for outer spaces) become
    one.

    The score of a merged response is the mean of its known scores, NaN where none is. Of several
    comparisons of the same two responses, and of several labels of the same response, the first
    stays; a repeat is noted as a duplicate, one that disagrees as a contradiction.
    """
    index: dict[str, int] = {}
    responses: list[str] = []
    styles: list[str] = []
    scores: dict[int, list[float]] = {}
    known: dict[frozenset[int], Comparison] = {}
    labels: dict[int, bool] = {}
    for group in groups:
        seen_here: set[int] = set()
        place = []
        for k, response in enumerate(group.responses):
            i = index.setdefault(response.strip(), len(index))
            if i == len(responses):
                responses.append(response)
                styles += group.styles[k : k + 1]
            elif i in seen_here or group.scores is not None:
                on_response(Reason.IDENTICAL_RESPONSES, group, "merged with an equal response")
            seen_here.add(i)
            place.append(i)
            if group.scores is not None:
                known_scores = scores.setdefault(i, [])
                if not math.isnan(group.scores[k]):
                    known_scores.append(group.scores[k])
        for c in group.comparisons:
            i, j = place[c.chosen], place[c.rejected]
            pair = frozenset((i, j))
            if i == j:
                on_repeat(Reason.IDENTICAL_RESPONSES, group, "comparison of equal responses")
            elif pair not in known:
                known[pair] = Comparison(i, j, c.strength)
            else:
                same = known[pair].tie if c.tie else not known[pair].tie and known[pair].chosen == i
                reason = Reason.DUPLICATE if same else Reason.CONTRADICTORY
                on_repeat(reason, group, "two responses compared again")
        for k, label in group.known_labels():
            if place[k] not in labels:
                labels[place[k]] = label
            else:
                reason = Reason.DUPLICATE if labels[place[k]] == label else Reason.CONTRADICTORY
                on_repeat(reason, group, "a response labelled again")
    means = [fmean(scores[i]) if scores.get(i) else math.nan for i in range(len(responses))]
    return replace(
        groups[0],
        responses=tuple(responses),
        scores=tuple(means) if len(scores) == len(responses) else None,
        comparisons=tuple(known.values()),
        labels=tuple(labels.get(i) for i in range(len(responses))) if labels else (),
        styles=tuple(styles) if len(styles) == len(responses) else (),
    )


EVIDENCE = 100
"""Groups of a file that are looked at to tell whether its responses repeat their prompts."""

NEARLY_ALL = 0.9
"""The share of them that must."""


def without_repeated_prompts(groups: Iterator[Group], ledger: Ledger) -> Iterator[Group]:
    """The groups of a file, without the prompt at the beginning of their responses where nearly all
    have it there.

    Concerns prompts that are texts. A few responses may well begin with the words of a short
    prompt: these are left as they are, and counted.
    """
    first = list(islice(groups, EVIDENCE))
    plain = [group for group in first if isinstance(group.prompt, str)]
    repeated = sum(map(_repeats_prompt, plain))
    cut = repeated > 0 and repeated >= NEARLY_ALL * len(plain)
    for group in chain(first, groups):
        if not _repeats_prompt(group):
            yield group
            continue
        detail = (
            "cut from the responses"
            if cut
            else "left in: few responses of the file begin with their prompt"
        )
        ledger.change(Reason.PROMPT_IN_RESPONSE, group.source, group.id, detail)
        yield _without_prompt(group) if cut else group


def _repeats_prompt(group: Group) -> bool:
    """Whether all responses begin with the whole prompt, which is a text."""
    prompt = group.prompt
    if not isinstance(prompt, str) or not prompt.strip() or not group.responses:
        return False
    return all(response.startswith(prompt) for response in group.responses)


def _without_prompt(group: Group) -> Group:
    length = len(prompt_text(group.prompt))
    return replace(group, responses=tuple(response[length:] for response in group.responses))


class Seen:
    """Remembers the groups that went by, as 16-byte hashes, to find repeats and to keep ids
    unique."""

    def __init__(self) -> None:
        self._orders: dict[bytes, bytes] = {}
        self._ids: set[str] = set()

    def check(self, group: Group) -> None:
        """Raises RowError if the prompt and the set of responses were seen before.

        Of such groups the first stays: what was read before cannot be taken back from a stream.
        """
        key, order = content(group), _order(group)
        if key not in self._orders:
            self._orders[key] = order
        elif self._orders[key] == order:
            raise RowError(Reason.DUPLICATE, "prompt and responses as in an earlier row")
        else:
            said = "another label" if group.labels and not group.comparisons else "another order"
            raise RowError(
                Reason.CONTRADICTORY, f"prompt and responses as in an earlier row, {said}"
            )

    def identify(self, group: Group) -> Group:
        """The group with an id no other has: its own, numbered if taken, or else a hash of its
        content."""
        base = group.id or content(group).hex()[:16]
        id, n = base, 1
        while id in self._ids:
            n += 1
            id = f"{base}-{n}"
        self._ids.add(id)
        return group if id == group.id else replace(group, id=id)


def content(group: Group) -> bytes:
    """16 bytes that depend on the prompt and the set of responses, not on their order, and on what
    part they are of.

    Parts of a collection may rate different things of the same responses.
    """
    part = [f"part {group.subset}"] if group.subset else []
    return _digest(
        [
            _prompt_key(group.prompt),
            *part,
            *sorted(response.strip() for response in group.responses),
        ]
    )


def _order(group: Group) -> bytes:
    """16 bytes that depend on who won against whom and on labels, not on by how much."""
    facts = []
    for c in group.known_comparisons():
        pair = [group.responses[c.chosen].strip(), group.responses[c.rejected].strip()]
        facts.append("\0".join(["=", *sorted(pair)] if c.tie else [">", *pair]))
    facts += [
        "\0".join(["+" if yes else "-", group.responses[i].strip()])
        for i, yes in group.known_labels()
    ]
    return _digest(sorted(facts))


def _prompt_key(prompt: Prompt) -> str:
    return (
        prompt
        if isinstance(prompt, str)
        else "\0".join(f"{m.role}\0{m.content}{m.extras}" for m in prompt)
    )


def _digest(parts: Sequence[str]) -> bytes:
    digest = blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.digest()
