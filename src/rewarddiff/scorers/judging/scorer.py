"""A judge as a scorer: which pairs are asked, in which orders, and what is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from rewarddiff.differences import Differences, Pair
from rewarddiff.endpoints.chat import Usage
from rewarddiff.records import Group
from rewarddiff.scorers.judging.asking import Asking, Message, engine_of
from rewarddiff.scorers.judging.cost import Estimate, price
from rewarddiff.scorers.judging.forms import FORMS, nearest_grades
from rewarddiff.scorers.judging.options import Judge
from rewarddiff.scorers.judging.questions import (
    Answer,
    Engine,
    Question,
    Unscored,
    is_tie,
    read_first,
)
from rewarddiff.scorers.judging.texts import Template
from rewarddiff.scorers.protocol import Orders
from rewarddiff.store import Store
from rewarddiff.verdicts import Verdicts

Ways = tuple[Question | None, Question | None]
"""A pair with either response first; None: not asked."""


def judge_of(options: Judge, name: str) -> JudgeScorer:
    """Return the judge that options ask for."""
    engine = engine_of(options, FORMS[options.form])
    # A prompt file that cannot be read is told now, not after hours.
    _ = options.template
    return JudgeScorer(name, options, engine)


@dataclass(frozen=True, eq=False)
class JudgeScorer:
    """A language model that compares two responses: see `protocol.Judge`.

    Attributes:
        name: what errors call it.
        temperature: none: fitted on held-out comparisons where it is needed.
        prompts: not known, what such a model learned from.
        beside: gives what the store is to keep with every verdict, see `remember`.
    """

    name: str
    options: Judge
    engine: Engine
    temperature: None = None
    prompts: None = None
    beside: Callable[[], Mapping[str, Any]] = dict

    @property
    def usage(self) -> Usage:
        """What was asked for and paid so far."""
        return self.engine.usage

    @property
    def price(self) -> float | None:
        """What was paid so far; None where the options name no price, or the server does not count."""
        return price(self.usage.prompt_tokens, self.usage.completion_tokens, self.options)

    def check(self) -> None:
        """See that it can be asked, for nothing or a single token. Raises UserError: it cannot."""
        self.engine.check()

    def estimate(
        self,
        groups: Sequence[Group],
        pairs: Sequence[Sequence[Pair]],
        *,
        orders: Orders = "both",
        store: Store | None = None,
    ) -> Estimate:
        """Estimate what `verdicts` would ask for, without what the store holds."""
        asked = _flat(self._questions(groups, pairs, orders))
        messages = [self._message(question) for question in asked if not is_tie(question)]
        return self._asking.estimate(messages, store)

    def verdicts(
        self,
        groups: Sequence[Group],
        pairs: Sequence[Sequence[Pair]],
        *,
        orders: Orders = "both",
        store: Store | None = None,
        progress: str | None = None,
    ) -> list[Verdicts]:
        """Return what the judge says of the pairs of each group: see `protocol.Judge`.

        Two responses of the same text are a tie, and nobody is asked.

        Args:
            orders: one, or the options' own one, asks a single order of each pair.

        Raises:
            UserError: the judge cannot be asked. What it said before is kept.
        """
        asked = self._questions(groups, pairs, orders)
        answers = iter(self._answers(list(_flat(asked)), store, progress))
        verdicts = []
        for group_pairs, of_group in zip(pairs, asked, strict=True):
            of_pairs = _verdicts(group_pairs, of_group, answers)
            if self.options.form == "grades":
                of_pairs = replace(of_pairs, steps=nearest_grades(of_pairs.readings))
            verdicts.append(of_pairs)
        return verdicts

    def differences(
        self,
        groups: Sequence[Group],
        pairs: Sequence[Sequence[Pair]],
        *,
        orders: Orders = "both",
        store: Store | None = None,
        progress: str | None = None,
    ) -> list[Differences]:
        """Return d of the pairs of each group; NaN where there is no verdict."""
        verdicts = self.verdicts(groups, pairs, orders=orders, store=store, progress=progress)
        return [of_group.differences for of_group in verdicts]

    def _questions(
        self, groups: Sequence[Group], pairs: Sequence[Sequence[Pair]], orders: Orders
    ) -> list[list[Ways]]:
        """Return what is asked of each pair of each group."""
        one_order = "one" in (orders, self.options.orders)
        questions = []
        for group, group_pairs in zip(groups, pairs, strict=True):
            questions.append([self._ways(group, pair, one_order) for pair in group_pairs])
        return questions

    def _ways(self, group: Group, pair: Pair, one_order: bool) -> Ways:
        a, b = pair
        forward, backward = Question(group, a, b), Question(group, b, a)
        if not one_order:
            return forward, backward
        if read_first(group, a, b, self.options.seed) == a:
            return forward, None
        return None, backward

    def _answers(
        self, questions: Sequence[Question], store: Store | None, progress: str | None
    ) -> list[Answer]:
        """Return the answer to every question; nobody is asked about two equal texts."""
        messages = [self._message(question) for question in questions if not is_tie(question)]
        answers = iter(self._asking.answers(messages, store, progress))
        return [0.0 if is_tie(question) else next(answers) for question in questions]

    def _message(self, question: Question) -> Message:
        prompt = question.group.prompt
        text = self._template.message(prompt, *question.texts, self.options.instruction)
        return Message(text, question.row)

    @cached_property
    def _template(self) -> Template:
        return self.options.template

    @cached_property
    def _asking(self) -> Asking:
        answering = self.options.answering()
        return Asking(self.name, self.options, self.engine, answering, self.beside)


def _flat(questions: Iterable[Iterable[Ways]]) -> Iterator[Question]:
    """Yield the questions that are asked, in their order."""
    for of_group in questions:
        for ways in of_group:
            yield from (question for question in ways if question is not None)


def _verdicts(
    pairs: Sequence[Pair], questions: Sequence[Ways], answers: Iterator[Answer]
) -> Verdicts:
    """Return the verdicts on the pairs of one group; `answers` are those to its questions."""
    values = np.full((len(pairs), 2), np.nan)
    asked = np.zeros((len(pairs), 2), dtype=bool)
    causes = [""] * len(pairs)
    for row, ways in enumerate(questions):
        for column, question in enumerate(ways):
            if question is None:
                continue
            asked[row, column] = True
            answer = next(answers)
            if isinstance(answer, Unscored):
                causes[row] = answer.cause
            else:
                values[row, column] = answer
    return Verdicts(tuple(pairs), values[:, 0], values[:, 1], asked, tuple(causes))
