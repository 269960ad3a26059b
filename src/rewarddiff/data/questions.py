"""What policies are asked: prompts, questions of several turns, attacks.

Reads MT-Bench questions, rows with a prompt, plain JSON lists of texts (RED-EVAL), and the prompts of
preference data.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewarddiff.data.columns import Columns
from rewarddiff.data.files import Row, shown
from rewarddiff.data.files.rows import beginning
from rewarddiff.data.formats import RowError, Values
from rewarddiff.data.formats.base import FieldError
from rewarddiff.data.formats.cells import as_text, items, text
from rewarddiff.data.formats.conversations import asked, in_context, prompt
from rewarddiff.data.formats.voted import word
from rewarddiff.data.load import load_groups
from rewarddiff.data.read import NOT_AS_EXPECTED, described_streams
from rewarddiff.data.sources import DEMO
from rewarddiff.errors import UserError
from rewarddiff.paths import user_path
from rewarddiff.records import Message, Prompt, prompt_text
from rewarddiff.writing import cut, is_encodable

INSTRUCTIONS = ("instruction", "question", "Question", "goal")
"""Columns of instructions: AlpacaEval's, RED-EVAL's and HarmfulQA's, CatQA's, AdvBench's."""

LIST_OF_TEXTS = re.compile(rb'\[\s*"')

LARGEST_LIST = 1 << 26
"""Bytes of the largest list of texts that is read."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a policy is asked.

    Attributes:
        prompt: the first turn, or the conversation so far.
        later: what the user says after the policy's first answer, its second, …; empty: nothing.
        id: MT-Bench's `question_id`, by which answers name it; empty: it has none.
        place: "file:row", for messages.
    """

    prompt: Prompt
    later: tuple[str, ...] = ()
    id: str = ""
    place: str = ""

    @property
    def shown(self) -> Prompt:
        """The prompt as a judge reads it: of several turns, all that the user says."""
        if not self.later:
            return self.prompt
        return numbered([prompt_text(self.prompt), *self.later])


def numbered(turns: Sequence[str]) -> str:
    """Return several turns as one text; one turn stays as it is.

    >>> print(numbered(["Name a tree.", "Another one."]))
    [Turn 1]
    Name a tree.
    <BLANKLINE>
    [Turn 2]
    Another one.
    """
    if len(turns) == 1:
        return turns[0]
    parts = [f"[Turn {number}]\n{turn}" for number, turn in enumerate(turns, start=1)]
    return "\n\n".join(parts)


def same_prompt(prompt: Prompt) -> str:
    """Return a text that is equal for equal prompts: a lone turn of the user's is its text."""
    if isinstance(prompt, str):
        return prompt
    is_lone = len(prompt) == 1 and prompt[0].role == "user" and not prompt[0].extras
    if is_lone:
        return prompt[0].content
    return json.dumps([message.turn() for message in prompt])


def read_questions(
    source: str | Path,
    *,
    limit: int | None = None,
    format: str | None = None,
    split: str | None = None,
    columns: Columns | None = None,
) -> list[Question]:
    """Return the questions that a source holds, each prompt once.

    Args:
        source: a file, folder or dataset of rows; or preference data, whose prompts are taken.
        limit: at most so many.
        format, split, columns: see `load_groups`; with a format the prompts of its groups are taken.

    Raises:
        UserError: a row holds no question, or there is none.
    """
    questions: dict[tuple[str, tuple[str, ...]], Question] = {}
    for question in _questions(source, format, split, columns):
        key = (same_prompt(question.prompt), question.later)
        questions.setdefault(key, question)
        if limit is not None and len(questions) == limit:
            break
    if not questions:
        raise UserError(f"{source}: holds no prompts; check the file")
    return list(questions.values())


def _questions(
    source: str | Path, format: str | None, split: str | None, columns: Columns | None
) -> Iterator[Question]:
    path = user_path(source)
    if source != DEMO and os.path.isfile(path):
        listed = _plain_list(path)
        if listed is not None:
            yield from listed
            return
    if format is not None or source == DEMO or not _has_prompts(source, split, columns):
        for group in load_groups(source, format=format, split=split, columns=columns):
            yield Question(group.prompt, place=group.source)
        return
    for stream in described_streams(source, split, columns):
        for row in stream.rows:
            yield question_of(row, f"{stream.name}:{row.number}")


def _plain_list(path: Path) -> Iterator[Question] | None:
    """Return the texts of a JSON list that begins with one, as questions; None: it is no such file."""
    if not path.name.lower().endswith(".json"):
        return None
    try:
        if path.stat().st_size > LARGEST_LIST:
            return None
        with path.open("rb") as stream:
            if not LIST_OF_TEXTS.match(beginning(stream)):
                return None
        content = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return None  # whoever reads rows says what is wrong
    if not isinstance(content, list):
        return None
    return _texts(content, shown(path.name))


def _texts(content: Iterable[Any], name: str) -> Iterator[Question]:
    for number, element in enumerate(content, start=1):
        place = f"{name}:{number}"
        is_text = isinstance(element, str) and is_encodable(element)
        if not is_text or not element.strip():
            raise UserError(f"{place}: holds no text, as the elements before it; write one there")
        yield Question(asked(element), place=place)


def _has_prompts(source: str | Path, split: str | None, columns: Columns | None) -> bool:
    """Tell by its first row whether a source has prompts in a column of their own."""
    for stream in described_streams(source, split, columns):
        for row in stream.rows:
            columns = row.values or {}
            return any(name in columns for name in ("turns", "prompt", *INSTRUCTIONS))
    return False


def question_of(row: Row, place: str) -> Question:
    """Return the question that a row asks. Raises UserError."""
    values = values_of(row, place)
    try:
        return _question(values, place)
    except RowError as error:
        cause = error.detail or str(error.reason)
    except NOT_AS_EXPECTED as error:
        cause = cut(str(error))
    raise UserError(f"{place}: holds no prompt ({cause}); give prompt, instruction, or turns")


def values_of(row: Row, place: str) -> Values:
    """Return a row's values. Raises a UserError where it cannot be read."""
    if row.values is None:
        raise UserError(f"{place}: cannot be read ({row.problem}); mend or delete the row")
    return row.values


def _question(values: Values, place: str) -> Question:
    if "turns" in values:
        said = [as_text(turn, "turns") for turn in items(values, "turns")]
        if not said or not said[0].strip():
            raise FieldError("turns holds no text")
        number = word(values, "question_id")
        return Question(asked(said[0]), tuple(said[1:]), number, place)
    return Question(prompt_of(values), place=place)


def prompt_of(values: Values) -> Prompt:
    """Return the prompt of a row: that of `prompt` as it is, an instruction as a user's turn.

    Raises:
        RowError: it has none.
    """
    for column in INSTRUCTIONS:
        if column in values and "prompt" not in values:
            return in_context(values, _instruction(values, column))
    question = in_context(values, prompt(values))
    if not prompt_text(question).strip():
        raise FieldError("it is empty")
    return question


def _instruction(values: Values, column: str) -> tuple[Message, ...]:
    """Return an instruction; what Alpaca's column `input` adds stands in the next line."""
    instruction = text(values, column)
    if values.get("input"):
        instruction = f"{instruction}\n{text(values, 'input')}"
    if not instruction.strip():
        raise FieldError("it is empty")
    return asked(instruction)
