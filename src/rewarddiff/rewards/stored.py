"""A baseline as it is stored: responses to each prompt, with what a scorer said of them.

One JSON line a prompt, as `rewarddiff baseline` writes it. `prompt` and `responses` are enough; a
file without `scores` is for scorers that compare.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rewarddiff.data.files import Row
from rewarddiff.data.files.reading import read_rows
from rewarddiff.data.formats.base import RowError
from rewarddiff.data.formats.conversations import prompt, texts
from rewarddiff.differences import Array
from rewarddiff.errors import UserError
from rewarddiff.hashing import digest
from rewarddiff.paths import user_path
from rewarddiff.records import Prompt, is_number, prompt_text
from rewarddiff.writing import counted


@dataclass(frozen=True, eq=False)
class StoredResponses:
    """The stored responses to one prompt.

    Attributes:
        responses: k texts; one that was drawn twice stands twice, and counts twice in a mean.
        scores: r of each, (k,), NaN where the scorer gave none; None: none was asked for.
    """

    responses: tuple[str, ...]
    scores: Array | None = None

    def joined(self, further: StoredResponses) -> StoredResponses:
        """Return these responses and further ones; scores only where both have them."""
        scores = None
        if self.scores is not None and further.scores is not None:
            scores = np.concatenate([self.scores, further.scores])
        return StoredResponses(self.responses + further.responses, scores)


@dataclass(frozen=True, eq=False)
class StoredBaseline:
    """Stored responses by prompt.

    Attributes:
        source: the file they are from, for messages.
        by_prompt: in the order of the file. A text and a turn that says the same are two prompts.
        scorer: fingerprint of the scorer that scored them; empty: not known, or not scored.
    """

    source: str
    by_prompt: Mapping[Prompt, StoredResponses]
    scorer: str = ""

    def __len__(self) -> int:
        return len(self.by_prompt)

    def of(self, asked: Prompt) -> StoredResponses:
        """Return the responses to a prompt.

        Raises:
            UserError: there are none. A reward without a baseline beside those with one would be
                another quantity.
        """
        stored = self.by_prompt.get(asked)
        if stored is None:
            raise UserError(f"{self.source}: {self._lacks(asked)}")
        return stored

    def _lacks(self, asked: Prompt) -> str:
        """Say that there are no responses to a prompt, and what mends it."""
        text = prompt_text(asked)
        beginning = " ".join(text.split())[:40]
        if any(prompt_text(other) == text for other in self.by_prompt):
            forms = ("turns", "a text") if isinstance(asked, str) else ("a text", "turns")
            return (
                f"has the prompt '{beginning}' as {forms[0]}, and it is asked for as {forms[1]}, "
                "which a scorer reads otherwise; draw the baseline from the prompts as they are "
                "trained on"
            )
        return (
            f"has no responses to the prompt '{beginning}'; draw them with `rewarddiff baseline`, "
            "or leave the prompt out"
        )

    def scores(self, prompts: Sequence[Prompt]) -> Array:
        """Return r of the stored responses to each prompt, as `contrastive` takes them.

        Returns:
            Shape (prompts, k); where prompts have unequally many responses, rows end with NaN.

        Raises:
            UserError: a prompt that is not there, or whose responses were not scored.
        """
        rows = []
        for asked in prompts:
            scores = self.of(asked).scores
            if scores is None:
                raise UserError(
                    f"{self.source}: holds responses without scores, and this reward needs r of "
                    "each; draw them with a scorer that scores a response by itself, or use "
                    "contrastive_difference"
                )
            rows.append(scores)
        matrix = np.full((len(rows), max(map(len, rows), default=0)), np.nan)
        for row, scores in zip(matrix, rows, strict=True):
            row[: len(scores)] = scores
        return matrix

    @property
    def sizes(self) -> tuple[int, int]:
        """The least and the largest number of responses to a prompt."""
        sizes = [len(stored.responses) for stored in self.by_prompt.values()]
        return min(sizes), max(sizes)

    def require_equal_sizes(self) -> None:
        """Raise a UserError where prompts have unequally many responses: a maximum grows with k."""
        least, most = self.sizes
        if least != most:
            raise UserError(
                f"{self.source}: has {counted(least, 'response')} to one prompt and {most} to another, and "
                "the largest of more is larger; draw equally many, or use mean or median"
            )

    @property
    def content(self) -> str:
        """A hash of all that it holds: equal ones give equal rewards."""
        return digest(self._parts())

    def _parts(self) -> Iterator[bytes]:
        for asked, stored in self.by_prompt.items():
            scores = None if stored.scores is None else stored.scores.tolist()
            yield repr((asked, stored.responses, scores)).encode("utf-8", "surrogatepass")


def read_baseline(path: str | Path) -> StoredBaseline:
    """Read rows with the columns prompt and responses, and scores where they have them.

    Rows of one prompt are put together.

    Args:
        path: JSON Lines, or any other file of rows.

    Raises:
        UserError: naming the row that is none, or whose scores are not one finite number (or null)
            for each response, or of another scorer than the rows before it.
    """
    by_prompt: dict[Prompt, StoredResponses] = {}
    scorers: dict[str, str] = {}
    for row in read_rows(user_path(path)):
        place = f"{path}:{row.number}"
        asked, stored = _read(row, place)
        earlier = by_prompt.get(asked)
        by_prompt[asked] = stored if earlier is None else earlier.joined(stored)
        if stored.scores is not None:
            scorers.setdefault(str((row.values or {}).get("scorer") or ""), place)
    if not by_prompt:
        raise UserError(f"{path}: holds no rows; a baseline's rows have prompt and responses")
    if len(scorers) > 1:
        raise UserError(
            f"{list(scorers.values())[1]}: was scored by another scorer than the rows before it, "
            "and their scores are not comparable; draw all rows of the file with one"
        )
    return StoredBaseline(str(path), by_prompt, next(iter(scorers), ""))


def _read(row: Row, place: str) -> tuple[Prompt, StoredResponses]:
    if row.values is None:
        raise UserError(f"{place}: {row.problem}; mend the row")
    try:
        asked = prompt(row.values)
        responses = texts(row.values, "responses")
    except RowError as error:
        raise UserError(
            f"{place}: {error.detail or error.reason}; a baseline's rows have prompt and responses"
        ) from error
    if not responses:
        raise UserError(f"{place}: no responses; give at least one, or leave the row out")
    return asked, StoredResponses(responses, _scores(row.values, len(responses), place))


def _scores(values: Mapping[str, Any], count: int, place: str) -> Array | None:
    """Return a row's scores, NaN for null; None where it has no such column."""
    listed = values.get("scores")
    if listed is None:
        return None
    is_of_numbers = isinstance(listed, list | tuple) and all(map(_is_score, listed))
    if not is_of_numbers or len(listed) != count:
        raise UserError(
            f"{place}: scores are not one finite number, or null, for each of {count} responses; "
            "mend the row, or leave scores out"
        )
    return np.array([math.nan if score is None else score for score in listed], dtype=np.float64)


def _is_score(value: Any) -> bool:
    if value is None:
        return True
    return is_number(value) and abs(value) <= sys.float_info.max
