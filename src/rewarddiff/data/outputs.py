"""What policies answered: one response to every prompt, out of files, and put side by side.

Reads AlpacaEval's outputs, MT-Bench's answers (two turns), and rows with a prompt and a response.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewarddiff.data.files import Row, stem
from rewarddiff.data.formats import RowError, Values
from rewarddiff.data.formats.base import FieldError
from rewarddiff.data.formats.cells import as_text, items, turns
from rewarddiff.data.formats.conversations import (
    answer,
    answered,
    last_turn,
    messages,
    spoken_prompt,
)
from rewarddiff.data.formats.voted import word
from rewarddiff.data.questions import Question, numbered, prompt_of, same_prompt, values_of
from rewarddiff.data.read import NOT_AS_EXPECTED
from rewarddiff.data.sources import streams
from rewarddiff.errors import UserError
from rewarddiff.files import write_text
from rewarddiff.paths import user_path
from rewarddiff.records import Group, Prompt, plain_prompt, prompt_text
from rewarddiff.writing import cut, listed

RESPONSES = ("response", "completion", "output")
"""Columns of responses, ours and TRL's first."""

CONVERSATIONS = ("messages", "conversations")
"""Columns of whole conversations, whose last turn is the response."""

SHOWN = 60
"""Characters of a prompt that an error repeats."""


@dataclass(frozen=True, slots=True)
class Output:
    """A prompt and what a policy answered; an empty response is an answer too.

    Attributes:
        place: "file:row", for messages.
    """

    prompt: Prompt
    response: str
    place: str = ""


@dataclass(frozen=True)
class Outputs:
    """What one policy answered, in the order of its prompts.

    Attributes:
        name: the policy's: AlpacaEval's `generator`, MT-Bench's `model_id`, or the file's name.
        source: where it was read from, for messages.
    """

    name: str
    source: str
    outputs: tuple[Output, ...]


def read_outputs(
    source: str | Path, questions: Sequence[Question] = (), *, name: str | None = None
) -> Outputs:
    """Return the outputs of one policy that a file or folder holds.

    Args:
        questions: those of MT-Bench, which its answers name by their `question_id`.
        name: the policy's; None: as the file says.

    Raises:
        UserError: a row holds no prompt or no response, or rows are of several policies.
    """
    by_id = {question.id: question for question in questions if question.id}
    outputs = []
    generators: dict[str, None] = {}
    for stream in streams(source):
        for row in stream.rows:
            place = f"{stream.name}:{row.number}"
            values = values_of(row, place)
            outputs.append(_output(values, by_id, row, place))
            generator = values.get("generator", values.get("model_id"))
            if isinstance(generator, str) and generator:
                generators[generator] = None
    if not outputs:
        raise UserError(f"{source}: holds no outputs; check the file")
    if len(generators) > 1:
        raise UserError(
            f"{source}: holds outputs of {len(generators)} policies ({listed(generators)}); "
            "write those of each into a file of their own"
        )
    written = next(iter(generators), stem(user_path(source)))
    return Outputs(name or written, str(source), tuple(outputs))


def _output(values: Values, questions: Mapping[str, Question], row: Row, place: str) -> Output:
    try:
        if "choices" in values and "question_id" in values:
            return _mt_bench(values, questions, place)
        for column in CONVERSATIONS:
            if column in values:
                conversation = messages(items(values, column), column)
                return Output(*answered(conversation, column), place)
        return _plain(values, place)
    except RowError as error:
        cause = error.detail or str(error.reason)
    except NOT_AS_EXPECTED as error:
        cause = cut(str(error))
    raise UserError(
        f"{place}: holds no output ({cause}); give prompt (or instruction) and response (or "
        "completion, output)"
    )


def _plain(values: Values, place: str) -> Output:
    prompt = prompt_of(values)
    for column in RESPONSES:
        if column not in values:
            continue
        completion = turns(values[column])
        if completion is None:
            return Output(prompt, answer(values, column), place)
        asked = spoken_prompt(prompt)
        return Output(asked, last_turn(asked, messages(completion, column), column), place)
    raise FieldError(f"no {', '.join(RESPONSES)}")


