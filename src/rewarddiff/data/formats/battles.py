"""Formats in which two responses meet, and people or models say which is better."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from rewarddiff.data.formats.base import FieldError, Format, RowError, Values
from rewarddiff.data.formats.cells import (
    as_text,
    is_turn,
    items,
    listed,
    number,
    optional_number,
    row_id,
    signed,
    text,
)
from rewarddiff.data.formats.conversations import (
    ASSISTANT,
    answer,
    answered,
    in_context,
    messages,
    prompt,
    spoken_prompt,
)
from rewarddiff.data.ledger import Reason
from rewarddiff.records import Comparison, Group, Message, Prompt

BOTH_BAD = ("tie (bothbad)", "bothbad", "both_bad", "both bad")
"""How arenas write that neither response is any good."""

GAPS = {
    "model_a": 1,
    "a": 1,
    "response_a": 1,
    "model_b": -1,
    "b": -1,
    "response_b": -1,
    "tie": 0,
    "tie (inconsistent)": 0,
    **dict.fromkeys(BOTH_BAD, 0),
}
"""Who won, as arenas write it in small letters: the first, the second, or neither."""

ROLE_MARK = "<extra_id_1>"
"""What stands before the role of every further turn in HelpSteer's prompts."""


def judged(values: Values, question: Prompt, responses: tuple[str, str], winner: Any) -> Group:
    """Return a battle's group. Both bad is a tie, with both responses labelled undesirable."""
    verdict = str(winner).strip().lower()
    if verdict not in GAPS:
        names = ", ".join(GAPS)
        raise FieldError(f"winner is {str(winner)[:20]}, expected one of {names}")
    group = Group(row_id(values), in_context(values, question), responses)
    if verdict in BOTH_BAD:
        group = replace(group, labels=(False, False))
    return replace(group, comparisons=(_won(GAPS[verdict]),))


def _won(gap: int) -> Comparison:
    """Return who won; by how much only a tie says."""
    comparison = Comparison.by_gap(0, 1, gap)
    return comparison if comparison.tie else replace(comparison, strength=None)


def _arena(values: Values) -> Group:
    """Read a battle of two conversations (Chatbot Arena, MT-Bench): `winner` says who won.

    MT-Bench judges a conversation after its first or second `turn`.
    """
    sides = []
    for side in ("conversation_a", "conversation_b"):
        conversation = messages(items(values, side), side)
        sides.append(answered(_until_turn(values, conversation), side))
    (question, first), (question_of_second, second) = sides
    if question != question_of_second:
        raise RowError(Reason.PROMPTS_DIFFER, "the two conversations differ before the last answer")
    return judged(values, question, (first, second), values["winner"])


def _until_turn(values: Values, conversation: tuple[Message, ...]) -> tuple[Message, ...]:
    """Return the conversation up to the answer that was judged; the whole where none is named."""
    turn = optional_number(values, "turn")
    if turn is None:
        return conversation
    answers = [i for i, message in enumerate(conversation) if message.role == ASSISTANT]
    if not 1 <= turn <= len(answers) or turn != int(turn):
        raise FieldError(f"turn is {turn:g}, and the conversation has {len(answers)} answers")
    return conversation[: answers[int(turn) - 1] + 1]


def _arena_texts(values: Values) -> Group:
    """Read a battle of two texts, or of lists of texts, one for each that the user said."""
    columns = ("prompt", "response_a", "response_b")
    lists = [texts for texts in map(_list_of_texts, map(values.get, columns)) if texts is not None]
    if len(lists) < len(columns):
        question = spoken_prompt(prompt(values))
        responses = (answer(values, "response_a"), answer(values, "response_b"))
        return judged(values, question, responses, _winner(values))
    said, answers, answers_of_second = lists
    asked_of_first, first = _exchange(said, answers, "response_a")
    asked_of_second, second = _exchange(said, answers_of_second, "response_b")
    if asked_of_first != asked_of_second:
        raise RowError(Reason.PROMPTS_DIFFER, "the two responses differ before the last answer")
    return judged(values, asked_of_first, (first, second), _winner(values))


def _list_of_texts(value: Any) -> list[Any] | None:
    """Return the list that a value is, unless it is one of turns; None: it is none."""
    elements = listed(value)
    if elements is None or any(map(is_turn, elements)):
        return None
    return elements


