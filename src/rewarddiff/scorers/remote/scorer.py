"""A reward model that a server reads, and how any server's scorer is made."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from rewarddiff.differences import Array, Differences, Pair, by_group
from rewarddiff.endpoints.answers import OF_CONTENT, Failed
from rewarddiff.errors import UserError
from rewarddiff.records import Group
from rewarddiff.remembering import remember
from rewarddiff.scorers.protocol import Orders, Scorer
from rewarddiff.scorers.remote.apis import APIS, Api
from rewarddiff.scorers.remote.comparer import RemoteComparer
from rewarddiff.scorers.remote.connection import Connection
from rewarddiff.scorers.remote.options import Remote
from rewarddiff.scorers.remote.texts import Sent, Write, apart, as_written, by_template
from rewarddiff.store import Store, fingerprint

logger = logging.getLogger(__name__)

SQUASHED_AT = 32
"""So many rewards that all lie between 0 and 1 are probably no logits."""


@dataclass(frozen=True)
class _Text:
    """What is sent of a response, and where that stands."""

    sent: Sent
    row: str


@dataclass(frozen=True)
class RemoteScorer:
    """A reward model that a server reads.

    Attributes:
        name: what errors call it.
        temperature: none: it brings none with it.
        prompts: not known.
    """

    connection: Connection
    name: str
    temperature: None = None
    prompts: None = None

    def rewards(
        self, groups: Sequence[Group], *, store: Store | None = None, progress: str | None = None
    ) -> list[Array]:
        """Return r(x, y) of every response of each group: see `protocol.Pointwise`."""
        places = [range(len(group.responses)) for group in groups]
        return self._rewards(groups, places, store, progress)

    def differences(
        self,
        groups: Sequence[Group],
        pairs: Sequence[Sequence[Pair]],
        *,
        orders: Orders = "both",
        store: Store | None = None,
        progress: str | None = None,
    ) -> list[Differences]:
        """Return r(a) − r(b) of the pairs of each group; responses in no pair are not asked for."""
        places = [sorted({i for pair in of_group for i in pair}) for of_group in pairs]
        differences = []
        asked = self._rewards(groups, places, store, progress)
        for group, group_pairs, compared, rewards in zip(groups, pairs, places, asked, strict=True):
            of_all = np.full(len(group.responses), np.nan)
            of_all[compared] = rewards
            differences.append(Differences.of_rewards(of_all, group_pairs))
        return differences

    @property
    def _api(self) -> Api:
        return APIS[self.connection.served.api]

    @cached_property
    def _write(self) -> Write:
        options = self.connection.options
        if self.connection.served.api == "rewarddiff":
            return apart
        if options.template is not None:
            return by_template(options.template)
        return as_written

    def _rewards(
        self,
        groups: Sequence[Group],
        places: Sequence[Sequence[int]],
        store: Store | None,
        progress: str | None,
    ) -> list[Array]:
        """Return the rewards of these responses of each group; equal texts are sent once."""
        texts: list[_Text] = []
        for group, of_group in zip(groups, places, strict=True):
            texts += self._texts(group, of_group)
        served = self.connection.served

        def key(text: _Text) -> str:
            return fingerprint("remote", served.api, served.identity, text.sent)

        def compute(missing: Sequence[_Text]) -> Iterator[tuple[int, float]]:
            return self._asked(missing, progress)

        rewards = remember(store, texts, key, compute, alone=True)
        self._look_squashed(rewards)
        return by_group(np.array(rewards, dtype=np.float64), map(len, places))

    def _texts(self, group: Group, places: Sequence[int]) -> list[_Text]:
        row = group.source or group.id
        texts = []
        for sent in self._write(group, places):
            if not isinstance(sent, self._api.takes):
                raise UserError(
                    f"{self.name}: {row} is a conversation, and {self.connection.served.api} takes "
                    "texts: name the served model's folder as template, and they are written here"
                )
            texts.append(_Text(sent, row))
        return texts

    def _asked(self, texts: Sequence[_Text], progress: str | None) -> Iterator[tuple[int, float]]:
        """Ask for texts in batches; yield the place and the reward of each."""
        batches = self._api.batches([text.sent for text in texts], self.connection.options.batch)
        jobs = [[texts[place] for place in batch] for batch in batches]
        answers = self.connection.ask_all(jobs, self._answer, _row, progress, len)
        for job, rewards in answers:
            yield from zip(batches[job], rewards, strict=True)

    def _answer(self, texts: Sequence[_Text]) -> list[float]:
        """Return the rewards of one batch; one that is refused for its content, text by text."""
        try:
            return self._posted(texts)
        except Failed as error:
            if error.status not in OF_CONTENT or len(texts) == 1:
                raise
        rewards = []
        for text in texts:
            try:
                rewards += self._posted([text])
            except Failed as error:
                raise self.connection.client.explained(error, row=text.row) from error
        return rewards

    def _posted(self, texts: Sequence[_Text]) -> list[float]:
        api = self._api
        body = api.body(self.connection.served.model, [text.sent for text in texts])
        return self.connection.client.post(
            api.path, body, lambda answer: api.read(answer, len(texts))
        )

    def _look_squashed(self, rewards: Sequence[float]) -> None:
        """Warn where all rewards lie between 0 and 1, as what has passed a sigmoid does."""
        api = self.connection.served.api
        inside = len(rewards) >= SQUASHED_AT and min(rewards) > 0 and max(rewards) < 1
        if inside and not api.startswith("rewarddiff"):
            logger.warning(
                "%s: all %d rewards lie between 0 and 1, as after a sigmoid, which flattens large "
                "differences; an older vLLM does not heed use_activation: serve the model with "
                "problem_type: regression in its config.json",
                self.name, len(rewards),
            )  # fmt: skip


def _row(texts: Sequence[_Text]) -> str:
    more = f" and {len(texts) - 1} more" if len(texts) > 1 else ""
    return f"{texts[0].row}{more}"


def remote_scorer(options: Remote, name: str) -> Scorer:
    """Return the scorer that options ask for. The server is not asked yet."""
    connection = Connection(options, name)
    if options.api_of_url == "rewarddiff-compare":
        return RemoteComparer(connection, name)
    return RemoteScorer(connection, name)


def open_remote(url: str) -> Scorer:
    """Return the scorer at an address, which is asked what it serves.

    Raises:
        UserError: nothing answers there, or nothing that gives rewards.
    """
    options = Remote(url=url)
    connection = Connection(options, url)
    if options.api_of_url is None and connection.served.api == "rewarddiff":
        try:
            connection.client.post("score", {"rows": []}, lambda answer: answer)
        except Failed as error:
            if error.status != 422:
                raise connection.client.explained(error) from error
            return remote_scorer(replace(options, api="rewarddiff-compare"), url)
    return RemoteScorer(connection, url)
