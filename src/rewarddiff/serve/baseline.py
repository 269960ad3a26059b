"""A policy's own responses, to which others are compared: a reward of a difference model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rewarddiff.chat_template import ChatTemplate
from rewarddiff.data.files.reading import read_rows
from rewarddiff.data.formats.base import RowError
from rewarddiff.data.formats.conversations import prompt, texts
from rewarddiff.errors import UserError
from rewarddiff.paths import user_path
from rewarddiff.records import Prompt, Rendered
from rewarddiff.scorers.neural.scorer import NeuralScorer
from rewarddiff.scorers.protocol import Scorer
from rewarddiff.serve.chat import Chat
from rewarddiff.serve.failures import refused

Responses = tuple[str, ...]


class Baseline:
    """Responses by prompt; the reward of another is the mean of d(x, y, y') over them.

    Args:
        chat: with it, a conversation is found by its rendered text as well.
    """

    def __init__(
        self, responses: Mapping[Prompt, Responses], scorer: Scorer, chat: Chat | None
    ) -> None:
        self._responses = dict(responses)
        self._chat = chat
        self._openings: dict[str, Responses] = {}
        if chat is not None and isinstance(scorer, NeuralScorer):
            template = ChatTemplate(scorer.tokenizer)
            for asked, of_prompt in responses.items():
                if not isinstance(asked, str):
                    self._openings[template.opening(asked)] = of_prompt

    def __len__(self) -> int:
        return len(self._responses)

    def of(self, asked: Prompt, place: str) -> Responses:
        """Return the responses to a prompt as the scorer is to read them.

        Raises:
            Failure: there are none. A reward without a baseline beside those with one would be
                another quantity.
        """
        responses = self._responses.get(asked)
        if responses is None and isinstance(asked, str):
            responses = self._openings.get(str(asked))
        if responses is None:
            raise refused(f"{place}: its prompt is not in the file of --policy-baseline")
        if self._chat is not None and isinstance(asked, Rendered):
            return tuple(self._chat.response(text) for text in responses)
        return responses


def read_baseline(path: str | Path) -> dict[Prompt, Responses]:
    """Read rows with the columns prompt and responses; rows of one prompt are put together.

    Raises:
        UserError: naming the row that is none.
    """
    responses: dict[Prompt, list[str]] = {}
    for row in read_rows(user_path(path)):
        place = f"{path}:{row.number}"
        if row.values is None:
            raise UserError(f"{place}: {row.problem}; mend the row")
        try:
            asked = prompt(row.values)
            of_row = texts(row.values, "responses")
        except RowError as error:
            raise UserError(
                f"{place}: {error.detail}; a baseline's rows have prompt and responses"
            ) from error
        if not of_row:
            raise UserError(f"{place}: no responses; give at least one, or leave the row out")
        responses.setdefault(asked, []).extend(of_row)
    if not responses:
        raise UserError(f"{path}: holds no rows; a baseline's rows have prompt and responses")
    return {asked: tuple(dict.fromkeys(texts)) for asked, texts in responses.items()}
