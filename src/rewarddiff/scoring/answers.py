"""What a scorer says of rows: scores of their responses, and differences of their comparisons."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy.special import expit

from rewarddiff import rankings
from rewarddiff.chat_template import TemplateRefused
from rewarddiff.data.ledger import Reason
from rewarddiff.data.passing import PassingRow, filled
from rewarddiff.differences import Array, Differences, Pair, joined
from rewarddiff.errors import UserError
from rewarddiff.records import Comparison, Group
from rewarddiff.scorers.judging.cost import Estimate
from rewarddiff.scorers.judging.scorer import JudgeScorer
from rewarddiff.scorers.opening import is_asked_elsewhere
from rewarddiff.scorers.protocol import Orders, Pointwise, Scorer
from rewarddiff.scoring.parts import ANSWERS
from rewarddiff.store import Store


@dataclass(frozen=True)
class Answer:
    """What a scorer says of a row.

    Attributes:
        scores: of every response; None of an empty one, and of all where the scorer scores no
            response by itself and there is no other to compare it with, or says too little of them.
        comparisons: those that the data makes between responses that are not empty.
        differences: d of these, as (chosen, rejected); None where there are none.
    """

    scores: tuple[float | None, ...]
    comparisons: tuple[Comparison, ...] = ()
    differences: Differences | None = None

    @property
    def means(self) -> list[float]:
        """d of every comparison; NaN where the scorer says nothing."""
        return [] if self.differences is None else self.differences.mean.tolist()

    @property
    def unscored(self) -> int:
        """Of how many comparisons the scorer says nothing."""
        return sum(map(math.isnan, self.means))

    @property
    def spreads(self) -> list[float] | None:
        """The spread of d over the heads of an ensemble; None where there is none."""
        if self.differences is None or not self.differences.ensemble:
            return None
        spreads: list[float] = self.differences.spread.tolist()
        return spreads

    def probabilities(self, temperature: float | None) -> list[float] | None:
        """Return σ(d / T), the probability to be preferred; None where there is no temperature."""
        if self.differences is None or temperature is None:
            return None
        probabilities: list[float] = expit(self.differences.over(temperature).mean).tolist()
        return probabilities


def of_equal_texts(group: Group, comparison: Comparison) -> bool:
    """Tell a comparison of which neither response can be better: both say the same."""
    chosen = group.responses[comparison.chosen]
    rejected = group.responses[comparison.rejected]
    return chosen.strip() == rejected.strip()


def merged(answers: Sequence[Answer]) -> Answer:
    """Return the answers to a row that says several things of the same responses as one."""
    first = answers[0]
    comparisons: list[Comparison] = []
    differences = []
    for answer in answers:
        comparisons += answer.comparisons
        if answer.differences is not None:
            differences.append(answer.differences)
    if len(differences) < 2:
        return first
    return Answer(first.scores, tuple(comparisons), joined(differences))


def store_of(scorer: Scorer, folder: Path) -> Store | None:
    """Return where the answers of a scorer are kept as they come; None where asking again is cheaper.

    A window is kept when it is done. What a server or a judge has answered before is not to be lost.
    """
    return Store(folder / ANSWERS) if is_asked_elsewhere(scorer) else None


def ask_rows(
    scorer: Scorer,
    rows: Sequence[PassingRow],
    orders: Orders = "both",
    *,
    rank: bool = True,
    store: Store | None = None,
) -> list[list[Answer]]:
    """Ask a scorer about rows: an answer to each of a row's groups, none where it cannot be used.

    A row that the scorer's chat template refuses is counted with it.

    Args:
        orders, rank, store: see `ask`.
    """
    answers: list[list[Answer]] = [[] for _ in rows]
    places = [place for place, row in enumerate(rows) if row.groups]

    def fill(some: Sequence[int]) -> None:
        groups: list[Group] = []
        for place in some:
            groups += rows[place].groups
        try:
            stated = iter(ask(scorer, groups, orders, rank=rank, store=store))
        except TemplateRefused as error:
            if len(some) == 1:
                rows[some[0]].refuse(Reason.TEMPLATE_REFUSED, error.cause)
                return
            # One of them is refused: halves tell which in the fewest readings.
            middle = len(some) // 2
            fill(some[:middle])
            fill(some[middle:])
            return
        for place in some:
            answers[place] = [next(stated) for _ in rows[place].groups]

    fill(places)
    return answers


def estimate_of(
    judge: JudgeScorer,
    rows: Sequence[PassingRow],
    orders: Orders = "both",
    *,
    rank: bool = True,
    store: Store | None = None,
) -> Estimate:
    """Estimate what `ask_rows` would ask a language model for, without what the store holds."""
    questions = [_question(group) for row in rows for group in row.groups]
    groups = [question.group for question in questions]
    pairs = _pairs_asked(judge, questions, rank=rank)
    return judge.estimate(groups, pairs, orders=orders, store=store)


def ask(
    scorer: Scorer,
    groups: Sequence[Group],
    orders: Orders = "both",
    *,
    rank: bool = True,
    store: Store | None = None,
) -> list[Answer]:
    """Ask a scorer about groups; every text is read once.

    Args:
        rank: of a scorer that scores no response by itself, ask for all pairs of a group: a score is
            then the mean difference to the other responses.
        store: where its answers are kept and found again.

    Raises:
        UserError: a number is infinite, or the score of a response is none.
    """
    questions = [_question(group) for group in groups]
    asked = [question.group for question in questions]
    pairs = _pairs_asked(scorer, questions, rank=rank)
    differences = _differences(scorer, asked, pairs, orders, store)
    scores: list[Array | None] = [None] * len(asked)
    if isinstance(scorer, Pointwise):
        scores = _rewards(scorer, asked, differences, store)
    elif rank:
        scores = _means(asked, differences)
    answers = []
    for question, d, values in zip(questions, differences, scores, strict=True):
        _require_numbers(scorer, question.group, d, values)
        answers.append(question.answered(d, values))
    return answers


@dataclass(frozen=True)
class _Question:
    """What is asked about a row.

    Attributes:
        places: of the responses that are not empty, in the row.
        group: the row with these alone.
        pairs: (chosen, rejected) of its comparisons, every two responses once.
        size: how many responses the row has.
    """

    places: list[int]
    group: Group
    comparisons: tuple[Comparison, ...]
    pairs: list[Pair]
    size: int

    def answered(self, differences: Differences | None, values: Array | None) -> Answer:
        """Return the answer, in the places that responses have in the row."""
        scores: list[float | None] = [None] * self.size
        if values is not None:
            for place, value in zip(self.places, values.tolist(), strict=True):
                scores[place] = None if math.isnan(value) else value
        if not self.comparisons or differences is None:
            return Answer(tuple(scores))
        in_row = []
        for c in self.comparisons:
            chosen, rejected = self.places[c.chosen], self.places[c.rejected]
            in_row.append(replace(c, chosen=chosen, rejected=rejected))
        oriented = differences.oriented([(c.chosen, c.rejected) for c in self.comparisons])
        return Answer(tuple(scores), tuple(in_row), oriented)


def _question(group: Group) -> _Question:
    places = filled(group)
    kept = group if len(places) == len(group.responses) else group.take(places)
    comparisons = tuple(kept.known_comparisons())
    pairs: dict[frozenset[int], Pair] = {}
    for c in comparisons:
        pairs.setdefault(frozenset((c.chosen, c.rejected)), (c.chosen, c.rejected))
    return _Question(places, kept, comparisons, list(pairs.values()), len(group.responses))


def _pairs_asked(scorer: Scorer, questions: Sequence[_Question], *, rank: bool) -> list[list[Pair]]:
    """Return the pairs that a scorer is asked of each group: see `ask`."""
    pairs = []
    for question in questions:
        count = len(question.group.responses)
        if isinstance(scorer, Pointwise):
            pairs.append(_joined(question.pairs, count))
        else:
            pairs.append(_all(question.pairs, count) if rank else question.pairs)
    return pairs


def _joined(pairs: list[Pair], count: int) -> list[Pair]:
    """Return pairs in which every response stands, where there are two or more."""
    compared = {response for pair in pairs for response in pair}
    further = []
    for response in range(count):
        if response not in compared and count > 1:
            further.append((response, 0 if response else 1))
    return [*pairs, *further]


def _all(pairs: list[Pair], count: int) -> list[Pair]:
    """Return these pairs, and all others of a group."""
    compared = {frozenset(pair) for pair in pairs}
    others = [pair for pair in combinations(range(count), 2) if frozenset(pair) not in compared]
    return [*pairs, *others]


def _differences(
    scorer: Scorer,
    groups: Sequence[Group],
    pairs: Sequence[list[Pair]],
    orders: Orders,
    store: Store | None,
) -> list[Differences | None]:
    """Return d of the pairs of each group; None of a group that has none."""
    differences: list[Differences | None] = [None] * len(groups)
    places = [place for place, of_group in enumerate(pairs) if of_group]
    if places:
        stated = scorer.differences(
            [groups[place] for place in places],
            [pairs[place] for place in places],
            orders=orders,
            store=store,
        )
        for place, d in zip(places, stated, strict=True):
            differences[place] = d
    return differences


def _rewards(
    scorer: Pointwise,
    groups: Sequence[Group],
    differences: Sequence[Differences | None],
    store: Store | None,
) -> list[Array | None]:
    """Return r of every response of each group, from its differences where these tell them."""
    rewards: list[Array | None] = []
    for group, d in zip(groups, differences, strict=True):
        rewards.append(None if d is None else _rewards_in(d, len(group.responses)))
    unread = [place for place, values in enumerate(rewards) if values is None]
    if unread:
        read = scorer.rewards([groups[place] for place in unread], store=store)
        for place, values in zip(unread, read, strict=True):
            rewards[place] = values
    return rewards


def _rewards_in(differences: Differences, count: int) -> Array | None:
    """Return r of the responses that were compared; None where differences do not tell it."""
    if differences.rewards is None:
        return None
    rewards = np.empty(count)
    for pair, values in zip(differences.pairs, differences.rewards, strict=True):
        rewards[list(pair)] = values
    return rewards


def _means(
    groups: Sequence[Group], differences: Sequence[Differences | None]
) -> list[Array | None]:
    """Return the mean difference of every response to the others of its group.

    NaN where what the scorer says does not join them.
    """
    means: list[Array | None] = []
    for group, d in zip(groups, differences, strict=True):
        count = len(group.responses)
        if d is None:
            means.append(None)
        else:
            means.append(rankings.mean_differences(count, d.pairs, d.mean))
    return means


def _require_numbers(
    scorer: Scorer, group: Group, differences: Differences | None, scores: Array | None
) -> None:
    """Raise a UserError for infinite numbers, and for NaN from whoever scores each response.

    Whoever compares may say nothing, which is NaN.
    """
    numbers = np.zeros(0)
    if differences is not None:
        numbers = differences.mean
    if scores is not None:
        numbers = np.concatenate([numbers, scores])
    wrong = np.isinf(numbers)
    if isinstance(scorer, Pointwise):
        wrong = ~np.isfinite(numbers)
    if wrong.any():
        raise UserError(
            f"{scorer.name}: states a number that is not finite of {group.source or group.id}; "
            "take the row out, or use another scorer"
        )
