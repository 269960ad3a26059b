"""A scorer as a server has it: what it is called, and what it says to the work of many requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from rewarddiff.chat_template import TemplateRefused
from rewarddiff.differences import Array, Differences
from rewarddiff.endpoints.answers import OF_CONTENT, Failed
from rewarddiff.errors import UserError
from rewarddiff.records import Group, Prompt
from rewarddiff.scorers.neural.scorer import NeuralScorer
from rewarddiff.scorers.protocol import Orders, Pointwise, Scorer
from rewarddiff.serve.asking import Comparing, Rewards, Sample, Work, joined
from rewarddiff.serve.baseline import Baseline
from rewarddiff.serve.chat import chat_of, exchange, texts_of
from rewarddiff.serve.failures import Failure, refused


@dataclass(frozen=True)
class Scores:
    """The rewards of samples; their tokens where those were asked for."""

    rewards: list[float]
    tokens: int | None = None


Answer = Scores | Differences


class Served:
    """A scorer that is read by one thread, with what requests need to know of it.

    Attributes:
        chat: how its chat template writes replies; None where it reads by none.
        fingerprint: hash of all that determines its answers.
        baseline: to which responses are compared, instead of being scored by themselves.
    """

    def __init__(
        self, scorer: Scorer, *, fingerprint: str = "", baseline: Baseline | None = None
    ) -> None:
        self.scorer = scorer
        self.name = scorer.name
        self.chat = chat_of(scorer)
        self.fingerprint = fingerprint
        self.baseline = baseline

    @property
    def gives_rewards(self) -> bool:
        """Whether a response by itself gets a number."""
        return self.baseline is not None or isinstance(self.scorer, Pointwise)

    def require_rewards(self) -> None:
        """Raise a Failure where a response by itself gets no number."""
        if not self.gives_rewards:
            raise refused(
                f"{self.name}: a difference model gives a response no reward by itself; "
                "send several to /compare, or serve it with --policy-baseline FILE"
            )

    def require_readable(self, prompt: Prompt, place: str) -> None:
        """Raise a Failure where a prompt is turns and no template writes them."""
        texts = texts_of(self.scorer)
        has_template = texts is None or texts.tokenizer.chat_template
        if not isinstance(prompt, str) and not has_template:
            raise refused(f"{place}: turns, and {self.name} has no chat template; send plain text")

    def whole(self, text: str, place: str) -> Sample:
        """Return a text of prompt and response as a sample.

        Raises:
            Failure: the scorer reads the two apart.
        """
        texts = texts_of(self.scorer)
        if texts is None or texts.way != "whole":
            raise refused(
                f"{place}: {self.name} reads prompt and response apart, and this is one text; "
                "send both, as to /score"
            )
        if self.chat is None:
            return Sample("", text, place)
        prompt, response = exchange(self.chat, *self.chat.split(text))
        return Sample(prompt, response, place)

    def answers(self, works: Sequence[Work]) -> list[Answer]:
        """Return the answer to each piece of work, read together.

        Raises:
            Failure: whichever piece is at fault.
        """
        try:
            return self._answers(works)
        except TemplateRefused as error:
            raise refused(str(error)) from error
        except UserError as error:
            if isinstance(error.__cause__, Failed):
                raise self._of_server_behind(error.__cause__) from error
            raise Failure(500, str(error)) from error

    def _of_server_behind(self, failed: Failed) -> Failure:
        """Return what a client is told where the scorer is itself a server's."""
        message = f"{self.name}: {failed.cause}"
        if failed.status in OF_CONTENT:
            return refused(message)
        message += "; the scorer is read by a server behind this one: ask again later"
        # One that cannot be reached cannot be by half of the requests; an error may be of one text.
        return Failure(502, message, of_all=failed.status is None)

    def _answers(self, works: Sequence[Work]) -> list[Answer]:
        samples: list[Sample] = []
        for work in works:
            if isinstance(work, Rewards):
                samples += work.samples
        rewards = iter(self._rewards(samples))
        comparings = [work for work in works if isinstance(work, Comparing)]
        differences = iter(self._differences(comparings))
        answers: list[Answer] = []
        for work in works:
            if isinstance(work, Rewards):
                of_work = [next(rewards) for _ in work.samples]
                tokens = self._tokens(work.samples) if work.counts_tokens else None
                answers.append(Scores(of_work, tokens))
            else:
                answers.append(next(differences))
        return answers

    def _tokens(self, samples: Sequence[Sample]) -> int | None:
        """Count the tokens of the texts that are read; None where there are none to count."""
        if not isinstance(self.scorer, NeuralScorer):
            return None
        texts = self.scorer.reader.texts
        tokens = 0
        for sample in samples:
            page = texts.page(Group(sample.place, sample.prompt, (sample.response,)))
            tokens += sum(map(len, texts.reading(page, 0)))
        return tokens

    def _rewards(self, samples: Sequence[Sample]) -> list[float]:
        """Return one number for each sample."""
        groups, where = joined(samples)
        numbers = self._numbers(groups) if groups else []
        rewards = []
        for sample, (group, place) in zip(samples, where, strict=True):
            reward = float(numbers[group][place])
            if not np.isfinite(reward):
                raise Failure(
                    500, f"{sample.place}: {self.name} gives {reward}, which is no reward"
                )
            rewards.append(reward)
        return rewards

    def _numbers(self, groups: Sequence[Group]) -> list[Array]:
        """Return the rewards of every response of each group."""
        if self.baseline is not None:
            return self.baseline.rewards(groups)
        assert isinstance(self.scorer, Pointwise)  # others have refused the request
        return self.scorer.rewards(groups)

    def _differences(self, comparings: Sequence[Comparing]) -> list[Differences]:
        """Return what each piece of work compares; those that read both orders are read together."""
        read: dict[int, Differences] = {}
        orders: Orders
        for orders in get_args(Orders):
            places = [i for i, work in enumerate(comparings) if work.orders == orders]
            if places:
                groups = [comparings[i].group for i in places]
                pairs = [comparings[i].pairs for i in places]
                answers = self.scorer.differences(groups, pairs, orders=orders)
                read.update(zip(places, answers, strict=True))
        differences = [read[i] for i in range(len(comparings))]
        for work, d in zip(comparings, differences, strict=True):
            if not np.isfinite(d.mean).all():
                raise Failure(500, f"{work.group.id}: {self.name} gives a difference that is none")
        return differences