def _exchange(said: list[Any], answers: list[Any], column: str) -> tuple[Prompt, str]:
    """Return the prompt, with a model's own earlier answers, and its last answer."""
    if len(said) != len(answers) or not said:
        raise FieldError(f"{len(said)} texts in prompt but {len(answers)} in {column}")
    conversation = []
    for question, response in zip(said, answers, strict=True):
        conversation.append(Message("user", as_text(question, "prompt")))
        conversation.append(Message(ASSISTANT, as_text(response, column)))
    return answered(tuple(conversation), column)


def _winner(values: Values) -> str:
    """Return who won by `winner`, or by the one of three columns that holds 1."""
    if "winner" in values:
        return str(values["winner"])
    columns = ("model_a", "model_b", "tie")
    winners = [name for name in columns if number(values, f"winner_{name}") == 1]
    if len(winners) != 1:
        raise FieldError(f"{len(winners)} of the columns winner_… hold 1, expected one")
    return winners[0]


def _helpsteer2_preference(values: Values) -> Group:
    """Read HelpSteer2-Preference: −3, the first is much better, to 3, the second is."""
    preference = signed(values, "preference_strength", 3)
    responses = (text(values, "response_1"), text(values, "response_2"))
    comparison = Comparison.by_gap(0, 1, 0.0 - preference)
    question = helpsteer_prompt(values)
    return Group(row_id(values), question, responses, comparisons=(comparison,))


def helpsteer_prompt(values: Values) -> Prompt:
    r"""Return HelpSteer2's prompt as a conversation.

    Its further turns begin with a mark and their role: "Hi\n<extra_id_1>Assistant\nHello\n…".
    """
    question = prompt(values)
    if not isinstance(question, str):
        return question
    first, *others = question.split(ROLE_MARK)
    conversation = [Message("user", first.removesuffix("\n") if others else first)]
    for other in others:
        role, _, content = other.partition("\n")
        if role not in ("User", "Assistant"):
            raise FieldError(f"prompt holds a turn of {role[:20]}, expected User or Assistant")
        conversation.append(Message(role.lower(), content.removesuffix("\n")))
    return tuple(conversation)


def _safe_rlhf(column: str, values: Values) -> Group:
    """Read PKU-SafeRLHF: which of two responses is better, or safer."""
    better = number(values, column)
    if better not in (0, 1):
        raise FieldError(f"{column} is {better:g}, expected 0 or 1")
    responses = (text(values, "response_0"), text(values, "response_1"))
    comparison = Comparison(int(better), 1 - int(better))
    question = in_context(values, spoken_prompt(prompt(values)))
    return Group(row_id(values), question, responses, comparisons=(comparison,))


def _better_and_safer(values: Values) -> Iterator[dict[str, Any]]:
    """Yield a row for what is better, and one for what is safer, each a part of the data."""
    yield {**values, "subset": "better"}
    yield {**values, "subset": "safer", "better_response_id": values["safer_response_id"]}


ARENA = Format("arena", ("conversation_a", "conversation_b", "winner"), _arena)
ARENA_TEXTS = Format("arena-texts", ("prompt", "response_a", "response_b", "winner"), _arena_texts)
ARENA_55K = Format(
    "arena-55k",
    (
        "prompt",
        "response_a",
        "response_b",
        "winner_model_a",
        "winner_model_b",
        "winner_tie",
    ),
    _arena_texts,
)
HELPSTEER2_PREFERENCE = Format(
    "helpsteer2-preference",
    ("prompt", "response_1", "response_2", "preference_strength"),
    _helpsteer2_preference,
)
SAFE_RLHF_COLUMNS = ("prompt", "response_0", "response_1")
SAFE_RLHF = Format(
    "pku-saferlhf",
    (*SAFE_RLHF_COLUMNS, "better_response_id"),
    partial(_safe_rlhf, "better_response_id"),
)
SAFE_RLHF_SAFER = Format(
    "pku-saferlhf-safer",
    (*SAFE_RLHF_COLUMNS, "safer_response_id"),
    partial(_safe_rlhf, "safer_response_id"),
)
SAFE_RLHF_BOTH = Format(
    "pku-saferlhf-both",
    (*SAFE_RLHF_COLUMNS, "better_response_id", "safer_response_id"),
    partial(_safe_rlhf, "better_response_id"),
    parts=_better_and_safer,
)