def _mt_bench(values: Values, questions: Mapping[str, Question], place: str) -> Output:
    """Read an answer of MT-Bench, the first of its `choices`: both turns are one response."""
    number = word(values, "question_id")
    if number not in questions:
        cause = "no such question" if questions else "the questions are in a file of their own"
        raise UserError(
            f"{place}: answers question {number} of MT-Bench, and {cause}; name its question.jsonl "
            "with --data"
        )
    choices = items(values, "choices")
    if not choices or not isinstance(choices[0], Mapping):
        raise FieldError("choices holds no answer")
    spoken = [as_text(turn, "turns") for turn in items(choices[0], "turns")]
    question = questions[number]
    asked = 1 + len(question.later)
    if len(spoken) != asked:
        raise FieldError(f"{len(spoken)} answers to {asked} turns")
    return Output(question.shown, numbered(spoken), place)


# --- side by side ---------------------------------------------------------------------------------


def aligned(sets: Sequence[Outputs]) -> list[Group]:
    """Return a group for every prompt, with the response of each policy in the order of `sets`.

    Prompts are matched by their text, in whatever order they stand; the n-th of several equal ones
    with the n-th. Their order is that of the first.

    Raises:
        UserError: the policies were not asked the same; counts what lacks on each side.
    """
    by_prompt = [dict(_keyed(outputs)) for outputs in sets]
    first = by_prompt[0]
    for outputs, others in zip(sets[1:], by_prompt[1:], strict=True):
        _require_same(sets[0], first, outputs, others)
    groups = []
    for number, (key, output) in enumerate(first.items(), start=1):
        responses = tuple(of_policy[key].response for of_policy in by_prompt)
        groups.append(Group(str(number), output.prompt, responses, source=output.place))
    return groups


Key = tuple[str, int]
"""A prompt, and which of several equal ones it is."""


def _keyed(outputs: Outputs) -> Iterator[tuple[Key, Output]]:
    seen: Counter[str] = Counter()
    for output in outputs.outputs:
        prompt = same_prompt(output.prompt)
        yield (prompt, seen[prompt]), output
        seen[prompt] += 1


def _require_same(
    a: Outputs, of_a: Mapping[Key, Output], b: Outputs, of_b: Mapping[Key, Output]
) -> None:
    _require_as_often(a, of_a, b, of_b)
    _require_as_often(b, of_b, a, of_a)
    lacking = []
    example = ""
    for ours, theirs, other in ((of_a, of_b, b), (of_b, of_a, a)):
        missing = [output for key, output in ours.items() if key not in theirs]
        if missing:
            lacking.append(f"{len(missing)} of {len(ours)} prompts lack in {other.source}")
            example = example or f"first {_shown(missing[0])}"
    if lacking:
        raise UserError(
            f"{a.source} and {b.source} do not hold the same prompts: {', '.join(lacking)} "
            f"({example}); give outputs to the same prompts"
        )


def _require_as_often(
    ours: Outputs, of_ours: Mapping[Key, Output], theirs: Outputs, of_theirs: Mapping[Key, Output]
) -> None:
    """Raise a UserError where a prompt stands more often in the one file than in the other."""
    repeats = [
        key for key in of_ours if key not in of_theirs and (key[0], 0) in of_theirs and key[1]
    ]
    if not repeats:
        return
    prompt, times = repeats[0]
    again, first = of_ours[prompt, times], of_ours[prompt, 0]
    number = "a prompt" if len(repeats) == 1 else f"{len(repeats)} prompts"
    raise UserError(
        f"{again.place}: repeats the prompt of {first.place}, which {theirs.source} has less often "
        f"({number} of {ours.source} repeated so); leave one of the answers to each out"
    )


def _shown(output: Output) -> str:
    text = " ".join(prompt_text(output.prompt).split())
    if len(text) > SHOWN:
        text = f"{text[:SHOWN]}…"
    return f"“{text}” at {output.place}"


def write_outputs(path: Path, name: str, groups: Sequence[Group], place: int) -> None:
    """Write what one policy answered as AlpacaEval has it; a conversation stays one.

    Args:
        place: of the policy's response in every group.
    """
    rows: list[dict[str, Any]] = []
    for group in groups:
        prompt = group.prompt
        is_text = isinstance(prompt, str) or len(prompt) == 1
        column = "instruction" if is_text else "prompt"
        asked = prompt_text(prompt) if is_text else plain_prompt(prompt)
        rows.append({column: asked, "output": group.responses[place], "generator": name})
    write_text(path, f"{json.dumps(rows, indent=1, ensure_ascii=False)}\n")
