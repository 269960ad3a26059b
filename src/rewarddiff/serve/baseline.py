"""A policy's own responses, to which others are compared: a reward of a difference model."""

from __future__ import annotations

from collections.abc import Sequence

from rewarddiff.chat_template import ChatTemplate
from rewarddiff.differences import Array
from rewarddiff.records import Group, Prompt, Rendered
from rewarddiff.rewards.stored import StoredBaseline, StoredResponses
from rewarddiff.scorers.neural.scorer import NeuralScorer
from rewarddiff.scorers.over_baseline import OverBaseline
from rewarddiff.scorers.protocol import Scorer
from rewarddiff.serve.chat import Chat
from rewarddiff.serve.failures import refused


class Baseline:
    """Responses by prompt; the reward of another is by how much it beats them.

    Args:
        chat: with it, a conversation is found by its rendered text as well.
        fingerprint: of the scorer, see `OverBaseline`.
    """

    def __init__(
        self, stored: StoredBaseline, scorer: Scorer, chat: Chat | None, fingerprint: str = ""
    ) -> None:
        self.stored = stored
        self._rewards = OverBaseline(scorer, stored, fingerprint=fingerprint)
        self._chat = chat
        self._openings: dict[str, StoredResponses] = {}
        if chat is not None and isinstance(scorer, NeuralScorer):
            template = ChatTemplate(scorer.tokenizer)
            for asked, of_prompt in stored.by_prompt.items():
                if not isinstance(asked, str):
                    self._openings[template.opening(asked)] = of_prompt

    def __len__(self) -> int:
        return len(self.stored)

    def rewards(self, groups: Sequence[Group]) -> list[Array]:
        """Return the relative reward of every response of each group.

        Raises:
            Failure: a prompt has no stored responses.
        """
        stored = [self.of(group.prompt, group.id) for group in groups]
        return self._rewards.over(groups, stored)

    def of(self, asked: Prompt, place: str) -> StoredResponses:
        """Return the responses to a prompt as the scorer is to read them.

        Raises:
            Failure: there are none. A reward without a baseline beside those with one would be
                another quantity.
        """
        stored = self.stored.by_prompt.get(asked)
        if stored is None and isinstance(asked, str):
            stored = self._openings.get(str(asked))
        if stored is None:
            raise refused(f"{place}: its prompt is not in the file of --policy-baseline")
        if self._chat is not None and isinstance(asked, Rendered):
            responses = tuple(self._chat.response(text) for text in stored.responses)
            return StoredResponses(responses, stored.scores)
        return stored
